//! DisableImageBlockPublicAccess.

use awan_model::image::PublicAccess;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::Result;
use crate::sharing;

pub fn disable_image_block_public_access(
    tx: &mut Tx<Tenant>,
    req: ec2::DisableImageBlockPublicAccessRequest,
) -> Result<ec2::DisableImageBlockPublicAccessResult> {
    let ec2::DisableImageBlockPublicAccessRequest { dry_run: _ } = req;
    let access = PublicAccess { images: true, ..sharing::access(tx) };
    tx.put(access);
    Ok(ec2::DisableImageBlockPublicAccessResult { image_block_public_access_state: Some("unblocked".into()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn disabling_twice_is_fine() {
        let mut cloud = Cloud::new();
        for _ in 0..2 {
            let told = cloud.tenant("acme").call("DisableImageBlockPublicAccess", &[]).expect("sets");
            assert_eq!(Cloud::ids(&told, "imageBlockPublicAccessState"), ["unblocked"]);
        }
    }
}
