//! EnableImage: a disabled image can be launched again; whom it was shared with is forgotten.

use awan_model::image::{Details, Image};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::sharing;

pub fn enable_image(tx: &mut Tx<Tenant>, req: ec2::EnableImageRequest) -> Result<ec2::EnableImageResult> {
    let ec2::EnableImageRequest { image_id, dry_run: _ } = req;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let image = sharing::own::<Image>(tx, &id, "image")?;
    let details = Details { disabled: false, ..image.details.clone() };
    tx.put(Image { details, ..(*image).clone() });
    Ok(ec2::EnableImageResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_enabled_stays_so() {
        let mut cloud = Cloud::new();
        let (builtin, image) = cloud.image_of("acme");
        cloud.tenant("acme").call("EnableImage", &[("ImageId", &image)]).expect("is fine");
        cloud.tenant("acme").run_with(&[("ImageId", &image)]).expect("launches");
        let refusal = cloud.tenant("acme").call("EnableImage", &[("ImageId", &builtin)]).expect_err("another's");
        assert!(refusal.starts_with("AuthFailure"), "{refusal}");
    }
}
