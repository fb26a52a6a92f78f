//! DescribeFlowLogs. Only what goes into a log group is delivered.

use awan_model::flow_log::{Destination, FlowLog};
use awan_model::log_group::LogGroup;
use awan_state::{Tenant, Tx};
use awan_wire::{ec2, shape};

use super::delete_flow_logs::found;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "deliver-log-status",
    "log-destination-type",
    "flow-log-id",
    "log-group-name",
    "resource-id",
    "traffic-type",
];

pub fn describe_flow_logs(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeFlowLogsRequest,
) -> Result<ec2::DescribeFlowLogsResult> {
    let ec2::DescribeFlowLogsRequest { dry_run: _, filter, flow_log_ids, max_results, next_token } = req;
    let filters = Filters::new(&filter, FILTERS)?;
    let named = !flow_log_ids.is_empty();
    let page = Page::new(tx, "DescribeFlowLogs", (max_results, next_token.as_deref()), (1, 1000), named)?;
    let logs = if named { found(tx, &flow_log_ids)? } else { tx.list::<FlowLog>() };
    let mut kept = Vec::new();
    for log in logs {
        let tags = tagging::of(tx, log.id.as_str());
        let failure = failure(tx, &log);
        let shown = shown(&log, failure, tagging::shown(&tags));
        let values = |name: &str| {
            let one = match name {
                "deliver-log-status" => &shown.deliver_logs_status,
                "log-destination-type" => &shown.log_destination_type,
                "flow-log-id" => &shown.flow_log_id,
                "log-group-name" => &shown.log_group_name,
                "resource-id" => &shown.resource_id,
                "traffic-type" => &shown.traffic_type,
                tag => return tagging::filter_values(&tags, tag),
            };
            one.iter().cloned().collect()
        };
        if filters.match_all(values) {
            kept.push((log, shown));
        }
    }
    let (kept, next_token) = page.cut(kept, |(log, _)| log.id.clone());
    Ok(ec2::DescribeFlowLogsResult { flow_logs: kept.into_iter().map(|(_, shown)| shown).collect(), next_token })
}

/// Why nothing is delivered where a log names.
fn failure(tx: &mut Tx<Tenant>, log: &FlowLog) -> Option<&'static str> {
    match &log.destination {
        Destination::CloudWatch { group, .. } => {
            let there = tx.find::<LogGroup>(&LogGroup::key(group)).is_some();
            (!there).then_some("Access error: there is no such log group.")
        }
        Destination::S3 { .. } => Some("Unknown error: there are no buckets; files of the host have the records."),
        Destination::Firehose { .. } => {
            Some("Unknown error: there are no streams; files of the host have the records.")
        }
    }
}

fn shown(log: &FlowLog, failure: Option<&str>, tags: Vec<ec2::Tag>) -> ec2::FlowLog {
    let common = ec2::FlowLog {
        creation_time: Some(shape::Timestamp(log.created.try_into().unwrap_or(i64::MAX))),
        deliver_logs_error_message: failure.map(str::to_owned),
        deliver_logs_status: Some(if failure.is_some() { "FAILED" } else { "SUCCESS" }.into()),
        flow_log_id: Some(log.id.to_string()),
        flow_log_status: Some("ACTIVE".into()),
        resource_id: Some(log.resource.clone()),
        traffic_type: Some(log.traffic.clone()),
        log_format: Some(log.format.clone()),
        tags,
        max_aggregation_interval: Some(log.interval_s.into()),
        ..Default::default()
    };
    match &log.destination {
        Destination::CloudWatch { arn, group, role } => ec2::FlowLog {
            log_destination_type: Some("cloud-watch-logs".into()),
            log_destination: arn.clone(),
            log_group_name: Some(group.clone()),
            deliver_logs_permission_arn: Some(role.clone()),
            ..common
        },
        Destination::S3 { arn, parquet, hive, per_hour } => ec2::FlowLog {
            log_destination_type: Some("s3".into()),
            log_destination: Some(arn.clone()),
            destination_options: Some(ec2::DestinationOptionsResponse {
                file_format: Some(if *parquet { "parquet" } else { "plain-text" }.into()),
                hive_compatible_partitions: Some(*hive),
                per_hour_partition: Some(*per_hour),
            }),
            ..common
        },
        Destination::Firehose { arn, role } => ec2::FlowLog {
            log_destination_type: Some("kinesis-data-firehose".into()),
            log_destination: Some(arn.clone()),
            deliver_logs_permission_arn: role.clone(),
            ..common
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn logs_are_found_by_what_they_are_about() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let subnets = call("DescribeSubnets", &[]);
        let (vpc, subnet) = (Cloud::ids(&subnets, "vpcId").remove(0), Cloud::ids(&subnets, "subnetId").remove(0));
        for (kind, id, more) in [
            ("VPC", &vpc, [("LogGroupName", "flows"), ("DeliverLogsPermissionArn", "arn:aws:iam::1:role/r")]),
            ("Subnet", &subnet, [("LogDestinationType", "s3"), ("LogDestination", "arn:aws:s3:::bucket")]),
        ] {
            let ask = [("ResourceType", kind), ("ResourceId.1", id.as_str()), ("TrafficType", "REJECT")];
            call("CreateFlowLogs", &[&ask[..], &more].concat());
        }
        for (name, value, expected) in [
            ("resource-id", vpc.as_str(), &[vpc.as_str()][..]),
            ("log-destination-type", "s3", &[subnet.as_str()]),
            ("log-group-name", "flo*", &[vpc.as_str()]),
            ("traffic-type", "ACCEPT", &[]),
            ("deliver-log-status", "SUCCESS", &[vpc.as_str()]),
            ("deliver-log-status", "FAILED", &[subnet.as_str()]),
        ] {
            let shown = call("DescribeFlowLogs", &[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
            assert_eq!(Cloud::ids(&shown, "resourceId"), expected, "{name}");
        }
    }
}
