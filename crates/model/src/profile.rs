//! Instances and the profiles that they have, and the session that each therefore has.

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, ProfileAssociationId};
use crate::record;

/// What the tenant asked for. It names a profile, whether or not that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileAssociation {
    pub home: Home,
    pub id: ProfileAssociationId,
    pub instance: InstanceId,
    pub profile_arn: String,
    /// `AIPA…`
    pub profile_id: String,
    pub created: Millis,
}
record!(
    ProfileAssociation,
    "profile-association",
    ProfileAssociationId,
    Tenant,
    "NoSuchAssociation",
    "An invalid association-id of '{}' was given",
    |association| vec![Index {
        name: ProfileAssociation::BY_INSTANCE,
        value: association.instance.to_string(),
        everywhere: false
    }]
);

impl ProfileAssociation {
    pub const BY_INSTANCE: &'static str = "profile-of";
}

/// What the instance is given: the system's, renewed in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileSession {
    pub home: Home,
    pub id: InstanceId,
    pub profile_arn: String,
    pub profile_id: String,
    pub role: String,
    /// `AROA…`
    pub role_id: String,
    /// `ASIA…`. The secret and the token follow from the rest.
    pub key: String,
    pub issued: Millis,
    pub expires: Millis,
}
record!(ProfileSession, "profile-session", InstanceId, System, "InternalError", "The instance '{}' has no session");
