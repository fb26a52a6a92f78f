//! DeleteKeyPair. Deleting what is not there is fine, as in EC2.

use awan_model::id::KeyPairId;
use awan_model::key_pair::KeyPair;
use awan_model::tag::Tags;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing, refuse_both};

pub fn delete_key_pair(tx: &mut Tx<Tenant>, req: ec2::DeleteKeyPairRequest) -> Result<ec2::DeleteKeyPairResult> {
    let ec2::DeleteKeyPairRequest { key_name, key_pair_id, dry_run: _ } = req;
    refuse_both((key_pair_id.is_some(), "KeyPairId"), (key_name.is_some(), "KeyName"))?;
    let id: Option<KeyPairId> = match (key_pair_id, key_name) {
        (Some(id), _) => Some(tx.get::<KeyPair>(&id.parse()?)?.id.clone()),
        (None, Some(name)) => tx.lookup(KeyPair::BY_NAME, &name).and_then(|id| id.parse().ok()),
        (None, None) => return Err(missing("KeyName")),
    };
    if let Some(id) = &id {
        tx.remove::<KeyPair>(id);
        tx.remove::<Tags>(&id.to_string());
    }
    Ok(ec2::DeleteKeyPairResult { r#return: Some(true), key_pair_id: id.map(|id| id.to_string()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_deleted_name_is_free_again() {
        let mut cloud = Cloud::new();
        let make = [("KeyName", "k"), ("KeyType", "ed25519")];
        cloud.tenant("acme").call("CreateKeyPair", &make).expect("makes a key");
        cloud.tenant("acme").call("DeleteKeyPair", &[("KeyName", "k")]).expect("deletes it");
        cloud.tenant("acme").call("DeleteKeyPair", &[("KeyName", "k")]).expect("it is gone, which is fine");
        cloud.tenant("acme").call("CreateKeyPair", &make).expect("the name is free");
    }
}
