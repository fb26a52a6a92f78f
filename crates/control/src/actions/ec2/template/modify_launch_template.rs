//! ModifyLaunchTemplate: another default version.

use awan_model::launch_template::LaunchTemplate;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::named;
use crate::error::Result;

pub fn modify_launch_template(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyLaunchTemplateRequest,
) -> Result<ec2::ModifyLaunchTemplateResult> {
    let ec2::ModifyLaunchTemplateRequest {
        dry_run: _,
        // The same request twice comes to the same.
        client_token: _,
        launch_template_id,
        launch_template_name,
        default_version,
    } = req;
    let template = named::template(tx, launch_template_id.as_deref(), launch_template_name.as_deref())?;
    let mut template = (*template).clone();
    if let Some(version) = default_version.as_deref() {
        template.default_version = named::number(&template, Some(version))?;
        tx.put::<LaunchTemplate>(template.clone());
    }
    Ok(ec2::ModifyLaunchTemplateResult { launch_template: Some(named::shown(tx, &template)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_default_version_is_one_that_there_is() {
        let mut cloud = Cloud::new();
        let ask = [("LaunchTemplateName", "web"), ("LaunchTemplateData.InstanceType", "t3.nano")];
        cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        cloud.tenant("acme").call("CreateLaunchTemplateVersion", &ask).expect("makes");
        let set = |version| [("LaunchTemplateName", "web"), ("SetDefaultVersion", version)];
        let done = cloud.tenant("acme").call("ModifyLaunchTemplate", &set("2")).expect("modifies");
        assert!(done.contains("<defaultVersionNumber>2</defaultVersionNumber>"), "{done}");
        let refusal = cloud.tenant("acme").call("ModifyLaunchTemplate", &set("3")).expect_err("not there");
        assert!(refusal.starts_with("InvalidLaunchTemplateId.VersionNotFound"), "{refusal}");
        assert!(cloud.tenant("other").call("ModifyLaunchTemplate", &set("1")).is_err(), "not theirs");
        let done = cloud.tenant("acme").call("ModifyLaunchTemplate", &set("$Latest")).expect("modifies");
        assert!(done.contains("<latestVersionNumber>2</latestVersionNumber>"), "{done}");
    }
}
