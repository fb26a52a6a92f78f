//! DeleteFlowLogs: all that are named, or none.

use std::sync::Arc;

use awan_model::flow_log::FlowLog;
use awan_model::id::FlowLogId;
use awan_model::token::ClientToken;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, missing, refuse};
use crate::{network, token};

pub fn delete_flow_logs(tx: &mut Tx<Tenant>, req: ec2::DeleteFlowLogsRequest) -> Result<ec2::DeleteFlowLogsResult> {
    let ec2::DeleteFlowLogsRequest { dry_run: _, flow_log_ids } = req;
    if flow_log_ids.is_empty() {
        return Err(missing("FlowLogId"));
    }
    for log in found(tx, &flow_log_ids)? {
        remove(tx, &log);
    }
    Ok(ec2::DeleteFlowLogsResult { unsuccessful: Vec::new() })
}

pub fn found(tx: &mut Tx<Tenant>, ids: &[String]) -> Result<Vec<Arc<FlowLog>>> {
    let ids = ids.iter().map(|id| Ok(id.parse()?)).collect::<Result<Vec<FlowLogId>>>()?;
    let (mut logs, mut absent) = (Vec::new(), Vec::new());
    for id in &ids {
        match tx.find::<FlowLog>(id) {
            Some(log) => logs.push(log),
            None => absent.push(id.as_str()),
        }
    }
    if absent.is_empty() {
        return Ok(logs);
    }
    let (count, absent) = (absent.len(), absent.join(" "));
    let message = format!("These flow log ids in the input list are not found: [TotalCount: {count}] {absent}");
    Err(refuse(Code::InvalidFlowLogIdNotFound, message))
}

/// A token lives as long as the last log that was made with it.
fn remove(tx: &mut Tx<Tenant>, log: &FlowLog) {
    network::remove::<FlowLog>(tx, &log.id);
    let Some(token) = &log.client_token else { return };
    let Some(first) = tx.find::<ClientToken>(&token::id("CreateFlowLogs", token)) else { return };
    let there = |id: &String, tx: &mut Tx<Tenant>| id.parse().is_ok_and(|id| tx.find::<FlowLog>(&id).is_some());
    if !first.made.iter().any(|id| there(id, tx)) {
        token::forget(tx, "CreateFlowLogs", Some(token));
    }
}

/// The logs of what goes now go, too.
pub fn remove_of(tx: &mut Tx<Tenant>, resource: &str) {
    if ["vpc-", "subnet-", "eni-"].iter().any(|kind| resource.starts_with(kind)) {
        for log in tx.list::<FlowLog>().iter().filter(|log| log.resource == resource) {
            remove(tx, log);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_deleted_log_is_gone_and_its_token_makes_another() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let vpc = Cloud::ids(&call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let ask = [
            ("ResourceType", "VPC"),
            ("ResourceId.1", vpc.as_str()),
            ("TrafficType", "ALL"),
            ("LogDestinationType", "kinesis-data-firehose"),
            ("LogDestination", "arn:aws:firehose:us-east-1:123456789012:deliverystream/flows"),
            ("ClientToken", "once"),
        ];
        let id = |made: &str| made.split("<item>").nth(1).and_then(|t| t.split('<').next()).expect("an id").to_owned();
        let first = id(&call("CreateFlowLogs", &ask).expect("makes"));
        call("DeleteFlowLogs", &[("FlowLogId.1", &first)]).expect("deletes");
        let refusal = call("DeleteFlowLogs", &[("FlowLogId.1", &first)]).expect_err("gone");
        let expected = format!(
            "InvalidFlowLogId.NotFound: These flow log ids in the input list are not found: [TotalCount: 1] {first}"
        );
        assert_eq!(refusal, expected);
        assert_ne!(id(&call("CreateFlowLogs", &ask).expect("makes another")), first);
        cloud.audit();
    }
}
