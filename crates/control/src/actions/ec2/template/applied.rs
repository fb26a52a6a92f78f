//! RunInstances from a launch template: the request laid over the template's data, and what it leaves on instances.

use std::collections::BTreeMap;

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{data, named};
use crate::error::Result;
use crate::tagging;

/// The template behind a launch: its instances tell by tags that no tenant can set.
#[derive(Clone)]
pub struct Origin {
    id: String,
    version: u64,
}

impl Origin {
    pub fn mark(&self, tx: &mut Tx<Tenant>, instance: &str) {
        let tags = [
            ("aws:ec2launchtemplate:id".to_owned(), self.id.clone()),
            ("aws:ec2launchtemplate:version".to_owned(), self.version.to_string()),
        ];
        tagging::add_reserved(tx, instance, BTreeMap::from(tags));
    }
}

/// The whole request: what it does not say itself, its launch template says.
pub fn whole(
    tx: &mut Tx<Tenant>,
    mut req: ec2::RunInstancesRequest,
) -> Result<(ec2::RunInstancesRequest, Option<Origin>)> {
    let origin = match req.launch_template.take() {
        None => None,
        Some(named) => {
            let (under, origin) = behind(tx, named)?;
            req = over(under, req)?;
            Some(origin)
        }
    };
    if let Some(image) = &mut req.image_id {
        *image = super::alias::resolved(tx, image)?;
    }
    Ok((req, origin))
}

/// The data that a launch template specification names.
pub fn behind(tx: &mut Tx<Tenant>, named: ec2::LaunchTemplateSpecification) -> Result<(data::Data, Origin)> {
    let ec2::LaunchTemplateSpecification { launch_template_id, launch_template_name, version } = named;
    let template = named::template(tx, launch_template_id.as_deref(), launch_template_name.as_deref())?;
    let version = named::number(&template, version.as_deref())?;
    let data = data::parse(&named::version(tx, &template, version)?.data)?;
    Ok((data, Origin { id: template.id.to_string(), version }))
}

fn over(mut under: data::Data, mut req: ec2::RunInstancesRequest) -> Result<ec2::RunInstancesRequest> {
    data::overlay(&mut under, data::of(&mut req)?);
    data::launch(under)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    fn template(cloud: &mut Cloud, more: &[(&str, &str)]) {
        let mut ask = vec![
            ("LaunchTemplateName", "web"),
            ("LaunchTemplateData.InstanceType", "t3.small"),
            ("LaunchTemplateData.UserData", "aGVsbG8="),
            ("LaunchTemplateData.TagSpecification.1.ResourceType", "instance"),
            ("LaunchTemplateData.TagSpecification.1.Tag.1.Key", "of"),
            ("LaunchTemplateData.TagSpecification.1.Tag.1.Value", "template"),
            ("LaunchTemplateData.TagSpecification.2.ResourceType", "spot-instances-request"),
            ("LaunchTemplateData.TagSpecification.2.Tag.1.Key", "unused"),
        ];
        ask.extend(more);
        cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
    }

    #[test]
    fn an_instance_is_what_its_template_says_unless_the_request_says_otherwise() {
        let mut cloud = Cloud::new();
        template(&mut cloud, &[]);
        let from = ("LaunchTemplate.LaunchTemplateName", "web");
        let id = cloud.tenant("acme").run_with(&[from]).expect("launches").remove(0);
        let (instance, _) = cloud.instance(&id);
        assert_eq!((instance.instance_type.as_str(), instance.user_data.as_deref()), ("t3.small", Some(&b"hello"[..])));
        let without = cloud.tenant("acme").run_with(&[from, ("UserData", "")]).expect("launches").remove(0);
        assert_eq!(cloud.instance(&without).0.user_data, None, "an empty text is no user data");
        let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &id)]).expect("answers");
        for part in [
            "<key>of</key><value>template</value>",
            "<key>aws:ec2launchtemplate:version</key><value>1</value>",
            "<key>aws:ec2launchtemplate:id</key><value>lt-",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let other = [
            from,
            ("InstanceType", "t3.nano"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "of"),
            ("TagSpecification.1.Tag.1.Value", "request"),
        ];
        let id = cloud.tenant("acme").run_with(&other).expect("launches").remove(0);
        assert_eq!(cloud.instance(&id).0.instance_type, "t3.nano");
        let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &id)]).expect("answers");
        assert!(shown.contains("<value>request</value>") && !shown.contains("<value>template</value>"), "{shown}");
        cloud.audit();
    }

    #[test]
    fn the_tags_of_the_cloud_itself_are_beyond_its_tenants() {
        let mut cloud = Cloud::new();
        template(&mut cloud, &[]);
        let id = cloud.tenant("acme").run_with(&[("LaunchTemplate.LaunchTemplateName", "web")]).expect("launches");
        let key = ("Tag.1.Key", "aws:ec2launchtemplate:id");
        for action in ["CreateTags", "DeleteTags"] {
            let refusal = cloud.tenant("acme").call(action, &[("ResourceId.1", &id[0]), key]).expect_err(action);
            assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        }
        cloud.tenant("acme").call("DeleteTags", &[("ResourceId.1", &id[0])]).expect("deletes all others");
        let left = cloud.tenant("acme").call("DescribeTags", &[]).expect("answers");
        assert_eq!(Cloud::ids(&left, "key"), ["aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version"]);
    }

    #[test]
    fn a_token_launches_once_whatever_becomes_of_the_template() {
        let mut cloud = Cloud::new();
        template(&mut cloud, &[]);
        let ask = [("LaunchTemplate.LaunchTemplateName", "web"), ("ClientToken", "once")];
        let first = cloud.tenant("acme").run_with(&ask).expect("launches");
        cloud.tenant("acme").call("DeleteLaunchTemplate", &[("LaunchTemplateName", "web")]).expect("deletes");
        assert_eq!(cloud.tenant("acme").run_with(&ask).expect("answers again"), first);
    }

    #[test]
    fn a_template_that_nothing_can_be_launched_from_says_why() {
        let mut cloud = Cloud::new();
        template(&mut cloud, &[("LaunchTemplateData.EnclaveOptions.Enabled", "true")]);
        for (name, value, code) in [
            ("LaunchTemplate.LaunchTemplateName", "web", "UnsupportedOperation"),
            ("LaunchTemplate.LaunchTemplateName", "none", "InvalidLaunchTemplateName.NotFoundException"),
            ("LaunchTemplate.LaunchTemplateId", "lt-00000000000000000", "InvalidLaunchTemplateId.NotFound"),
            ("LaunchTemplate.LaunchTemplateId", "x", "InvalidLaunchTemplateId.Malformed"),
        ] {
            let refusal = cloud.tenant("acme").run_with(&[(name, value)]).expect_err(name);
            assert!(refusal.starts_with(code), "{name}={value}: {refusal}");
        }
        let wrong = [("LaunchTemplate.LaunchTemplateName", "web"), ("LaunchTemplate.Version", "7")];
        let refusal = cloud.tenant("acme").run_with(&wrong).expect_err("no such version");
        assert!(refusal.starts_with("InvalidLaunchTemplateId.VersionNotFound"), "{refusal}");
    }
}
