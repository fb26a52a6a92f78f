//! DeleteLaunchTemplateVersions: each by itself, and never the default one.

use awan_model::launch_template::LaunchTemplate;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::named;
use crate::error::{Result, invalid, missing};

/// Source: DeleteLaunchTemplateVersions, EC2 API reference.
const VERSIONS_MAX: usize = 200;

pub fn delete_launch_template_versions(
    tx: &mut Tx<Tenant>,
    req: ec2::DeleteLaunchTemplateVersionsRequest,
) -> Result<ec2::DeleteLaunchTemplateVersionsResult> {
    let ec2::DeleteLaunchTemplateVersionsRequest { dry_run: _, launch_template_id, launch_template_name, versions } =
        req;
    if versions.is_empty() {
        return Err(missing("LaunchTemplateVersion"));
    }
    if versions.len() > VERSIONS_MAX {
        return Err(invalid(format!("At most {VERSIONS_MAX} launch template versions can be deleted at once")));
    }
    let template = named::template(tx, launch_template_id.as_deref(), launch_template_name.as_deref())?;
    let numbers = versions.iter().map(|text| named::parse_number(text)).collect::<Result<Vec<_>>>()?;
    let mut left = (*template).clone();
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for number in numbers {
        match left.versions.binary_search(&number) {
            Err(_) => kept.push(failed(
                &left,
                number,
                "launchTemplateVersionDoesNotExist",
                named::no_version(&left, number).message(),
            )),
            Ok(_) if number == left.default_version => {
                let message = "The default version of a launch template cannot be deleted. Make another version the \
                               default first, or delete the launch template.";
                kept.push(failed(&left, number, "unexpectedError", message.into()));
            }
            Ok(at) => {
                left.versions.remove(at);
                named::remove_version(tx, &left, number);
                gone.push(ec2::DeleteLaunchTemplateVersionsResponseSuccessItem {
                    launch_template_id: Some(left.id.to_string()),
                    launch_template_name: Some(left.name.clone()),
                    version_number: i64::try_from(number).ok(),
                });
            }
        }
    }
    if !gone.is_empty() {
        tx.put::<LaunchTemplate>(left);
    }
    Ok(ec2::DeleteLaunchTemplateVersionsResult {
        successfully_deleted_launch_template_versions: gone,
        unsuccessfully_deleted_launch_template_versions: kept,
    })
}

fn failed(
    template: &LaunchTemplate,
    number: u64,
    code: &str,
    message: String,
) -> ec2::DeleteLaunchTemplateVersionsResponseErrorItem {
    ec2::DeleteLaunchTemplateVersionsResponseErrorItem {
        launch_template_id: Some(template.id.to_string()),
        launch_template_name: Some(template.name.clone()),
        version_number: i64::try_from(number).ok(),
        response_error: Some(ec2::ResponseError { code: Some(code.into()), message: Some(message) }),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_default_version_stays_and_no_number_comes_back() {
        let mut cloud = Cloud::new();
        let ask = [("LaunchTemplateName", "web"), ("LaunchTemplateData.InstanceType", "t3.nano")];
        cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        cloud.tenant("acme").call("CreateLaunchTemplateVersion", &ask).expect("makes");
        let which = [
            ("LaunchTemplateName", "web"),
            ("LaunchTemplateVersion.1", "1"),
            ("LaunchTemplateVersion.2", "2"),
            ("LaunchTemplateVersion.3", "7"),
        ];
        assert!(cloud.tenant("other").call("DeleteLaunchTemplateVersions", &which).is_err(), "not theirs");
        let done = cloud.tenant("acme").call("DeleteLaunchTemplateVersions", &which).expect("answers");
        assert_eq!(Cloud::ids(&done, "versionNumber"), ["2", "1", "7"], "{done}");
        assert_eq!(Cloud::ids(&done, "code"), ["unexpectedError", "launchTemplateVersionDoesNotExist"]);
        let made = cloud.tenant("acme").call("CreateLaunchTemplateVersion", &ask).expect("makes");
        assert_eq!(Cloud::ids(&made, "versionNumber"), ["3"]);
        cloud.audit();
    }
}
