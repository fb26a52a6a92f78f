//! ResetImageAttribute: an image is its owner's alone again.

use std::collections::BTreeSet;

use awan_model::image::{Details, Image};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing, refuse_if};
use crate::sharing;

pub fn reset_image_attribute(tx: &mut Tx<Tenant>, req: ec2::ResetImageAttributeRequest) -> Result<()> {
    let ec2::ResetImageAttributeRequest { attribute, image_id, dry_run: _ } = req;
    refuse_if(attribute.ok_or_else(|| missing("Attribute"))? != "launchPermission", "Attribute")?;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let image = sharing::own::<Image>(tx, &id, "image")?;
    tx.put(private(&image));
    Ok(())
}

/// The image as nobody else sees it.
pub fn private(image: &Image) -> Image {
    let details = Details { shared_with: BTreeSet::new(), ..image.details.clone() };
    Image { public: false, details, ..image.clone() }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_the_permission_can_be_reset_and_only_by_the_owner() {
        let mut cloud = Cloud::new();
        let (builtin, own) = cloud.image_of("acme");
        for (id, attribute, code) in
            [(builtin, "launchPermission", "AuthFailure"), (own, "description", "UnsupportedOperation")]
        {
            let ask = [("ImageId", id.as_str()), ("Attribute", attribute)];
            let refusal = cloud.tenant("acme").call("ResetImageAttribute", &ask).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }
}
