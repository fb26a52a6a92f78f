//! ImportKeyPair.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{create_key_pair, format};
use crate::error::{Code, Result, missing, refuse};
use crate::tagging;

pub fn import_key_pair(tx: &mut Tx<Tenant>, req: ec2::ImportKeyPairRequest) -> Result<ec2::ImportKeyPairResult> {
    let ec2::ImportKeyPairRequest { tag_specifications, dry_run: _, key_name, public_key_material } = req;
    let name = key_name.ok_or_else(|| missing("KeyName"))?;
    let material = public_key_material.ok_or_else(|| missing("PublicKeyMaterial"))?;
    let text = String::from_utf8(material.0);
    let text = text.map_err(|_| refuse(Code::InvalidKeyFormat, "Key is not in valid OpenSSH public key format"))?;
    let tags = tagging::specified(&tag_specifications, "key-pair", &["key-pair"])?;
    let (kind, line, fingerprint) = format::import(&text)?;
    let key = create_key_pair::keep(tx, &name, kind, &line, &fingerprint, &tags)?;
    Ok(ec2::ImportKeyPairResult {
        key_fingerprint: Some(key.fingerprint),
        key_name: Some(key.name),
        key_pair_id: Some(key.id.to_string()),
        tags,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_no_key_is_refused() {
        let mut cloud = Cloud::new();
        // "hello" in base64
        let refusal =
            cloud.tenant("acme").call("ImportKeyPair", &[("KeyName", "k"), ("PublicKeyMaterial", "aGVsbG8=")]);
        assert_eq!(refusal.expect_err("no key"), "InvalidKey.Format: Key is not in valid OpenSSH public key format");
    }
}
