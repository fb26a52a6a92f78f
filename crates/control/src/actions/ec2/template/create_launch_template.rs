//! CreateLaunchTemplate: a name and its version 1.

use awan_model::id::LaunchTemplateId;
use awan_model::launch_template::{LaunchTemplate, LaunchTemplateVersion};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{data, named};
use crate::error::{Code, Error, Result, missing, refuse, refuse_if};
use crate::tagging;
use crate::token::Use;

/// Source: "Launch template quotas", EC2 User Guide.
const TEMPLATES_MAX: usize = 5_000;
/// Source: CreateLaunchTemplate, EC2 API reference.
pub const TOKEN_MAX: usize = 128;

pub fn create_launch_template(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateLaunchTemplateRequest,
) -> Result<ec2::CreateLaunchTemplateResult> {
    let others = ec2::CreateLaunchTemplateRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateLaunchTemplateRequest {
        dry_run: _,
        client_token,
        launch_template_name,
        version_description,
        launch_template_data,
        operator,
        tag_specifications,
    } = req;
    refuse_if(operator.is_some(), "Operator")?;
    let token = Use::given("CreateLaunchTemplate", client_token.as_deref(), TOKEN_MAX, &format!("{others:?}"))?;
    if let Some(made) = token.as_ref().map(|first| first.made(tx)).transpose()?.flatten() {
        let id: LaunchTemplateId = made.first().ok_or_else(|| Error::fault("a token without its template"))?.parse()?;
        let template = tx.get::<LaunchTemplate>(&id)?;
        return answer(tx, &template);
    }
    let name = launch_template_name.ok_or_else(|| missing("LaunchTemplateName"))?;
    named::checked_name(&name)?;
    named::checked_description(version_description.as_deref())?;
    let data = data::checked(launch_template_data.ok_or_else(|| missing("LaunchTemplateData"))?)?;
    let tags = tagging::specified(&tag_specifications, "launch-template", &["launch-template"])?;
    if tx.lookup(LaunchTemplate::BY_NAME, &name).is_some() {
        let message = format!("Launch template name already in use: {name}");
        return Err(refuse(Code::InvalidLaunchTemplateNameAlreadyExists, message));
    }
    if tx.list::<LaunchTemplate>().len() >= TEMPLATES_MAX {
        return Err(refuse(Code::ResourceLimitExceeded, "The maximum number of launch templates has been reached."));
    }
    let template = LaunchTemplate {
        home: tx.home().clone(),
        id: LaunchTemplateId::made(tx.new_id(LaunchTemplateId::PREFIX)),
        name,
        default_version: 1,
        versions: vec![1],
        next: 2,
        created_by: tx.principal().to_owned(),
        created: tx.now(),
    };
    tx.put(template.clone());
    put_version(tx, &template.id, 1, version_description, data, token.as_ref())?;
    tagging::add(tx, template.id.as_str(), &tags)?;
    if let Some(first) = token {
        first.keep(tx, vec![template.id.to_string()]);
    }
    answer(tx, &template)
}

fn answer(tx: &mut Tx<Tenant>, template: &LaunchTemplate) -> Result<ec2::CreateLaunchTemplateResult> {
    Ok(ec2::CreateLaunchTemplateResult { launch_template: Some(named::shown(tx, template)), warning: None })
}

pub fn put_version(
    tx: &mut Tx<Tenant>,
    template: &LaunchTemplateId,
    number: u64,
    description: Option<String>,
    data: data::Data,
    token: Option<&Use>,
) -> Result<LaunchTemplateVersion> {
    let version = LaunchTemplateVersion {
        home: tx.home().clone(),
        id: LaunchTemplateVersion::id_of(template, number),
        template: template.clone(),
        number,
        description,
        data: data::text(data)?,
        token: token.map(|t| t.id().to_owned()),
        created_by: tx.principal().to_owned(),
        created: tx.now(),
    };
    tx.put(version.clone());
    Ok(version)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_template_keeps_what_it_was_given_and_its_name_is_its_own() {
        let mut cloud = Cloud::new();
        let ask = [
            ("LaunchTemplateName", "web"),
            ("LaunchTemplateData.InstanceType", "x1e.nothing"),
            ("LaunchTemplateData.EnclaveOptions.Enabled", "true"),
            ("LaunchTemplateData.TagSpecification.1.ResourceType", "instance"),
            ("LaunchTemplateData.TagSpecification.1.Tag.1.Key", "a"),
            ("LaunchTemplateData.TagSpecification.1.Tag.1.Value", ""),
            ("TagSpecification.1.ResourceType", "launch-template"),
            ("TagSpecification.1.Tag.1.Key", "team"),
            ("TagSpecification.1.Tag.1.Value", "blue"),
            ("ClientToken", "once"),
        ];
        let first = cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        assert!(first.contains("<defaultVersionNumber>1</defaultVersionNumber>"), "{first}");
        assert!(first.contains("<key>team</key>"), "{first}");
        let again = cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("answers again");
        assert_eq!(first, again);
        let refusal = cloud.tenant("acme").call("CreateLaunchTemplate", &ask[..2]).expect_err("the name is taken");
        assert!(refusal.starts_with("InvalidLaunchTemplateName.AlreadyExistsException"), "{refusal}");
        assert!(cloud.tenant("other").call("CreateLaunchTemplate", &ask[..2]).is_ok(), "names are the account's own");
        let named = [("LaunchTemplateName", "web")];
        let shown = cloud.tenant("acme").call("DescribeLaunchTemplateVersions", &named).expect("answers");
        for part in ["<instanceType>x1e.nothing</instanceType>", "<enabled>true</enabled>", "<value></value>"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        cloud.audit();
    }

    #[test]
    fn what_no_template_can_be_is_refused() {
        let mut cloud = Cloud::new();
        for (name, value, code) in [
            ("LaunchTemplateName", "a", "InvalidLaunchTemplateName.MalformedException"),
            ("LaunchTemplateName", "a b c", "InvalidLaunchTemplateName.MalformedException"),
            ("LaunchTemplateData.UserData", "%%", "InvalidUserData.Malformed"),
            ("LaunchTemplateData.InstanceInitiatedShutdownBehavior", "x", "InvalidParameterValue"),
            ("LaunchTemplateData.NoSuchThing", "x", "UnknownParameter"),
            ("VersionDescription", &"x".repeat(256), "InvalidParameterValue"),
        ] {
            let mut ask = vec![("LaunchTemplateName", "web"), ("LaunchTemplateData.KeyName", "k")];
            ask.retain(|(n, _)| *n != name);
            ask.push((name, value));
            let refusal = cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect_err(name);
            assert!(refusal.starts_with(code), "{name}: {refusal}");
        }
    }
}
