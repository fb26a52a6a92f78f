//! DisableImageDeprecation.

use awan_model::image::{Details, Image};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::sharing;

pub fn disable_image_deprecation(
    tx: &mut Tx<Tenant>,
    req: ec2::DisableImageDeprecationRequest,
) -> Result<ec2::DisableImageDeprecationResult> {
    let ec2::DisableImageDeprecationRequest { image_id, dry_run: _ } = req;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let image = sharing::own::<Image>(tx, &id, "image")?;
    let details = Details { deprecated: None, ..image.details.clone() };
    tx.put(Image { details, ..(*image).clone() });
    Ok(ec2::DisableImageDeprecationResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_image_that_is_not_deprecated_stays_so() {
        let mut cloud = Cloud::new();
        let (builtin, image) = cloud.image_of("acme");
        cloud.tenant("acme").call("DisableImageDeprecation", &[("ImageId", &image)]).expect("is fine");
        let refusal =
            cloud.tenant("acme").call("DisableImageDeprecation", &[("ImageId", &builtin)]).expect_err("another's");
        assert!(refusal.starts_with("AuthFailure"), "{refusal}");
    }
}
