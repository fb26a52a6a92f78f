//! Flow logs: of whose traffic what is to be told to whom.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::FlowLogId;
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLog {
    pub home: Home,
    pub id: FlowLogId,
    /// The id of a VPC, a subnet or an interface. The log goes with it.
    pub resource: String,
    /// ACCEPT, REJECT or ALL.
    pub traffic: String,
    pub destination: Destination,
    pub format: String,
    pub interval_s: u16,
    pub client_token: Option<String>,
    pub created: Millis,
}
record!(
    FlowLog,
    "flow-log",
    FlowLogId,
    Tenant,
    "InvalidFlowLogId.NotFound",
    "These flow log ids in the input list are not found: [{}]"
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    CloudWatch { arn: Option<String>, group: String, role: String },
    S3 { arn: String, parquet: bool, hive: bool, per_hour: bool },
    Firehose { arn: String, role: Option<String> },
}

impl FlowLog {
    /// `${version} ${account-id}` names `version` and `account-id`.
    pub fn fields(&self) -> Vec<String> {
        self.format.split("${").skip(1).filter_map(|part| Some(part.split_once('}')?.0.to_owned())).collect()
    }
}
