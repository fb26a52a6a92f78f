//! live: CreateKeyPair makes the key outside the transaction: an RSA key takes a second.

use awan_model::id::KeyPairId;
use awan_model::key_pair::KeyPair;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::format::{self, Made};
use crate::dispatch::{Live, dry_run_succeeded};
use crate::error::{Code, Error, Result, missing, refuse, refuse_if};
use crate::tagging;

const NAME_MAX: usize = 255;
/// EC2's quota per region.
const KEYS_MAX: usize = 5_000;

pub async fn create_key_pair(cx: Live, req: ec2::CreateKeyPairRequest) -> Result<ec2::KeyPair> {
    let ec2::CreateKeyPairRequest { key_name, key_type, tag_specifications, key_format, dry_run } = req;
    let name = key_name.ok_or_else(|| missing("KeyName"))?;
    refuse_if(key_format.is_some_and(|f| f != "pem"), "KeyFormat")?;
    let kind = key_type.unwrap_or_else(|| "rsa".into());
    let tags = tagging::specified(&tag_specifications, "key-pair", &["key-pair"])?;
    format::known(&kind)?;
    // Looks first, so that what will be refused costs no key, and a dry run is refused as the real one would be.
    cx.control.db.rehearse(cx.tenant.clone(), |tx| keep(tx, &name, &kind, "", "", &tags))?;
    if dry_run == Some(true) {
        return Err(dry_run_succeeded());
    }
    let made = tokio::task::spawn_blocking(move || format::make(&kind)).await.map_err(Error::fault)??;
    let Made { kind, private_pem, public_line, fingerprint } = made;
    let keep = |tx: &mut Tx<Tenant>| keep(tx, &name, kind, &public_line, &fingerprint, &tags);
    let key = cx.control.db.transact(cx.tenant.clone(), &cx.request_id, keep).await?;
    Ok(ec2::KeyPair {
        key_pair_id: Some(key.id.to_string()),
        key_name: Some(key.name),
        key_fingerprint: Some(key.fingerprint),
        key_material: Some(private_pem),
        tags,
    })
}

fn must_be_free(tx: &mut Tx<Tenant>, name: &str) -> Result<()> {
    let fine = !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !fine || name.trim() != name {
        return Err(crate::error::invalid("A key name has 1 to 255 printable ASCII characters"));
    }
    if tx.lookup(KeyPair::BY_NAME, name).is_some() {
        return Err(refuse(Code::InvalidKeyPairDuplicate, format!("The keypair already exists: {name}")));
    }
    if tx.list::<KeyPair>().len() >= KEYS_MAX {
        return Err(refuse(Code::KeyPairLimitExceeded, "The maximum number of key pairs has been reached."));
    }
    Ok(())
}

/// Records the public half under a name that nobody in the home has.
pub fn keep(
    tx: &mut Tx<Tenant>,
    name: &str,
    kind: &str,
    public_line: &str,
    fingerprint: &str,
    tags: &[ec2::Tag],
) -> Result<KeyPair> {
    must_be_free(tx, name)?;
    let key = KeyPair {
        home: tx.home().clone(),
        id: KeyPairId::made(tx.new_id(KeyPairId::PREFIX)),
        name: name.to_owned(),
        kind: kind.to_owned(),
        fingerprint: fingerprint.to_owned(),
        public_key: public_line.trim().to_owned(),
        created: tx.now(),
    };
    tx.put(key.clone());
    tagging::add(tx, key.id.as_str(), tags)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_name_is_given_once() {
        let mut cloud = Cloud::new();
        let ask = [("KeyName", "k"), ("KeyType", "ed25519")];
        let made = cloud.tenant("acme").call("CreateKeyPair", &ask).expect("makes a key");
        assert!(made.contains("BEGIN OPENSSH PRIVATE KEY"), "{made}");
        let refusal = cloud.tenant("acme").call("CreateKeyPair", &ask).expect_err("taken");
        assert_eq!(refusal, "InvalidKeyPair.Duplicate: The keypair already exists: k");
        assert!(cloud.tenant("other").call("CreateKeyPair", &ask).is_ok());
    }
    #[test]
    fn a_dry_run_is_refused_as_the_key_itself_would_be() {
        let mut cloud = Cloud::new();
        let tags: Vec<_> = (1..=51).map(|n| (format!("TagSpecification.1.Tag.{n}.Key"), format!("k{n}"))).collect();
        let mut many = vec![("KeyName", "k"), ("KeyType", "ed25519"), ("TagSpecification.1.ResourceType", "key-pair")];
        many.extend(tags.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        for (ask, code) in [
            (vec![("KeyName", "k"), ("KeyType", "dsa")], "InvalidParameterValue"),
            (vec![("KeyName", "k"), ("KeyFormat", "ppk")], "UnsupportedOperation"),
            (vec![("KeyName", " k")], "InvalidParameterValue"),
            (many, "TagLimitExceeded"),
            (vec![("KeyName", "k"), ("Colour", "red")], "UnknownParameter"),
            (vec![("KeyName", "k")], "DryRunOperation"),
        ] {
            let dry: Vec<_> = ask.into_iter().chain([("DryRun", "true")]).collect();
            let refusal = cloud.tenant("acme").call("CreateKeyPair", &dry).expect_err(code);
            assert!(refusal.starts_with(code), "{dry:?}: {refusal}");
        }
        let shown = cloud.tenant("acme").call("DescribeKeyPairs", &[]).expect("answers");
        assert!(Cloud::ids(&shown, "keyName").is_empty(), "{shown}");
    }
}
