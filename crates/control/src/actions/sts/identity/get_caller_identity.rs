//! GetCallerIdentity.

use awan_state::{Tenant, Tx};
use awan_wire::sts;

use crate::error::Result;

pub fn get_caller_identity(
    tx: &mut Tx<Tenant>,
    req: sts::GetCallerIdentityRequest,
) -> Result<sts::GetCallerIdentityResponse> {
    let sts::GetCallerIdentityRequest {} = req;
    let account = tx.home().account().to_owned();
    // The root user's id is its account's.
    Ok(sts::GetCallerIdentityResponse {
        user_id: Some(account.clone()),
        account: Some(account),
        arn: Some(tx.principal().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_caller_is_who_signed() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").sts("GetCallerIdentity").expect("answers");
        let account = Cloud::ids(&shown, "Account").remove(0);
        assert_eq!(Cloud::ids(&shown, "Arn"), [format!("arn:aws:iam::{account}:root")]);
    }
}
