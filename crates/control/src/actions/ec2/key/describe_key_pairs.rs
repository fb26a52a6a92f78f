//! DescribeKeyPairs.

use std::sync::Arc;

use awan_model::key_pair::KeyPair;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::time;
use crate::describe::Filters;
use crate::error::{Code, Result, refuse};
use crate::tagging;

const FILTERS: &[&str] = &["tag:*", "key-pair-id", "key-name", "fingerprint", "key-type"];

pub fn describe_key_pairs(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeKeyPairsRequest,
) -> Result<ec2::DescribeKeyPairsResult> {
    let ec2::DescribeKeyPairsRequest { key_names, key_pair_ids, include_public_key, dry_run: _, filters } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let mut found: Vec<Arc<KeyPair>> = Vec::new();
    for name in &key_names {
        let key = tx.lookup(KeyPair::BY_NAME, name).and_then(|id| tx.find::<KeyPair>(&id.parse().ok()?));
        let shown: String = name.chars().take(255).collect();
        let missing =
            || refuse(Code::InvalidKeyPairNotFound, format!("The key pair '{}' does not exist", shown.escape_debug()));
        found.push(key.ok_or_else(missing)?);
    }
    for id in &key_pair_ids {
        found.push(tx.get::<KeyPair>(&id.parse()?)?);
    }
    if key_names.is_empty() && key_pair_ids.is_empty() {
        found = tx.list::<KeyPair>();
    }
    let public = include_public_key.unwrap_or(false);
    let mut key_pairs = Vec::new();
    for key in found {
        let tags = tagging::of(tx, key.id.as_str());
        let values = |name: &str| match name {
            "key-pair-id" => vec![key.id.to_string()],
            "key-name" => vec![key.name.clone()],
            "fingerprint" => vec![key.fingerprint.clone()],
            "key-type" => vec![key.kind.clone()],
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            key_pairs.push(ec2::KeyPairInfo {
                key_pair_id: Some(key.id.to_string()),
                key_type: Some(key.kind.clone()),
                tags: tagging::shown(&tags),
                public_key: public.then(|| key.public_key.clone()),
                create_time: time(key.created),
                key_name: Some(key.name.clone()),
                key_fingerprint: Some(key.fingerprint.clone()),
            });
        }
    }
    Ok(ec2::DescribeKeyPairsResult { key_pairs })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn keys_are_found_by_name_and_by_id() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").call("CreateKeyPair", &[("KeyName", "k"), ("KeyType", "ed25519")]).expect("makes a key");
        let by_name = cloud.tenant("acme").call("DescribeKeyPairs", &[("KeyName.1", "k")]).expect("found");
        let id = Cloud::ids(&by_name, "keyPairId").remove(0);
        let by_id = cloud.tenant("acme").call("DescribeKeyPairs", &[("KeyPairId.1", &id)]).expect("found");
        assert_eq!(Cloud::ids(&by_id, "keyName"), ["k"]);
        assert!(cloud.tenant("other").call("DescribeKeyPairs", &[("KeyPairId.1", &id)]).is_err());
    }
}
