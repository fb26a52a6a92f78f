//! Why is it so: intent, plan, report, state, and the last changes with their causes.

use awan_model::instance::{Instance, Placement, VmReport, state};
use awan_model::journal::Transition;
use awan_state::{Db, Operator, Record as _, Ref};
use serde_json::{Value, json};

use crate::error::{Error, Result, invalid};

const TRANSITIONS_MAX: usize = 200;

/// Everything about one resource, whosever it is.
pub fn why(db: &Db, id: &str) -> Result<Value> {
    let snapshot = db.snapshot();
    let suffix = format!("/{id}");
    let key = snapshot.keys("").find(|key| !key.starts_with("by-") && key.ends_with(&suffix));
    let key = key.ok_or_else(|| invalid(format!("There is no record of '{}'", id.escape_debug())))?;
    let mut parts = key.split('/');
    let (kind, account, region) = (parts.next(), parts.next(), parts.next());
    let home = awan_state::Home::new(account.unwrap_or("_"), region.unwrap_or("_"));
    let changes = transitions(db, &home, id)?;
    let mut out = json!({ "Id": id, "Kind": kind, "Account": account, "Region": region, "Changes": changes });
    out["Records"] = snapshot
        .keys("")
        .filter(|key| !key.starts_with("by-") && key.ends_with(&suffix))
        .filter_map(|key| {
            snapshot.cause(&key).map(|(revision, cause)| json!({"Key": &*key, "Revision": revision, "Cause": &*cause}))
        })
        .collect();
    if kind == Some(Instance::KIND)
        && let Ok(id) = id.parse()
    {
        let at = Ref::<Instance>::new(&home, &id);
        db.read(Operator, |tx| {
            let (intent, plan) = (tx.find_at(&at), tx.find_at(&Ref::<Placement>::new(&home, &id)));
            let report = tx.find_at(&Ref::<VmReport>::new(&home, &id));
            out["State"] = json!(intent.as_ref().map(|i| state(i, report.as_deref()).as_str()));
            out["Plan"] = json!(plan);
            out["Report"] = json!(report);
            out["Intent"] = json!(intent.map(|i| json!({
                "Wish": i.wish, "Run": i.run, "Reboots": i.reboots, "Type": i.instance_type, "Image": i.image.to_string(), "Zone": i.zone,
            })));
        });
    }
    Ok(out)
}

fn transitions(db: &Db, home: &awan_state::Home, id: &str) -> Result<Vec<Transition>> {
    let page = db.cold(&format!("journal/{home}/{id}/"), None, TRANSITIONS_MAX).map_err(Error::fault)?;
    Ok(page.rows.iter().filter_map(|row| serde_json::from_slice(&row.value).ok()).collect())
}
