//! What an account's volumes of a region are to be like.

use awan_model::volume::EbsDefaults;
use awan_state::{Tenant, Tx};

use crate::keys;

pub fn read(tx: &mut Tx<Tenant>) -> EbsDefaults {
    let (home, id) = (tx.home().clone(), EbsDefaults::ID.to_owned());
    let found = tx.find::<EbsDefaults>(&id).map(|defaults| (*defaults).clone());
    found.unwrap_or(EbsDefaults { home, id, encrypt: false, kms_key: None })
}

/// Returns what they are now.
pub fn change(tx: &mut Tx<Tenant>, change: impl FnOnce(&mut EbsDefaults)) -> EbsDefaults {
    let mut defaults = read(tx);
    change(&mut defaults);
    tx.put(defaults.clone());
    defaults
}

/// As an ARN where the tenant gave a bare id of a key; aliases are shown as they are given.
pub fn key(defaults: &EbsDefaults) -> String {
    let (region, account) = (defaults.home.region(), defaults.home.account());
    match defaults.kms_key.as_deref() {
        None => keys::ALIAS.to_owned(),
        Some(key) if key.starts_with("arn:") || key.starts_with("alias/") => key.to_owned(),
        Some(key) => format!("arn:aws:kms:{region}:{account}:key/{key}"),
    }
}
