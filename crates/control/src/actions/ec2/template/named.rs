//! Launch templates and their versions by the ways in which requests name them, and as answers show them.

use std::sync::Arc;

use awan_model::launch_template::{LaunchTemplate, LaunchTemplateVersion};
use awan_model::token::ClientToken;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::data;
use crate::actions::ec2::instance::view::{nobody_else, time};
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Error, Result, combination, invalid_value, missing, refuse};
use crate::tagging;

/// Source: "Launch template limits": "The name can have 3 to 128 letters, digits, and `( ) . / _ -`".
pub fn checked_name(name: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "()./_-".contains(c);
    if (3..=128).contains(&name.len()) && name.chars().all(fine) {
        return Ok(());
    }
    let message = format!(
        "Launch template name '{}' is invalid: it has 3 to 128 letters, digits and characters of ( ) . / _ -",
        brief(name)
    );
    Err(refuse(Code::InvalidLaunchTemplateNameMalformed, message))
}

/// Source: `VersionDescription`, EC2 API reference.
pub fn checked_description(text: Option<&str>) -> Result<()> {
    match text {
        Some(text) if text.chars().count() > 255 => Err(invalid_value(brief(text), "VersionDescription")),
        _ => Ok(()),
    }
}

/// The template that a request names by its id or by its name.
pub fn template(tx: &mut Tx<Tenant>, id: Option<&str>, name: Option<&str>) -> Result<Arc<LaunchTemplate>> {
    match (id, name) {
        (Some(id), None) => Ok(tx.get::<LaunchTemplate>(&id.parse()?)?),
        (None, Some(name)) => by_name(tx, name),
        (Some(_), Some(_)) => {
            Err(combination("The launch template can be given by its ID or by its name, but not by both"))
        }
        (None, None) => Err(missing("LaunchTemplateId")),
    }
}

pub fn by_name(tx: &mut Tx<Tenant>, name: &str) -> Result<Arc<LaunchTemplate>> {
    let found = tx.lookup(LaunchTemplate::BY_NAME, name).and_then(|id| tx.find::<LaunchTemplate>(&id.parse().ok()?));
    found.ok_or_else(|| {
        let message = format!("The specified launch template, with template name {}, does not exist.", brief(name));
        refuse(Code::InvalidLaunchTemplateNameNotFound, message)
    })
}

/// `$Latest`, `$Default` or a number that there is; the default one where none is named.
pub fn number(template: &LaunchTemplate, version: Option<&str>) -> Result<u64> {
    match version {
        None | Some("" | "$Default") => Ok(template.default_version),
        Some("$Latest") => Ok(template.latest()),
        Some(text) => {
            let number = parse_number(text)?;
            template.versions.binary_search(&number).map_err(|_| no_version(template, number))?;
            Ok(number)
        }
    }
}

pub fn parse_number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| {
        let message = format!("Invalid launch template version: '{}' is no number, $Latest or $Default", brief(text));
        refuse(Code::InvalidParameterValue, message)
    })
}

pub fn no_version(template: &LaunchTemplate, number: u64) -> Error {
    let message = format!("Could not find launch template version {number} for launch template ID {}.", template.id);
    refuse(Code::InvalidLaunchTemplateVersionNotFound, message)
}

pub fn version(tx: &mut Tx<Tenant>, template: &LaunchTemplate, number: u64) -> Result<Arc<LaunchTemplateVersion>> {
    let id = LaunchTemplateVersion::id_of(&template.id, number);
    tx.find::<LaunchTemplateVersion>(&id).ok_or_else(|| no_version(template, number))
}

/// Removes a version and the memory of the request that made it.
pub fn remove_version(tx: &mut Tx<Tenant>, template: &LaunchTemplate, number: u64) {
    let id = LaunchTemplateVersion::id_of(&template.id, number);
    if let Some(token) = tx.find::<LaunchTemplateVersion>(&id).and_then(|version| version.token.clone()) {
        tx.remove::<ClientToken>(&token);
    }
    tx.remove::<LaunchTemplateVersion>(&id);
}

pub fn shown(tx: &mut Tx<Tenant>, template: &LaunchTemplate) -> ec2::LaunchTemplate {
    let tags = tagging::of(tx, template.id.as_str());
    ec2::LaunchTemplate {
        launch_template_id: Some(template.id.to_string()),
        launch_template_name: Some(template.name.clone()),
        create_time: time(template.created),
        created_by: Some(template.created_by.clone()),
        default_version_number: i64::try_from(template.default_version).ok(),
        latest_version_number: i64::try_from(template.latest()).ok(),
        tags: tagging::shown(&tags),
        operator: Some(nobody_else()),
    }
}

/// `resolve`: an alias in place of an image is shown as the image that it stands for now.
pub fn version_shown(
    tx: &mut Tx<Tenant>,
    template: &LaunchTemplate,
    version: &LaunchTemplateVersion,
    resolve: bool,
) -> Result<ec2::LaunchTemplateVersion> {
    let mut launch_template_data = data::shown(&version.data)?;
    if resolve && let Some(image) = &mut launch_template_data.image_id {
        *image = super::alias::resolved(tx, image)?;
    }
    Ok(ec2::LaunchTemplateVersion {
        launch_template_id: Some(template.id.to_string()),
        launch_template_name: Some(template.name.clone()),
        version_number: i64::try_from(version.number).ok(),
        version_description: version.description.clone(),
        create_time: time(version.created),
        created_by: Some(version.created_by.clone()),
        default_version: Some(version.number == template.default_version),
        launch_template_data: Some(launch_template_data),
        operator: Some(nobody_else()),
    })
}
