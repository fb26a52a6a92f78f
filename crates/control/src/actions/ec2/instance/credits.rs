//! CPU credits: which option an instance and a family of types have. Nothing is metered or throttled by them yet.

use awan_model::instance::Instance;
use awan_model::instance_type::InstanceType;
use awan_model::options::Credits;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::metadata::account;
use crate::error::{Code, Error, Result, combination, invalid, invalid_value, missing, refuse};

/// Of a launch; `None` for types that have no credits.
pub fn of_launch(
    tx: &mut Tx<Tenant>,
    asked: Option<ec2::CreditSpecificationRequest>,
    kind: &InstanceType,
) -> Result<Option<Credits>> {
    let asked = asked.and_then(|a| a.cpu_credits).filter(|c| !c.is_empty());
    match asked {
        Some(_) if !kind.burstable => {
            Err(combination(format!("The instance type '{}' does not support CPU credits", kind.id)))
        }
        Some(name) => named(&name).map(Some),
        None => Ok(default_of(tx, kind)),
    }
}

pub fn default_of(tx: &mut Tx<Tenant>, kind: &InstanceType) -> Option<Credits> {
    kind.burstable.then(|| account(tx).credits_of(kind.family()))
}

/// The option of an instance, if its type has any.
pub fn of(tx: &mut Tx<Tenant>, instance: &Instance) -> Option<Credits> {
    let kind = tx.public::<InstanceType>(&instance.instance_type)?;
    if kind.burstable { instance.options.credits.or_else(|| default_of(tx, &kind)) } else { None }
}

pub fn named(name: &str) -> Result<Credits> {
    let shown: String = name.chars().take(32).collect();
    Credits::named(name).ok_or_else(|| invalid_value(shown.escape_debug(), "cpuCredits"))
}

pub fn not_supported(instance: &Instance) -> Error {
    let (id, kind) = (&instance.id, &instance.instance_type);
    let message = format!("The instance '{id}' is a {kind}, which does not use CPU credits.");
    refuse(Code::InstanceCreditSpecificationNotSupported, message)
}

/// A family of burstable types.
pub fn family(tx: &mut Tx<Tenant>, name: Option<String>) -> Result<String> {
    let name = name.ok_or_else(|| missing("InstanceFamily"))?;
    let known = tx.all_public::<InstanceType>().iter().any(|kind| kind.burstable && kind.family() == name);
    let shown: String = name.chars().take(32).collect();
    if known { Ok(name) } else { Err(invalid(format!("Invalid instance family: '{}'", shown.escape_debug()))) }
}

pub fn family_shown(family: &str, credits: Credits) -> Option<ec2::InstanceFamilyCreditSpecification> {
    Some(ec2::InstanceFamilyCreditSpecification {
        instance_family: Some(family.to_owned()),
        cpu_credits: Some(credits.as_str().into()),
    })
}
