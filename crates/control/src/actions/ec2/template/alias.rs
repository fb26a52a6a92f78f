//! `resolve:ssm:NAME` in the place of an image id.

use awan_state::{Tenant, Tx};

use crate::error::Result;
use crate::parameter;

const PREFIX: &str = "resolve:ssm:";

/// The image id that a text is, or stands for at this moment.
pub fn resolved(tx: &mut Tx<Tenant>, image: &str) -> Result<String> {
    if image.starts_with(PREFIX) { Ok(parameter::image(tx, image)?.to_string()) } else { Ok(image.to_owned()) }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_alias_is_kept_in_a_template_and_resolved_by_whoever_launches_or_asks() {
        let mut cloud = Cloud::new();
        let alias = "resolve:ssm:/aws/service/awan/tiny/latest/image_id";
        let ask = [("LaunchTemplateName", "web"), ("LaunchTemplateData.ImageId", alias)];
        cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        let name = ("LaunchTemplateName", "web");
        let mut shown = |more: &[(&str, &str)]| {
            let ask = [&[name], more].concat();
            let shown = cloud.tenant("acme").call("DescribeLaunchTemplateVersions", &ask).expect("answers");
            Cloud::ids(&shown, "imageId").remove(0)
        };
        assert_eq!(shown(&[]), alias);
        let image = shown(&[("ResolveAlias", "true")]);
        assert!(image.starts_with("ami-"), "{image}");
        let launch = [("MinCount", "1"), ("MaxCount", "1"), ("LaunchTemplate.LaunchTemplateName", "web")];
        let made = cloud.tenant("acme").call("RunInstances", &launch).expect("launches");
        assert_eq!(Cloud::ids(&made, "imageId"), [image]);
        cloud.tenant("acme").run_with(&[("ImageId", alias)]).expect("launches");
        let refusal = cloud.tenant("acme").run_with(&[("ImageId", "resolve:ssm:none")]).expect_err("no such name");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
    }
}
