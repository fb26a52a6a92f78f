//! GetCallerIdentity: who signed.

use awan_state::{Tenant, Tx};
use awan_wire::sts;

use crate::error::Result;
use crate::identity;

pub fn get_caller_identity(
    tx: &mut Tx<Tenant>,
    req: sts::GetCallerIdentityRequest,
) -> Result<sts::GetCallerIdentityResponse> {
    let sts::GetCallerIdentityRequest {} = req;
    Ok(sts::GetCallerIdentityResponse {
        user_id: Some(identity::caller_id(tx)),
        account: Some(tx.home().account().to_owned()),
        arn: Some(tx.principal().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_account_is_named() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        let told = acme.sts("GetCallerIdentity").expect("answers");
        let account = Cloud::ids(&told, "Account").remove(0);
        assert_eq!(Cloud::ids(&told, "Arn"), [format!("arn:aws:iam::{account}:root")]);
        assert_eq!(Cloud::ids(&told, "UserId"), [account]);
    }
}
