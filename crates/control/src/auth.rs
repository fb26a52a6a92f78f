//! Who asks: the signature, the key behind it, and the home that the key opens.

use awan_model::account::{AccessKey, Account, root_arn};
use awan_model::installation::Installation;
use awan_state::{Home, System, Tenant};
use awan_wire::sigv4::{Parts, Presented, SigError};

use crate::control::Control;
use crate::dispatch::Service;
use crate::error::{Code, Error, Refusal, Result, refuse};

/// How far a client's clock may be off, in seconds.
const SKEW: i64 = 300;

pub struct Caller {
    pub tenant: Tenant,
    pub service: Service,
}

impl From<SigError> for Error {
    fn from(e: SigError) -> Self {
        Self::Refusal(Refusal { code: e.code(), message: e.to_string() })
    }
}

pub fn verify(control: &Control, presented: &Presented, parts: &Parts<'_>) -> Result<Caller> {
    let now = i64::try_from(control.db.wall_clock() / 1000).unwrap_or(i64::MAX);
    let installation = Home::installation();
    let (key, installed) = control.db.read(System, |tx| {
        let key = tx.find_in::<AccessKey>(&installation, &presented.access_key_id);
        let open = key.filter(|k| tx.find_in::<Account>(&installation, &k.account).is_some_and(|a| !a.closing));
        (open, tx.find_in::<Installation>(&installation, &Installation::ID.into()))
    });
    let Some(key) = key else {
        // An unknown key takes as long as a wrong secret.
        let _ = presented.verify("", now, SKEW, parts);
        return Err(unknown());
    };
    presented.verify(&key.secret, now, SKEW, parts)?;
    // There are no temporary credentials yet, so a token belongs to another key: that of an old session, for example.
    if presented.security_token.is_some() {
        return Err(unknown());
    }
    let service = Service::signed(&presented.service).ok_or_else(|| {
        let shown: String = presented.service.chars().take(64).collect();
        refuse(Code::AuthFailure, format!("The service '{}' is not served here.", shown.escape_debug()))
    })?;
    let regions = installed.map(|i| i.regions.clone()).unwrap_or_default();
    let home = if service.is_global() {
        Home::everywhere(&key.account)
    } else {
        Home::new(&key.account, region(&presented.region, &regions)?)
    };
    Ok(Caller { tenant: Tenant { home, principal: root_arn(&key.account).into() }, service })
}

/// Global services are signed for `us-east-1`, wherever they are; all others for the region that is meant.
fn region<'r>(signed: &str, regions: &'r [String]) -> Result<&'r str> {
    regions.iter().find(|r| *r == signed).map(String::as_str).ok_or_else(|| {
        let shown: String = signed.chars().take(64).collect();
        refuse(
            Code::AuthFailure,
            format!("Credential should be scoped to a valid region, not '{}'.", shown.escape_debug()),
        )
    })
}

fn unknown() -> Error {
    refuse(Code::AuthFailure, "AWS was not able to validate the provided access credentials")
}
