//! Who asks: the signature, the key behind it, and the home that the key opens.
//!
//! A key is the account's own, a user's, or that of temporary credentials, whose token says whose they are. What stands
//! behind a key is looked up for each request, so a key, a user or a role that is gone signs nothing from then on.

use awan_model::account::{AccessKey, Account, root_arn};
use awan_model::identity::{KeyUse, Named as _, Role, User, UserKey, id_of};
use awan_model::installation::Installation;
use awan_state::{Home, Millis, System, Tenant, Tx};
use awan_wire::sigv4::{Parts, Presented, SigError};

use crate::control::Control;
use crate::dispatch::Service;
use crate::error::{Code, Error, Refusal, Result, refuse};
use crate::identity::{Who, session, who};

/// How far a client's clock may be off, in seconds.
const SKEW: i64 = 300;
/// The use of a key is written down so often at most.
const NOTED_MS: Millis = 15 * 60 * 1000;

pub struct Caller {
    pub tenant: Tenant,
    pub service: Service,
    /// The user's key that signed, if its use is to be written down.
    noted: Option<String>,
    region: String,
}

/// Whose a key is, before anything is proven.
struct Known {
    secret: String,
    account: String,
    principal: String,
    /// Of temporary credentials.
    expires: Option<Millis>,
    noted: Option<String>,
}

impl From<SigError> for Error {
    fn from(e: SigError) -> Self {
        Self::Refusal(Refusal { code: e.code(), message: e.to_string() })
    }
}

pub fn verify(control: &Control, presented: &Presented, parts: &Parts<'_>) -> Result<Caller> {
    let wall = control.db.wall_clock();
    let now = i64::try_from(wall / 1000).unwrap_or(i64::MAX);
    let (known, installed) = control.db.read(System, |tx| {
        let installed = tx.find_in::<Installation>(&Home::installation(), &Installation::ID.into());
        (known(tx, presented, installed.as_deref(), wall), installed)
    });
    let signed = Service::signed(&presented.service);
    let Some(known) = known else {
        // An unknown key takes as long as a wrong secret.
        let _ = presented.verify("", now, SKEW, parts);
        return Err(unknown(signed));
    };
    presented.verify(&known.secret, now, SKEW, parts)?;
    if known.expires.is_some_and(|end| end <= wall) {
        return Err(expired(signed));
    }
    let service = signed.ok_or_else(|| {
        let shown: String = presented.service.chars().take(64).collect();
        refuse(Code::AuthFailure, format!("The service '{}' is not served here.", shown.escape_debug()))
    })?;
    let regions = installed.map(|i| i.regions.clone()).unwrap_or_default();
    let home = if service.is_global() {
        Home::everywhere(&known.account)
    } else {
        Home::new(&known.account, region(&presented.region, &regions)?)
    };
    let tenant = Tenant { home, principal: known.principal.into() };
    let region: String = presented.region.chars().take(64).collect();
    Ok(Caller { tenant, service, noted: known.noted, region })
}

fn known(tx: &mut Tx<System>, presented: &Presented, installed: Option<&Installation>, wall: Millis) -> Option<Known> {
    let id = &presented.access_key_id;
    let known = match &presented.security_token {
        Some(token) => of_session(tx, installed?, id, token)?,
        None => of_account(tx, id).or_else(|| of_user(tx, id, wall))?,
    };
    let account = tx.find_in::<Account>(&Home::installation(), &known.account);
    account.is_some_and(|account| !account.closing).then_some(known)
}

fn of_account(tx: &mut Tx<System>, id: &str) -> Option<Known> {
    let key = tx.find_in::<AccessKey>(&Home::installation(), &id.to_owned())?;
    let (secret, account) = (key.secret.clone(), key.account.clone());
    Some(Known { secret, principal: root_arn(&account), account, expires: None, noted: None })
}

fn of_user(tx: &mut Tx<System>, id: &str, wall: Millis) -> Option<Known> {
    let key = tx.find_by::<UserKey>(UserKey::BY_ID, id).filter(|key| key.active)?;
    let user = tx.find_in::<User>(&key.home, &key.user)?;
    let due = key.used.as_ref().is_none_or(|used| used.at + NOTED_MS <= wall);
    Some(Known {
        secret: key.secret.clone(),
        account: key.home.account().to_owned(),
        principal: user.arn(),
        expires: None,
        noted: due.then(|| id.to_owned()),
    })
}

/// What a token says, if its key is the one that signed, and whom it was issued for is still there.
fn of_session(tx: &mut Tx<System>, installed: &Installation, id: &str, token: &str) -> Option<Known> {
    let (session, secret) = session::open(&installed.seal, token)?;
    if session.key != *id {
        return None;
    }
    let home = Home::everywhere(&session.account);
    let there = match who(&session.principal) {
        Who::Root => true,
        Who::User { name } => {
            tx.find_in::<User>(&home, &id_of(&name)).is_some_and(|user| user.about.unique_id == session.unique_id)
        }
        Who::Session { role, .. } => {
            tx.find_in::<Role>(&home, &id_of(&role)).is_some_and(|role| role.about.unique_id == session.unique_id)
        }
    };
    let (account, principal, expires) = (session.account, session.principal, Some(session.expires));
    there.then_some(Known { secret, account, principal, expires, noted: None })
}

/// Writes down that a user's key has signed, now and then.
pub async fn note(control: &Control, caller: &Caller) -> Result<()> {
    let Some(id) = &caller.noted else { return Ok(()) };
    let home = Home::everywhere(caller.tenant.home.account());
    let used = KeyUse {
        at: control.db.wall_clock(),
        service: caller.service.name().to_owned(),
        region: caller.region.clone(),
    };
    control
        .db
        .transact(System, "key use", |tx| {
            tx.act_for_tenant(&home, |tx| {
                if let Some(key) = tx.find::<UserKey>(id) {
                    tx.put(UserKey { used: Some(used.clone()), ..(*key).clone() });
                }
            });
            Ok(())
        })
        .await
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

/// EC2 has words of its own for what the other services say in the same way.
fn unknown(service: Option<Service>) -> Error {
    match service {
        None | Some(Service::Ec2) => {
            refuse(Code::AuthFailure, "AWS was not able to validate the provided access credentials")
        }
        Some(_) => refuse(Code::InvalidClientTokenId, "The security token included in the request is invalid."),
    }
}

fn expired(service: Option<Service>) -> Error {
    match service {
        None | Some(Service::Ec2) => refuse(Code::RequestExpired, "Request has expired."),
        Some(_) => refuse(Code::ExpiredToken, "The security token included in the request is expired"),
    }
}

#[cfg(test)]
mod tests {
    use awan_wire::sigv4::{Parts, authorization};
    use axum::body::Body;
    use axum::http::Request;

    use crate::testing::Cloud;

    /// What signs: a key, its secret, and for temporary ones the token.
    type Keys = (String, String, Option<String>);

    fn keys(told: &str) -> Keys {
        let one = |name: &str| Cloud::ids(told, name).into_iter().next();
        (one("AccessKeyId").expect("a key"), one("SecretAccessKey").expect("a secret"), one("SessionToken"))
    }

    fn ask(cloud: &Cloud, (id, secret, token): &Keys, service: &str, query: &str) -> (u16, String) {
        let at = i64::try_from(cloud.control.db.wall_clock()).expect("a time");
        let stamp = jiff::Timestamp::from_millisecond(at).expect("a time").strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("host".to_owned(), "awan".to_owned()), ("x-amz-date".to_owned(), stamp)];
        headers.extend(token.iter().map(|token| ("x-amz-security-token".to_owned(), token.clone())));
        let parts = Parts { method: "GET", path: "/", query, headers: &headers, body: b"" };
        let line = authorization(secret, id, "us-east-1", service, &parts).expect("signs");
        let request = Request::builder().uri(format!("/?{query}")).header("authorization", line);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        cloud.http(request.body(Body::empty()).expect("a request"))
    }

    const WHO: &str = "Action=GetCallerIdentity&Version=2011-06-15";

    #[test]
    fn a_users_key_signs_for_the_user_until_it_is_inactive_or_gone() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.iam("CreateUser", &[("UserName", "Alice"), ("Path", "/staff/")]).expect("creates");
        let keys = keys(&acme.iam("CreateAccessKey", &[("UserName", "alice")]).expect("creates"));
        let account = acme.id().to_owned();
        let (status, told) = ask(&cloud, &keys, "sts", WHO);
        assert_eq!(status, 200, "{told}");
        assert_eq!(Cloud::ids(&told, "Arn"), [format!("arn:aws:iam::{account}:user/staff/Alice")]);
        assert!(Cloud::ids(&told, "UserId")[0].starts_with("AIDA"), "{told}");
        let used = cloud.tenant("acme").iam("GetAccessKeyLastUsed", &[("AccessKeyId", &keys.0)]).expect("answers");
        assert_eq!(Cloud::ids(&used, "ServiceName"), ["sts"]);
        assert_eq!(ask(&cloud, &keys, "ec2", "Action=DescribeVpcs&Version=2016-11-15").0, 200);
        let (status, told) = ask(&cloud, &keys, "iam", "Action=GetUser&Version=2010-05-08");
        assert_eq!((status, Cloud::ids(&told, "UserName")), (200, vec!["Alice".to_owned()]));
        let about = [("UserName", "alice"), ("AccessKeyId", keys.0.as_str()), ("Status", "Inactive")];
        cloud.tenant("acme").iam("UpdateAccessKey", &about).expect("sets");
        let (status, told) = ask(&cloud, &keys, "sts", WHO);
        assert_eq!((status, Cloud::ids(&told, "Code")), (403, vec!["InvalidClientTokenId".to_owned()]));
        let (status, told) = ask(&cloud, &keys, "ec2", "Action=DescribeVpcs&Version=2016-11-15");
        assert_eq!((status, Cloud::ids(&told, "Code")), (401, vec!["AuthFailure".to_owned()]));
        let about = [about[0], about[1], ("Status", "Active")];
        cloud.tenant("acme").iam("UpdateAccessKey", &about).expect("sets");
        assert_eq!(ask(&cloud, &keys, "sts", WHO).0, 200);
        cloud.tenant("acme").iam("DeleteAccessKey", &about[..2]).expect("deletes");
        assert_eq!(ask(&cloud, &keys, "sts", WHO).0, 403);
    }

    #[test]
    fn a_session_signs_until_it_ends_or_its_role_is_gone() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("web");
        let arn = format!("arn:aws:iam::{}:role/web", acme.id());
        let assume = [("RoleArn", arn.as_str()), ("RoleSessionName", "s")];
        let session = keys(&acme.sts_with("AssumeRole", &assume).expect("assumes"));
        let (status, told) = ask(&cloud, &session, "sts", WHO);
        assert_eq!(status, 200, "{told}");
        assert!(Cloud::ids(&told, "Arn")[0].ends_with(":assumed-role/web/s"), "{told}");
        assert!(Cloud::ids(&told, "UserId")[0].ends_with(":s"), "{told}");
        assert_eq!(ask(&cloud, &session, "ec2", "Action=DescribeVpcs&Version=2016-11-15").0, 200);
        let code = |cloud: &Cloud, keys: &Keys, service: &str| {
            let (status, told) = ask(cloud, keys, service, WHO);
            (status, Cloud::ids(&told, "Code").join(" "))
        };
        let (id, secret, token) = session.clone();
        let wrong = (403, "InvalidClientTokenId".to_owned());
        assert_eq!(code(&cloud, &(id.clone(), secret.clone(), None), "sts"), wrong, "without its token");
        let own = keys(&cloud.tenant("acme").sts("GetSessionToken").expect("answers"));
        assert_eq!(code(&cloud, &(id.clone(), secret.clone(), own.2.clone()), "sts"), wrong, "with another's token");
        assert_eq!(code(&cloud, &(id, "x".repeat(40), token), "sts"), (403, "SignatureDoesNotMatch".to_owned()));
        assert_eq!(ask(&cloud, &own, "sts", WHO).0, 200);
        cloud.pass(3_600_000);
        assert_eq!(code(&cloud, &session, "sts"), (403, "ExpiredToken".to_owned()));
        assert_eq!(code(&cloud, &session, "ec2"), (400, "RequestExpired".to_owned()));
        let mut acme = cloud.tenant("acme");
        let session = keys(&acme.sts_with("AssumeRole", &assume).expect("assumes"));
        acme.iam("DeleteRole", &[("RoleName", "web")]).expect("deletes");
        acme.role("web");
        assert_eq!(code(&cloud, &session, "sts"), wrong, "another role has the name now");
    }
}
