//! CreateLaunchTemplateVersion: the next number, alone or on the base of another version.

use awan_model::launch_template::{LaunchTemplate, LaunchTemplateVersion};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::create_launch_template::{TOKEN_MAX, put_version};
use super::{data, named};
use crate::error::{Code, Error, Result, missing, refuse};
use crate::token::Use;

/// Source: "Launch template quotas", EC2 User Guide.
const VERSIONS_MAX: usize = 10_000;

pub fn create_launch_template_version(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateLaunchTemplateVersionRequest,
) -> Result<ec2::CreateLaunchTemplateVersionResult> {
    let others = ec2::CreateLaunchTemplateVersionRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateLaunchTemplateVersionRequest {
        dry_run: _,
        client_token,
        launch_template_id,
        launch_template_name,
        source_version,
        version_description,
        launch_template_data,
        resolve_alias,
    } = req;
    let template = named::template(tx, launch_template_id.as_deref(), launch_template_name.as_deref())?;
    let token = Use::given("CreateLaunchTemplateVersion", client_token.as_deref(), TOKEN_MAX, &format!("{others:?}"))?;
    let resolve = resolve_alias == Some(true);
    if let Some(made) = token.as_ref().map(|first| first.made(tx)).transpose()?.flatten() {
        let id = made.into_iter().next().ok_or_else(|| Error::fault("a token without its version"))?;
        let version = tx.get::<LaunchTemplateVersion>(&id)?;
        return answer(tx, &template, &version, resolve);
    }
    named::checked_description(version_description.as_deref())?;
    let mut data = data::checked(launch_template_data.ok_or_else(|| missing("LaunchTemplateData"))?)?;
    if let Some(source) = source_version.as_deref().filter(|text| !text.is_empty()) {
        let number = named::number(&template, Some(source))?;
        data = data::inherit(data::parse(&named::version(tx, &template, number)?.data)?, data);
    }
    if template.versions.len() >= VERSIONS_MAX {
        let message = format!("A launch template has at most {VERSIONS_MAX} versions.");
        return Err(refuse(Code::ResourceLimitExceeded, message));
    }
    let mut changed = (*template).clone();
    changed.versions.push(changed.next);
    changed.next += 1;
    tx.put(changed.clone());
    let version = put_version(tx, &template.id, template.next, version_description, data, token.as_ref())?;
    if let Some(first) = token {
        first.keep(tx, vec![version.id.clone()]);
    }
    answer(tx, &changed, &version, resolve)
}

fn answer(
    tx: &mut Tx<Tenant>,
    template: &LaunchTemplate,
    version: &LaunchTemplateVersion,
    resolve: bool,
) -> Result<ec2::CreateLaunchTemplateVersionResult> {
    let shown = named::version_shown(tx, template, version, resolve)?;
    Ok(ec2::CreateLaunchTemplateVersionResult { launch_template_version: Some(shown), warning: None })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_version_inherits_what_it_does_not_say() {
        let mut cloud = Cloud::new();
        let first = [
            ("LaunchTemplateName", "web"),
            ("LaunchTemplateData.InstanceType", "t3.nano"),
            ("LaunchTemplateData.KeyName", "k"),
        ];
        cloud.tenant("acme").call("CreateLaunchTemplate", &first).expect("makes");
        let next = [
            ("LaunchTemplateName", "web"),
            ("SourceVersion", "$Latest"),
            ("LaunchTemplateData.InstanceType", "t3.small"),
            ("ClientToken", "once"),
        ];
        let made = cloud.tenant("acme").call("CreateLaunchTemplateVersion", &next).expect("makes");
        for part in [
            "<versionNumber>2</versionNumber>",
            "<defaultVersion>false</defaultVersion>",
            "<instanceType>t3.small</instanceType>",
            "<keyName>k</keyName>",
        ] {
            assert!(made.contains(part), "{part}: {made}");
        }
        assert_eq!(cloud.tenant("acme").call("CreateLaunchTemplateVersion", &next), Ok(made));
        let alone = [("LaunchTemplateName", "web"), ("LaunchTemplateData.InstanceType", "t3.small")];
        let made = cloud.tenant("acme").call("CreateLaunchTemplateVersion", &alone).expect("makes");
        assert!(made.contains("<versionNumber>3</versionNumber>") && !made.contains("keyName"), "{made}");
        for (source, code) in [("9", "InvalidLaunchTemplateId.VersionNotFound"), ("first", "InvalidParameterValue")] {
            let ask = [alone[0], alone[1], ("SourceVersion", source)];
            let refusal = cloud.tenant("acme").call("CreateLaunchTemplateVersion", &ask).expect_err(source);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        let refusal = cloud.tenant("other").call("CreateLaunchTemplateVersion", &alone).expect_err("not theirs");
        assert!(refusal.starts_with("InvalidLaunchTemplateName.NotFoundException"), "{refusal}");
    }
}
