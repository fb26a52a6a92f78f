//! DisableImage: nobody launches it any more, and those it was shared with see it no more.

use awan_model::image::Image;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::reset_image_attribute::private;
use crate::error::{Result, missing};
use crate::sharing;

pub fn disable_image(tx: &mut Tx<Tenant>, req: ec2::DisableImageRequest) -> Result<ec2::DisableImageResult> {
    let ec2::DisableImageRequest { image_id, dry_run: _ } = req;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let image = sharing::own::<Image>(tx, &id, "image")?;
    let mut image = private(&image);
    image.details.disabled = true;
    tx.put(image);
    Ok(ec2::DisableImageResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_disabled_image_is_hidden_and_not_launched_until_it_is_enabled() {
        let mut cloud = Cloud::new();
        let (builtin, image) = cloud.image_of("acme");
        let ask = [("ImageId", image.as_str())];
        cloud.tenant("acme").call("DisableImage", &ask).expect("disables");
        let refusal = cloud.tenant("acme").run_with(&ask).expect_err("is disabled");
        assert_eq!(refusal, format!("InvalidAMIID.Unavailable: The image ID '{image}' is not available"));
        let shown = |cloud: &mut Cloud, ask: &[(&str, &str)]| {
            Cloud::ids(&cloud.tenant("acme").call("DescribeImages", ask).expect("answers"), "imageState")
        };
        assert!(shown(&mut cloud, &[("Owner.1", "self")]).is_empty());
        assert_eq!(shown(&mut cloud, &[("Owner.1", "self"), ("IncludeDisabled", "true")]), ["disabled"]);
        cloud.tenant("acme").call("EnableImage", &ask).expect("enables");
        assert_eq!(shown(&mut cloud, &[("Owner.1", "self")]), ["available"]);
        cloud.tenant("acme").run_with(&ask).expect("launches");
        let refusal = cloud.tenant("acme").call("DisableImage", &[("ImageId", &builtin)]).expect_err("another's");
        assert!(refusal.starts_with("AuthFailure"), "{refusal}");
    }
}
