//! The nouns: what exists in the cloud, and in what state it therefore is.
//!
//! **Invariants.** No IO, no async, no clock. State is never stored: it follows from intent, plan and report.

pub mod account;
pub mod address;
pub mod capacity;
pub mod dhcp_options;
pub mod egress_only;
pub mod endpoint;
pub mod export;
pub mod fleet;
pub mod flow_log;
pub mod gateway;
pub mod group;
pub mod host;
pub mod id;
pub mod identity;
pub mod image;
pub mod import;
pub mod installation;
pub mod instance;
pub mod instance_type;
pub mod interface;
pub mod journal;
pub mod key;
pub mod key_pair;
pub mod launch_template;
pub mod log_group;
pub mod nat;
pub mod network_acl;
pub mod options;
pub mod parameter;
pub mod peering;
pub mod placement_group;
pub mod plan;
pub mod prefix_list;
pub mod profile;
pub mod recycle_bin;
pub mod report;
pub mod route;
pub mod snapshot;
pub mod subnet;
pub mod tag;
pub mod token;
pub mod traffic;
pub mod volume;
pub mod vpc;

pub use awan_state::{Home, Millis, Missing, Ref};

/// Declares a record: kind, id, who writes it, and the answer when it is not there.
macro_rules! record {
    ($type:ident, $kind:literal, $id:ty, $writer:ident, $code:literal, $message:literal $(, |$this:ident| $indexes:expr)?) => {
        impl awan_state::Record for $type {
            const KIND: &'static str = $kind;
            const ABSENT: (&'static str, &'static str) = ($code, $message);
            type Id = $id;
            type Writer = awan_state::$writer;
            fn at(&self) -> awan_state::Ref<Self> {
                awan_state::Ref::new(&self.home, &self.id)
            }
            $(fn indexes(&self) -> Vec<awan_state::Index> {
                let $this = self;
                $indexes
            })?
        }
    };
}
pub(crate) use record;
