//! The Parameter Store: an account's own parameters, and public ones that name the images that come with Awan.
//!
//! Public names are `/aws/service/awan/FAMILY/latest/image_id` and `/aws/service/awan/images/NAME/image_id`. They follow
//! from the images; nothing stores them.

use std::collections::BTreeMap;

use awan_model::id::ImageId;
use awan_model::image::Image;
use awan_model::parameter::{Kind, Parameter, Version};
use awan_state::{Millis, Tenant, Tx};
use awan_wire::shape::Timestamp;
use awan_wire::ssm;

use crate::error::{Code, Error, Result, invalid, refuse};

const PUBLIC: &str = "/aws/service/awan/";

/// One version of a parameter, an account's own or a public one.
pub struct Found {
    pub name: String,
    pub arn: String,
    pub kind: Kind,
    pub version: Version,
    /// `:3`, when a version was asked for.
    pub selector: Option<String>,
}

/// The image that `resolve:ssm:NAME` names, with or without a version: for whoever takes an image id.
pub fn image(tx: &mut Tx<Tenant>, reference: &str) -> Result<ImageId> {
    let name = reference.strip_prefix("resolve:ssm:").unwrap_or(reference);
    let shown: String = name.chars().take(200).collect();
    let found = find(tx, name).map_err(|_| {
        invalid(format!("The parameter '{}' does not exist or cannot be used for an image.", shown.escape_debug()))
    })?;
    Ok(found.version.value.trim().parse()?)
}

/// By name, `NAME:VERSION` or ARN.
pub fn find(tx: &mut Tx<Tenant>, reference: &str) -> Result<Found> {
    let (name, selector) = named(tx, reference)?;
    let number = match &selector {
        None => None,
        Some(text) => Some(text.parse::<i64>().map_err(|_| no_version(reference))?),
    };
    let mut found = if name.starts_with(PUBLIC) {
        public(tx).remove(&name).ok_or_else(|| not_found(reference))?
    } else {
        let parameter = tx.find::<Parameter>(&Parameter::key(&name)).ok_or_else(|| not_found(reference))?;
        let version = match number {
            None => Some(parameter.latest()),
            Some(number) => parameter.versions.iter().find(|v| v.number == number),
        };
        let version = version.ok_or_else(|| no_version(reference))?.clone();
        let arn = arn(tx, &name);
        Found { name, arn, kind: parameter.kind, version, selector: None }
    };
    if number.is_some_and(|number| number != found.version.number) {
        return Err(no_version(reference));
    }
    found.selector = selector.map(|text| format!(":{text}"));
    Ok(found)
}

/// Name and selector of a reference. An ARN of another account or region names nothing.
fn named(tx: &Tx<Tenant>, reference: &str) -> Result<(String, Option<String>)> {
    let (own, everybodys) = (arn(tx, "/"), format!("arn:aws:ssm:{}::parameter/", tx.home().region()));
    let rest = match reference.strip_prefix(&own) {
        // A name with a path begins with a slash, one without has none: the ARN shows which it is.
        Some(rest) if rest.contains('/') => format!("/{rest}"),
        Some(rest) => rest.to_owned(),
        None => match reference.strip_prefix(&everybodys) {
            Some(rest) => format!("/{rest}"),
            None if reference.starts_with("arn:") => return Err(not_found(reference)),
            None => reference.to_owned(),
        },
    };
    Ok(match rest.split_once(':') {
        Some((name, selector)) => (name.to_owned(), Some(selector.to_owned())),
        None => (rest, None),
    })
}

pub fn arn(tx: &Tx<Tenant>, name: &str) -> String {
    let slash = if name.starts_with('/') { "" } else { "/" };
    format!("arn:aws:ssm:{}:{}:parameter{slash}{name}", tx.home().region(), tx.home().account())
}

/// All public parameters, by name.
pub fn public(tx: &mut Tx<Tenant>) -> BTreeMap<String, Found> {
    let mut images: Vec<_> = tx.all_shared::<Image>();
    images.retain(|image| image.is_builtin());
    images.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    let mut out: BTreeMap<String, Found> = BTreeMap::new();
    for image in &images {
        let family = image.name.strip_prefix("awan-").unwrap_or(&image.name);
        let family = family.split('-').next().unwrap_or(family);
        // The newest comes last, and stays.
        for name in [format!("{PUBLIC}{family}/latest/image_id"), format!("{PUBLIC}images/{}/image_id", image.name)] {
            let number = out.get(&name).map_or(1, |before| before.version.number + 1);
            let version = Version {
                number,
                value: image.id.to_string(),
                description: None,
                data_type: "aws:ec2:image".into(),
                tier: "Standard".into(),
                at: image.created,
                by: String::new(),
            };
            let arn = format!("arn:aws:ssm:{}::parameter{name}", tx.home().region());
            out.insert(name.clone(), Found { name, arn, kind: Kind::String, version, selector: None });
        }
    }
    out
}

/// A parameter of the account itself, to be changed.
pub fn own(tx: &mut Tx<Tenant>, name: &str) -> Result<Parameter> {
    let found = tx.find::<Parameter>(&Parameter::key(name)).ok_or_else(|| not_found(name))?;
    Ok((*found).clone())
}

pub fn shown(found: &Found) -> ssm::Parameter {
    ssm::Parameter {
        name: Some(found.name.clone()),
        r#type: Some(found.kind.as_str().into()),
        value: Some(found.version.value.clone()),
        version: Some(found.version.number),
        selector: found.selector.clone(),
        source_result: None,
        last_modified_date: time(found.version.at),
        arn: Some(found.arn.clone()),
        data_type: Some(found.version.data_type.clone()),
    }
}

pub fn of_latest(tx: &Tx<Tenant>, parameter: &Parameter) -> Found {
    let (name, version) = (parameter.name.clone(), parameter.latest().clone());
    Found { arn: arn(tx, &name), name, kind: parameter.kind, version, selector: None }
}

pub fn time(at: Millis) -> Option<Timestamp> {
    i64::try_from(at).ok().map(Timestamp)
}

fn not_found(name: &str) -> Error {
    let shown: String = name.chars().take(200).collect();
    refuse(
        Code::ParameterNotFound,
        format!("The parameter {} could not be found. Verify the name and try again.", shown.escape_debug()),
    )
}

fn no_version(reference: &str) -> Error {
    let shown: String = reference.chars().take(200).collect();
    let message = format!(
        "Systems Manager could not find version {} of {}. Verify the version and try again.",
        shown.split_once(':').map_or("", |(_, version)| version).escape_debug(),
        shown.split(':').next().unwrap_or_default().escape_debug()
    );
    refuse(Code::ParameterVersionNotFound, message)
}

pub fn invalid_request(message: impl Into<String>) -> Error {
    refuse(Code::ValidationException, message)
}

/// The page limits of the Parameter Store; too many and too few have a code of their own.
pub fn page(
    tx: &mut Tx<Tenant>,
    action: &str,
    (max_results, next_token): (Option<i32>, Option<&str>),
    most: i32,
) -> Result<crate::describe::Page> {
    let limit = max_results.unwrap_or(most);
    if !(1..=most).contains(&limit) {
        return Err(invalid_request(format!(
            "1 validation error detected: Value '{limit}' at 'maxResults' failed to satisfy constraint: Member must have \
             value between 1 and {most}"
        )));
    }
    crate::describe::Page::new(tx, action, (Some(limit), next_token), (1, most), false)
}

/// Does a filter of these actions let a parameter through?
pub fn passes(parameter: &Parameter, filter: &ssm::ParameterStringFilter) -> Result<bool> {
    let ssm::ParameterStringFilter { key, option, values } = filter;
    let key = key.as_deref().unwrap_or_default();
    let option = option.as_deref();
    let of = |have: &str| match option.unwrap_or("Equals") {
        "Equals" => Ok(values.iter().any(|v| v == have)),
        "BeginsWith" => Ok(values.iter().any(|v| have.starts_with(v.as_str()))),
        "Contains" if key == "Name" => Ok(values.iter().any(|v| have.contains(v.as_str()))),
        other => Err(refuse(
            Code::InvalidFilterOption,
            format!("The following filter option is not valid: {}.", other.escape_debug()),
        )),
    };
    match key {
        "Name" => of(&parameter.name),
        "Type" => of(parameter.kind.as_str()),
        "Tier" => of(&parameter.latest().tier),
        "DataType" => of(&parameter.latest().data_type),
        // Nothing here is encrypted, or labelled.
        "KeyId" | "Label" => Ok(false),
        "Path" => match option.unwrap_or("OneLevel") {
            "OneLevel" => Ok(values.iter().any(|path| is_below(&parameter.name, path, false))),
            "Recursive" => Ok(values.iter().any(|path| is_below(&parameter.name, path, true))),
            other => Err(refuse(
                Code::InvalidFilterOption,
                format!("The following filter option is not valid: {}.", other.escape_debug()),
            )),
        },
        _ => match key.strip_prefix("tag:") {
            Some(tag) => match parameter.tags.get(tag) {
                Some(_) if values.is_empty() => Ok(true),
                Some(value) => of(value),
                None => Ok(false),
            },
            None => Err(refuse(
                Code::InvalidFilterKey,
                format!(
                    "The following filter key is not valid: {}.",
                    key.chars().take(132).collect::<String>().escape_debug()
                ),
            )),
        },
    }
}

/// Lies a name in a folder, or below it?
pub fn is_below(name: &str, path: &str, recursive: bool) -> bool {
    let folder = if path.ends_with('/') { path.to_owned() } else { format!("{path}/") };
    name.strip_prefix(&folder).is_some_and(|rest| !rest.is_empty() && (recursive || !rest.contains('/')))
}

/// Tags of one request, added to those that are there.
pub fn tag(tags: &mut BTreeMap<String, String>, more: &[ssm::Tag]) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for ssm::Tag { key, value } in more {
        let (key, value) = (key.clone().unwrap_or_default(), value.clone().unwrap_or_default());
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid_request("Tag keys have 1 to 128 characters, tag values at most 256"));
        }
        if key.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("aws:")) {
            return Err(invalid_request("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        if !seen.insert(key.clone()) {
            return Err(invalid_request(format!("Duplicate tag key '{}' specified.", key.escape_debug())));
        }
        tags.insert(key, value);
    }
    if tags.len() > 50 {
        return Err(refuse(Code::TooManyTagsError, "A parameter has at most 50 tags."));
    }
    Ok(())
}

/// The parameter that a request about tags names.
pub fn tagged(tx: &mut Tx<Tenant>, resource_type: Option<&str>, id: Option<&str>) -> Result<Parameter> {
    if resource_type != Some("Parameter") {
        return Err(refuse(Code::InvalidResourceType, "Only resources of the type Parameter can be tagged."));
    }
    let found = tx.find::<Parameter>(&Parameter::key(id.unwrap_or_default()));
    let found = found.ok_or_else(|| refuse(Code::InvalidSsmResourceId, "The resource ID is not valid."))?;
    Ok((*found).clone())
}

#[cfg(test)]
mod tests {
    use awan_state::{Home, Tenant};

    use super::*;
    use crate::testing::Cloud;

    #[test]
    fn a_reference_resolves_to_an_image_of_ones_own_or_of_the_cloud() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        let put = r#"{"Name":"/images/web","Type":"String","Value":"ami-0123456789abcdef0"}"#;
        acme.ssm("PutParameter", put).expect("puts");
        acme.ssm("PutParameter", r#"{"Name":"text","Type":"String","Value":"hello"}"#).expect("puts");
        let told = acme.call("DescribeVpcs", &[]).expect("answers");
        let account = Cloud::ids(&told, "ownerId").remove(0);
        let tenant = Tenant { home: Home::new(&account, "us-east-1"), principal: "test".into() };
        let resolve = |reference: &str| {
            cloud
                .control
                .db
                .read(tenant.clone(), |tx| image(tx, reference))
                .map_or_else(|e| e.to_string(), |id| id.to_string())
        };
        assert_eq!(resolve("resolve:ssm:/images/web"), "ami-0123456789abcdef0");
        assert_eq!(resolve("resolve:ssm:/images/web:1"), "ami-0123456789abcdef0");
        let own = format!("resolve:ssm:arn:aws:ssm:us-east-1:{account}:parameter/images/web");
        assert_eq!(resolve(&own), "ami-0123456789abcdef0");
        assert_eq!(resolve("resolve:ssm:/aws/service/awan/tiny/latest/image_id"), "ami-0123456789abcdef0");
        assert_eq!(resolve("resolve:ssm:/aws/service/awan/images/awan-tiny-test/image_id:1"), "ami-0123456789abcdef0");
        for (reference, code) in [
            ("resolve:ssm:text", "InvalidAMIID.Malformed"),
            ("resolve:ssm:/images/web:2", "InvalidParameterValue"),
            ("resolve:ssm:nothing", "InvalidParameterValue"),
            (
                "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
                "InvalidParameterValue",
            ),
        ] {
            assert!(resolve(reference).starts_with(code), "{}", resolve(reference));
        }
    }
}
