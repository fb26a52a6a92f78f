//! UntagRole: keys that are not there are fine.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, get};

pub fn untag_role(tx: &mut Tx<Tenant>, req: iam::UntagRoleRequest) -> Result<()> {
    let iam::UntagRoleRequest { role_name, tag_keys } = req;
    let one = get::<Role>(tx, &role_name.unwrap_or_default())?;
    identity::untag_one(tx, one, &tag_keys);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_has_no_tags() {
        let ask = [("RoleName", "x"), ("TagKeys.member.1", "a")];
        let refusal = Cloud::new().tenant("acme").iam("UntagRole", &ask).expect_err("nothing is there");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
