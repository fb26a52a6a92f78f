//! EnableImageBlockPublicAccess: no image becomes public any more; those that are stay so.

use awan_model::image::PublicAccess;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, invalid_value, missing};
use crate::sharing;

pub fn enable_image_block_public_access(
    tx: &mut Tx<Tenant>,
    req: ec2::EnableImageBlockPublicAccessRequest,
) -> Result<ec2::EnableImageBlockPublicAccessResult> {
    let ec2::EnableImageBlockPublicAccessRequest { image_block_public_access_state, dry_run: _ } = req;
    let state = image_block_public_access_state.ok_or_else(|| missing("ImageBlockPublicAccessState"))?;
    if state != "block-new-sharing" {
        let shown: String = state.chars().take(32).collect();
        return Err(invalid_value(shown.escape_debug(), "ImageBlockPublicAccessState"));
    }
    let access = PublicAccess { images: false, ..sharing::access(tx) };
    tx.put(access);
    Ok(ec2::EnableImageBlockPublicAccessResult { image_block_public_access_state: Some(state) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn there_is_one_mode() {
        let mut cloud = Cloud::new();
        for (value, code) in [("unblocked", "InvalidParameterValue"), ("", "InvalidParameterValue")] {
            let ask = [("ImageBlockPublicAccessState", value)];
            let refusal = cloud.tenant("acme").call("EnableImageBlockPublicAccess", &ask).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }
}
