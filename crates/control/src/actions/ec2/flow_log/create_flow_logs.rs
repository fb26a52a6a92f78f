//! CreateFlowLogs. Their lines go into a log group, which is made if there is none of its name; what is to go
//! elsewhere is written to files of its hosts, for the operator.

use std::collections::BTreeMap;

use awan_model::flow_log::{Destination, FlowLog};
use awan_model::id::FlowLogId;
use awan_model::interface::NetworkInterface;
use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{Home, Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Error, Result, invalid, invalid_value, missing, refuse, refuse_if, unsupported};
use crate::token::Use;
use crate::{logs, tagging};

/// EC2 writes these where no format is named. Source: "Flow log records", default format.
const FORMAT: &str = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} \
                      ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";
const FORMAT_MAX: usize = 4_096;
const ARN_MAX: usize = 1_024;
const RESOURCES_MAX: usize = 300;
const LOGS_MAX: usize = 1_000;

pub fn create_flow_logs(tx: &mut Tx<Tenant>, req: ec2::CreateFlowLogsRequest) -> Result<ec2::CreateFlowLogsResult> {
    let others = ec2::CreateFlowLogsRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateFlowLogsRequest {
        dry_run: _,
        client_token,
        deliver_logs_permission_arn,
        deliver_cross_account_role,
        log_group_name,
        resource_ids,
        resource_type,
        traffic_type,
        log_destination_type,
        log_destination,
        log_format,
        tag_specifications,
        max_aggregation_interval,
        destination_options,
        tag_field_specifications,
    } = req;
    refuse_if(deliver_cross_account_role.is_some(), "DeliverCrossAccountRole")?;
    refuse_if(!tag_field_specifications.is_empty(), "TagFieldSpecification")?;
    let client_token = client_token.filter(|token| !token.is_empty());
    let token = client_token.as_deref();
    let token = token.map(|t| Use::new("CreateFlowLogs", t, &format!("{others:?}"))).transpose()?;
    if let Some(first) = &token
        && let Some(flow_log_ids) = first.made(tx)?
    {
        return Ok(ec2::CreateFlowLogsResult { client_token, flow_log_ids, unsuccessful: Vec::new() });
    }
    let resources = resources(tx, &resource_type.ok_or_else(|| missing("ResourceType"))?, resource_ids)?;
    let traffic = match traffic_type.as_deref().ok_or_else(|| missing("TrafficType"))? {
        known @ ("ACCEPT" | "REJECT" | "ALL") => known.to_owned(),
        other => return Err(invalid_value(brief(other), "TrafficType")),
    };
    let asked = Asked {
        kind: log_destination_type.unwrap_or_else(|| "cloud-watch-logs".into()),
        arn: log_destination.filter(|arn| !arn.is_empty()),
        group: log_group_name.filter(|group| !group.is_empty()),
        role: deliver_logs_permission_arn.filter(|role| !role.is_empty()),
        options: destination_options.unwrap_or_default(),
    };
    let destination = asked.destination(tx.home())?;
    let format = log_format.filter(|format| !format.is_empty()).unwrap_or_else(|| FORMAT.into());
    if format.len() > FORMAT_MAX || !format.contains("${") {
        return Err(invalid_value(brief(&format), "LogFormat"));
    }
    let interval_s = match max_aggregation_interval {
        None | Some(600) => 600,
        Some(60) => 60,
        Some(other) => return Err(invalid_value(other, "MaxAggregationInterval")),
    };
    let tags = tagging::specified(&tag_specifications, "vpc-flow-log", &["vpc-flow-log"])?;
    let (mut flow_log_ids, mut unsuccessful) = (Vec::new(), Vec::new());
    for resource in resources {
        let (home, created) = (tx.home().clone(), tx.now());
        let id = FlowLogId::made(tx.new_id(FlowLogId::PREFIX));
        let (traffic, destination, format) = (traffic.clone(), destination.clone(), format.clone());
        let client_token = client_token.clone();
        let log = FlowLog { home, id, resource, traffic, destination, format, interval_s, client_token, created };
        match add(tx, log, &tags)? {
            Ok(id) => flow_log_ids.push(id),
            Err(item) => unsuccessful.push(item),
        }
    }
    if !flow_log_ids.is_empty() {
        provide(tx, &destination)?;
    }
    if let Some(first) = token.filter(|_| !flow_log_ids.is_empty()) {
        first.keep(tx, flow_log_ids.clone());
    }
    Ok(ec2::CreateFlowLogsResult { client_token, flow_log_ids, unsuccessful })
}

/// A log group that is not there is made. Where there are too many, nothing is delivered, as EC2 does.
fn provide(tx: &mut Tx<Tenant>, destination: &Destination) -> Result<()> {
    let Destination::CloudWatch { group, .. } = destination else { return Ok(()) };
    match logs::create(tx, group, BTreeMap::new()) {
        Err(Error::Fault(fault)) => Err(Error::Fault(fault)),
        Ok(()) | Err(Error::Refusal(_)) => Ok(()),
    }
}

/// The id of what was made, or why it was not.
fn add(tx: &mut Tx<Tenant>, log: FlowLog, tags: &[ec2::Tag]) -> Result<Result<String, ec2::UnsuccessfulItem>> {
    let all = tx.list::<FlowLog>();
    let twin =
        |l: &FlowLog| (&l.resource, &l.destination, &l.traffic) == (&log.resource, &log.destination, &log.traffic);
    if all.iter().any(|l| twin(l)) {
        let error = ec2::UnsuccessfulItemError {
            code: Some("FlowLogAlreadyExists".into()),
            message: Some("There is an existing Flow Log with the same configuration and log destination.".into()),
        };
        return Ok(Err(ec2::UnsuccessfulItem { error: Some(error), resource_id: Some(log.resource) }));
    }
    if all.len() >= LOGS_MAX {
        return Err(refuse(Code::FlowLogsLimitExceeded, "The maximum number of flow logs has been reached."));
    }
    let id = log.id.to_string();
    tagging::add(tx, &id, tags)?;
    tx.put(log);
    Ok(Ok(id))
}

fn resources(tx: &mut Tx<Tenant>, kind: &str, ids: Vec<String>) -> Result<Vec<String>> {
    if ids.is_empty() || ids.len() > RESOURCES_MAX {
        return Err(invalid(format!("A request names 1 to {RESOURCES_MAX} resources")));
    }
    for id in &ids {
        match kind {
            "VPC" => drop(tx.get::<Vpc>(&id.parse()?)?),
            "Subnet" => drop(tx.get::<Subnet>(&id.parse()?)?),
            "NetworkInterface" => drop(tx.get::<NetworkInterface>(&id.parse()?)?),
            "TransitGateway" | "TransitGatewayAttachment" | "RegionalNatGateway" => {
                return Err(unsupported("ResourceType"));
            }
            other => return Err(invalid_value(brief(other), "ResourceType")),
        }
    }
    Ok(ids)
}

/// Where the flows are to go, as the request says it.
struct Asked {
    kind: String,
    arn: Option<String>,
    group: Option<String>,
    role: Option<String>,
    options: ec2::DestinationOptionsRequest,
}

impl Asked {
    fn destination(self, home: &Home) -> Result<Destination> {
        let Self { kind, arn, group, role, options } = self;
        let ec2::DestinationOptionsRequest { file_format, hive_compatible_partitions, per_hour_partition } = options;
        let (hive, per_hour) = (hive_compatible_partitions == Some(true), per_hour_partition == Some(true));
        let parquet = match file_format.as_deref() {
            None | Some("plain-text") => false,
            Some("parquet") => true,
            Some(other) => return Err(invalid_value(brief(other), "FileFormat")),
        };
        if [&arn, &group, &role].into_iter().flatten().any(|text| text.len() > ARN_MAX) {
            return Err(invalid(format!("Names of destinations have at most {ARN_MAX} characters")));
        }
        if kind != "s3" && (parquet || hive || per_hour) {
            return Err(invalid("DestinationOptions are only for the LogDestinationType s3"));
        }
        if kind != "cloud-watch-logs" && group.is_some() {
            return Err(invalid(format!("LogGroupName is not applicable for {} delivery", brief(&kind))));
        }
        let of = |service: &str| {
            let arn = arn
                .clone()
                .ok_or_else(|| invalid(format!("LogDestination can't be empty if LogDestinationType is {service}.")))?;
            let named =
                arn.split(':').nth(2) == Some(service) && arn.starts_with("arn:") && arn.split(':').count() >= 6;
            if named { Ok(arn) } else { Err(invalid_value(brief(&arn), "LogDestination")) }
        };
        match kind.as_str() {
            "s3" if role.is_some() => Err(invalid("DeliverLogsPermissionArn is not applicable for s3 delivery")),
            "s3" => Ok(Destination::S3 { arn: of("s3")?, parquet, hive, per_hour }),
            "kinesis-data-firehose" => Ok(Destination::Firehose { arn: of("firehose")?, role }),
            "cloud-watch-logs" => {
                let empty = |name| invalid(format!("{name} can't be empty if LogDestinationType is cloud-watch-logs."));
                let role = role.ok_or_else(|| empty("DeliverLogsPermissionArn"))?;
                match (group, &arn) {
                    (Some(_), Some(_)) => {
                        Err(invalid("Please only provide LogGroupName or only provide LogDestination."))
                    }
                    (Some(group), None) if logs::is_name(&group) => {
                        Ok(Destination::CloudWatch { arn: None, group, role })
                    }
                    (Some(group), None) => Err(invalid_value(brief(&group), "LogGroupName")),
                    (None, Some(arn)) => {
                        let group = logs::named(home, arn.strip_suffix(":*").unwrap_or(arn)).map(str::to_owned);
                        let group = group.ok_or_else(|| invalid_value(brief(arn), "LogDestination"))?;
                        Ok(Destination::CloudWatch { arn: Some(arn.clone()), group, role })
                    }
                    (None, None) => Err(empty("LogGroupName")),
                }
            }
            other => Err(invalid_value(brief(other), "LogDestinationType")),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_log_of_each_resource_is_made_once() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let vpc = Cloud::ids(&call("CreateVpc", &[("CidrBlock", "10.1.0.0/16")]).expect("makes"), "vpcId").remove(0);
        let ask = [
            ("ResourceType", "VPC"),
            ("ResourceId.1", vpc.as_str()),
            ("TrafficType", "ALL"),
            ("LogDestinationType", "s3"),
            ("LogDestination", "arn:aws:s3:::bucket/folder/"),
        ];
        let token = [&ask[..], &[("ClientToken", "once")]].concat();
        let made = call("CreateFlowLogs", &token).expect("makes");
        assert_eq!(call("CreateFlowLogs", &token).expect("the same"), made);
        let again = call("CreateFlowLogs", &ask).expect("answers");
        assert_eq!(Cloud::ids(&again, "code"), ["FlowLogAlreadyExists"]);
        let shown = call("DescribeFlowLogs", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "resourceId"), [vpc.as_str()]);
        assert_eq!(Cloud::ids(&shown, "deliverLogsStatus"), ["FAILED"], "nothing is delivered");
        call("DeleteVpc", &[("VpcId", &vpc)]).expect("takes the log with it");
        let shown = call("DescribeFlowLogs", &[]).expect("answers");
        assert!(Cloud::ids(&shown, "resourceId").is_empty(), "{shown}");
        cloud.audit();
    }

    #[test]
    fn a_log_group_is_made_where_there_is_none_and_only_one_of_ones_own_is_taken() {
        let mut cloud = Cloud::new();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let own = cloud.tenant("acme").account();
        let mut make = |name: &str, value: &str, more: (&str, &str)| {
            let role = ("DeliverLogsPermissionArn", "arn:aws:iam::1:role/r");
            let ask =
                [("ResourceType", "VPC"), ("ResourceId.1", &vpc), ("TrafficType", "ALL"), role, (name, value), more];
            cloud.tenant("acme").call("CreateFlowLogs", &ask)
        };
        let arn = format!("arn:aws:logs:us-east-1:{own}:log-group:/b:*");
        let usual = ("MaxAggregationInterval", "60");
        for (name, value) in [
            ("LogGroupName", "a b"),
            ("LogDestination", "arn:aws:logs:us-east-1:999999999999:log-group:b"),
            ("LogDestination", "arn:aws:logs:eu-west-1:123456789012:log-group:b"),
            ("LogDestination", arn.trim_end_matches("/b:*")),
            ("LogDestination", "arn:aws:s3:::bucket"),
        ] {
            let refusal = make(name, value, usual).expect_err(value);
            assert_eq!(refusal, format!("InvalidParameterValue: Value ({value}) for parameter {name} is invalid."));
        }
        let dry = make("LogGroupName", "dry", ("DryRun", "true")).expect_err("dry");
        assert!(dry.starts_with("DryRunOperation"), "{dry}");
        make("LogGroupName", "a", usual).expect("makes");
        make("LogDestination", &arn, usual).expect("makes");
        let groups = cloud.tenant("acme").logs("DescribeLogGroups", "{}").expect("answers");
        let names = groups.split("\"logGroupName\":\"").skip(1).filter_map(|rest| rest.split('"').next());
        assert_eq!(names.collect::<Vec<_>>(), ["/b", "a"]);
        let told = |cloud: &mut Cloud, element: &str| {
            let shown = cloud
                .tenant("acme")
                .call("DescribeFlowLogs", &[("Filter.1.Name", "log-group-name"), ("Filter.1.Value.1", "a")]);
            Cloud::ids(&shown.expect("answers"), element)
        };
        assert_eq!(told(&mut cloud, "deliverLogsStatus"), ["SUCCESS"]);
        assert!(told(&mut cloud, "deliverLogsErrorMessage").is_empty());
        cloud.tenant("acme").logs("DeleteLogGroup", r#"{"logGroupName":"a"}"#).expect("deletes");
        assert_eq!(told(&mut cloud, "deliverLogsStatus"), ["FAILED"]);
        assert_eq!(told(&mut cloud, "deliverLogsErrorMessage"), ["Access error: there is no such log group."]);
        cloud.audit();
    }

    #[test]
    fn what_could_not_be_delivered_anywhere_is_refused() {
        let mut cloud = Cloud::new();
        let mut call = |ask: &[(&str, &str)]| cloud.tenant("acme").call("CreateFlowLogs", ask);
        for (name, value, expected) in [
            ("ResourceType", "Planet", "InvalidParameterValue: Value (Planet) for parameter ResourceType is invalid."),
            ("ResourceType", "TransitGateway", "UnsupportedOperation"),
            ("ResourceId.1", "vpc-00000000000000001", "InvalidVpcID.NotFound"),
            ("TrafficType", "SOME", "InvalidParameterValue: Value (SOME) for parameter TrafficType is invalid."),
            ("LogDestination", "here", "InvalidParameterValue: Value (here) for parameter LogDestination is invalid."),
            (
                "LogDestinationType",
                "cloud-watch-logs",
                "InvalidParameterValue: DeliverLogsPermissionArn can't be empty",
            ),
            ("LogGroupName", "a", "InvalidParameterValue: LogGroupName is not applicable for s3 delivery"),
            ("DeliverLogsPermissionArn", "arn:x", "InvalidParameterValue: DeliverLogsPermissionArn is not applicable"),
            ("MaxAggregationInterval", "61", "InvalidParameterValue: Value (61) for parameter MaxAggregationInterval"),
            ("LogFormat", "none", "InvalidParameterValue: Value (none) for parameter LogFormat is invalid."),
        ] {
            let shown = "vpc-00000000000000009";
            let usual = [
                ("ResourceType", "VPC"),
                ("ResourceId.1", shown),
                ("TrafficType", "ALL"),
                ("LogDestinationType", "s3"),
                ("LogDestination", "arn:aws:s3:::bucket"),
            ];
            let ask: Vec<_> = usual.into_iter().filter(|(n, _)| *n != name).chain([(name, value)]).collect();
            let refusal = call(&ask).expect_err(value);
            let first = refusal.starts_with("InvalidVpcID.NotFound");
            assert!(refusal.starts_with(expected) || first, "{refusal}");
        }
    }
}
