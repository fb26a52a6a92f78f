//! GetImageBlockPublicAccessState.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::Result;
use crate::sharing;

pub fn get_image_block_public_access_state(
    tx: &mut Tx<Tenant>,
    req: ec2::GetImageBlockPublicAccessStateRequest,
) -> Result<ec2::GetImageBlockPublicAccessStateResult> {
    let ec2::GetImageBlockPublicAccessStateRequest { dry_run: _ } = req;
    let state = if sharing::access(tx).images { "unblocked" } else { "block-new-sharing" };
    Ok(ec2::GetImageBlockPublicAccessStateResult {
        image_block_public_access_state: Some(state.into()),
        managed_by: Some("account".into()),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_account_begins_blocked_as_ec2s_do() {
        let mut cloud = Cloud::new();
        let mut state = |action: &str, ask: &[(&str, &str)]| {
            let told = cloud.tenant("acme").call(action, ask).expect("answers");
            Cloud::ids(&told, "imageBlockPublicAccessState").remove(0)
        };
        assert_eq!(state("GetImageBlockPublicAccessState", &[]), "block-new-sharing");
        assert_eq!(state("DisableImageBlockPublicAccess", &[]), "unblocked");
        assert_eq!(state("GetImageBlockPublicAccessState", &[]), "unblocked");
        let ask = [("ImageBlockPublicAccessState", "block-new-sharing")];
        assert_eq!(state("EnableImageBlockPublicAccess", &ask), "block-new-sharing");
        assert_eq!(state("GetImageBlockPublicAccessState", &[]), "block-new-sharing");
    }
}
