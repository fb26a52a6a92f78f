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

pub async fn create_key_pair(cx: Live, req: ec2::CreateKeyPairRequest) -> Result<ec2::KeyPair> {
    let ec2::CreateKeyPairRequest { key_name, key_type, tag_specifications, key_format, dry_run } = req;
    let name = key_name.ok_or_else(|| missing("KeyName"))?;
    refuse_if(key_format.is_some_and(|f| f != "pem"), "KeyFormat")?;
    let kind = key_type.unwrap_or_else(|| "rsa".into());
    let tags = tagging::specified(&tag_specifications, "key-pair", &["key-pair"])?;
    // Looks first, so that a name that is taken costs no key.
    cx.control.db.read(cx.tenant.clone(), |tx| must_be_free(tx, &name))?;
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
}
