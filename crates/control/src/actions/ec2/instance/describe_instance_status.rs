//! DescribeInstanceStatus: the system check is about the host, the instance check about the guest.

use awan_model::instance::{Health, Instance, State};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view::{self, Seen};
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::schedule;

const FILTERS: &[&str] = &[
    "application-status.status",
    "attached-ebs-status.status",
    "availability-zone",
    "availability-zone-id",
    "instance-state-code",
    "instance-state-name",
    "instance-status.status",
    "instance-status.reachability",
    "system-status.status",
    "system-status.reachability",
    "event.code",
    "event.description",
    "event.instance-event-id",
    "event.not-after",
    "event.not-before",
    "event.not-before-deadline",
    "operator.managed",
    "operator.principal",
];

pub fn describe_instance_status(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeInstanceStatusRequest,
) -> Result<ec2::DescribeInstanceStatusResult> {
    let ec2::DescribeInstanceStatusRequest {
        instance_ids,
        max_results,
        next_token,
        // There are no resources that another service manages.
        include_managed_resources: _,
        dry_run: _,
        filters,
        include_all_instances,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let page = Page::new(
        tx,
        "DescribeInstanceStatus",
        (max_results, next_token.as_deref()),
        (5, 1000),
        !instance_ids.is_empty(),
    )?;
    let found = if instance_ids.is_empty() { tx.list::<Instance>() } else { view::by_ids(tx, &instance_ids)? };
    let all = include_all_instances.unwrap_or(false);
    let mut kept = Vec::new();
    for instance in found {
        let seen = view::see(tx, instance);
        let checks = Checks::of(tx, &seen);
        if (all || seen.state == State::Running) && filters.match_all(|name| checks.value(&seen, name)) {
            kept.push((seen, checks));
        }
    }
    let (kept, next_token) = page.cut(kept, |(seen, _)| seen.instance.id.clone());
    let instance_statuses = kept.iter().map(|(seen, checks)| checks.shown(seen)).collect();
    Ok(ec2::DescribeInstanceStatusResult { instance_statuses, next_token })
}

/// `status` and `reachability` of both checks.
struct Checks {
    instance: (&'static str, &'static str),
    system: (&'static str, &'static str),
}

impl Checks {
    fn of(tx: &mut Tx<Tenant>, seen: &Seen) -> Self {
        if seen.state != State::Running {
            return Self { instance: ("not-applicable", ""), system: ("not-applicable", "") };
        }
        let health = seen.report.as_ref().map(|r| r.health).unwrap_or_default();
        let instance = match health {
            Health::Initializing => ("initializing", "initializing"),
            Health::Ok => ("ok", "passed"),
            Health::Impaired => ("impaired", "failed"),
        };
        let alive = seen.report.as_ref().is_some_and(|r| schedule::is_alive(tx, &r.host));
        let system = if alive { ("ok", "passed") } else { ("impaired", "failed") };
        Self { instance, system }
    }

    fn value(&self, seen: &Seen, name: &str) -> Vec<String> {
        let value = match name {
            "availability-zone" => seen.instance.zone.clone(),
            "availability-zone-id" => zone_id(&seen.instance.zone),
            "instance-state-code" => seen.state.code().to_string(),
            "instance-state-name" => seen.state.to_string(),
            "instance-status.status" => self.instance.0.into(),
            "instance-status.reachability" => self.instance.1.into(),
            "system-status.status" => self.system.0.into(),
            "system-status.reachability" => self.system.1.into(),
            "operator.managed" => "false".into(),
            // There are no scheduled events, and no other checks.
            _ => return Vec::new(),
        };
        vec![value]
    }

    fn shown(&self, seen: &Seen) -> ec2::InstanceStatus {
        let summary = |(status, reachability): (&str, &str)| {
            let detail = |r: &str| ec2::InstanceStatusDetails {
                name: Some("reachability".into()),
                status: Some(r.into()),
                ..Default::default()
            };
            let details = (!reachability.is_empty()).then(|| detail(reachability)).into_iter().collect();
            Some(ec2::InstanceStatusSummary { status: Some(status.into()), details })
        };
        ec2::InstanceStatus {
            operator: Some(view::nobody_else()),
            availability_zone: Some(seen.instance.zone.clone()),
            availability_zone_id: Some(zone_id(&seen.instance.zone)),
            instance_id: Some(seen.instance.id.to_string()),
            instance_state: Some(view::state_shown(seen.state)),
            instance_status: summary(self.instance),
            system_status: summary(self.system),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_running_instances_are_shown_unless_all_are_asked_for() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").launch();
        let shown = |cloud: &mut Cloud, ask: &[(&str, &str)]| {
            cloud.tenant("acme").call("DescribeInstanceStatus", ask).expect("answers")
        };
        assert!(!shown(&mut cloud, &[]).contains(&id));
        assert!(shown(&mut cloud, &[("IncludeAllInstances", "true")]).contains("<status>not-applicable</status>"));
        cloud.settle();
        let answer = shown(&mut cloud, &[("InstanceId.1", &id)]);
        assert_eq!(Cloud::ids(&answer, "status"), ["passed", "ok", "passed", "ok"], "{answer}");
        assert_eq!(Cloud::ids(&answer, "managed"), ["false"]);
    }
}
