//! DeleteLaunchTemplate, with all of its versions. What was launched from it stays.

use awan_model::launch_template::LaunchTemplate;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::named;
use crate::error::Result;
use crate::network;

pub fn delete_launch_template(
    tx: &mut Tx<Tenant>,
    req: ec2::DeleteLaunchTemplateRequest,
) -> Result<ec2::DeleteLaunchTemplateResult> {
    let ec2::DeleteLaunchTemplateRequest { dry_run: _, launch_template_id, launch_template_name } = req;
    let template = named::template(tx, launch_template_id.as_deref(), launch_template_name.as_deref())?;
    let shown = named::shown(tx, &template);
    for number in &template.versions {
        named::remove_version(tx, &template, *number);
    }
    network::remove::<LaunchTemplate>(tx, &template.id);
    Ok(ec2::DeleteLaunchTemplateResult { launch_template: Some(shown) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn it_goes_with_its_versions_and_its_name_is_free_again() {
        let mut cloud = Cloud::new();
        let ask = [("LaunchTemplateName", "web"), ("LaunchTemplateData.InstanceType", "t3.nano")];
        cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        assert!(cloud.tenant("other").call("DeleteLaunchTemplate", &ask[..1]).is_err(), "not theirs");
        let gone = cloud.tenant("acme").call("DeleteLaunchTemplate", &ask[..1]).expect("deletes");
        assert_eq!(Cloud::ids(&gone, "launchTemplateName"), ["web"]);
        let refusal = cloud.tenant("acme").call("DeleteLaunchTemplate", &ask[..1]).expect_err("is gone");
        assert!(refusal.starts_with("InvalidLaunchTemplateName.NotFoundException"), "{refusal}");
        cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        cloud.audit();
    }
}
