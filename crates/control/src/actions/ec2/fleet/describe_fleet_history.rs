//! DescribeFleetHistory: what the fleet itself did, told from its record.

use awan_model::fleet::Fleet;
use awan_state::{Millis, Tenant, Tx};
use awan_wire::ec2;

use super::shown;
use crate::actions::ec2::instance::view::time;
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::describe::Page;
use crate::error::{Result, invalid_value, missing};

pub fn describe_fleet_history(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeFleetHistoryRequest,
) -> Result<ec2::DescribeFleetHistoryResult> {
    let ec2::DescribeFleetHistoryRequest { dry_run: _, event_type, max_results, next_token, fleet_id, start_time } =
        req;
    let start = start_time.ok_or_else(|| missing("StartTime"))?;
    let kind = event_type.as_deref();
    if let Some(other) = kind.filter(|k| !["instance-change", "fleet-change", "service-error"].contains(k)) {
        return Err(invalid_value(brief(other), "EventType"));
    }
    let page = Page::new(tx, "DescribeFleetHistory", (max_results, next_token.as_deref()), (1, 1000), false)?;
    let fleet = shown::fleet(tx, &fleet_id.ok_or_else(|| missing("FleetId"))?)?;
    let events = events(&fleet).into_iter().enumerate();
    let after = |at: Millis| i64::try_from(at).is_ok_and(|at| at >= start.0);
    let events = events.filter(|(_, e)| after(e.at) && kind.is_none_or(|k| k == e.kind)).collect::<Vec<_>>();
    let (events, next_token) = page.cut(events, |(n, _)| format!("{n:06}"));
    let history_records = events.into_iter().map(|(_, event)| event.shown()).collect();
    Ok(ec2::DescribeFleetHistoryResult {
        history_records,
        last_evaluated_time: if next_token.is_none() { time(tx.now()) } else { None },
        next_token,
        fleet_id: Some(fleet.id.clone()),
        start_time: Some(start),
    })
}

struct Event {
    at: Millis,
    kind: &'static str,
    what: String,
    text: String,
    instance: Option<String>,
}

impl Event {
    fn shown(self) -> ec2::HistoryRecordEntry {
        ec2::HistoryRecordEntry {
            event_information: Some(ec2::EventInformation {
                event_description: Some(self.text),
                event_sub_type: Some(self.what),
                instance_id: self.instance,
            }),
            event_type: Some(self.kind.into()),
            timestamp: time(self.at),
        }
    }
}

fn events(fleet: &Fleet) -> Vec<Event> {
    let change =
        |at, what: &str| Event { at, kind: "fleet-change", what: what.into(), text: String::new(), instance: None };
    let mut all = vec![change(fleet.created, "submitted"), change(fleet.created, "active")];
    for launched in &fleet.launched {
        all.extend(launched.instances.iter().map(|id| Event {
            at: fleet.created,
            kind: "instance-change",
            what: "launched".into(),
            text: launched.chosen.clone(),
            instance: Some(id.to_string()),
        }));
    }
    all.extend(fleet.failed.iter().map(|failed| Event {
        at: fleet.created,
        kind: "service-error",
        what: failed.code.clone(),
        text: failed.message.clone(),
        instance: None,
    }));
    all.extend(fleet.deleted.map(|at| change(at, "deleted")));
    all
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_history_of_nobodys_fleet_is_not_there() {
        let mut cloud = Cloud::new();
        let ask = [("FleetId", "fleet-00000000-0000-4000-8000-000000000000"), ("StartTime", "2026-01-01T00:00:00Z")];
        let refusal = cloud.tenant("acme").call("DescribeFleetHistory", &ask).expect_err("not there");
        assert!(refusal.starts_with("InvalidFleetId.NotFound"), "{refusal}");
    }
}
