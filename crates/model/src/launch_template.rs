//! Launch templates: requests that are kept, with a name and numbered versions.

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::LaunchTemplateId;
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    pub home: Home,
    pub id: LaunchTemplateId,
    pub name: String,
    /// One of `versions`.
    pub default_version: u64,
    /// Those that are there, in ascending order; never none.
    pub versions: Vec<u64>,
    /// The number of the next version: none is given twice.
    pub next: u64,
    /// The ARN of who made it.
    pub created_by: String,
    pub created: Millis,
}
record!(
    LaunchTemplate,
    "launch-template",
    LaunchTemplateId,
    Tenant,
    "InvalidLaunchTemplateId.NotFound",
    "The specified launch template, with template ID {}, does not exist.",
    |template| vec![Index { name: LaunchTemplate::BY_NAME, value: template.name.clone(), everywhere: false }]
);

impl LaunchTemplate {
    pub const BY_NAME: &'static str = "launch-template-name";

    pub fn latest(&self) -> u64 {
        self.versions.last().copied().unwrap_or_default()
    }
}

/// Never changes; it goes with its number or with its template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateVersion {
    pub home: Home,
    /// See [`LaunchTemplateVersion::id_of`].
    pub id: String,
    pub template: LaunchTemplateId,
    pub number: u64,
    pub description: Option<String>,
    /// The launch template data as JSON, under the API's names, exactly as given.
    pub data: String,
    /// The memory of the request that made it, if that had a client token; it goes with the version.
    pub token: Option<String>,
    pub created_by: String,
    pub created: Millis,
}
record!(
    LaunchTemplateVersion,
    "launch-template-version",
    String,
    Tenant,
    "InvalidLaunchTemplateId.VersionNotFound",
    "Could not find launch template version '{}'"
);

impl LaunchTemplateVersion {
    pub fn id_of(template: &LaunchTemplateId, number: u64) -> String {
        format!("{template}.{number:010}")
    }
}
