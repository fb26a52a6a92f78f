//! UntagPolicy: keys that are not there are fine.

use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, managed};

pub fn untag_policy(tx: &mut Tx<Tenant>, req: iam::UntagPolicyRequest) -> Result<()> {
    let iam::UntagPolicyRequest { policy_arn, tag_keys } = req;
    let one = managed::own(tx, &policy_arn.unwrap_or_default())?;
    identity::untag_one(tx, one, &tag_keys);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_has_no_tags() {
        let ask = [("PolicyArn", "x"), ("TagKeys.member.1", "a")];
        let refusal = Cloud::new().tenant("acme").iam("UntagPolicy", &ask).expect_err("nothing is there");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
