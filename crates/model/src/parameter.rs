//! Parameters of the Parameter Store: a name, and a value in versions.

use std::collections::BTreeMap;

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    pub home: Home,
    /// The name, as a key can hold it.
    pub id: String,
    pub name: String,
    pub kind: Kind,
    /// The oldest first; never empty.
    pub versions: Vec<Version>,
    pub tags: BTreeMap<String, String>,
}
record!(Parameter, "parameter", String, Tenant, "ParameterNotFound", "The parameter {} could not be found.");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    String,
    StringList,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub number: i64,
    pub value: String,
    pub description: Option<String>,
    /// `text` or `aws:ec2:image`
    pub data_type: String,
    /// `Standard` or `Advanced`
    pub tier: String,
    pub at: Millis,
    /// The ARN of who wrote it.
    pub by: String,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
        }
    }
}

impl Parameter {
    /// A name as part of a key: one name, one key, and no folders.
    pub fn key(name: &str) -> String {
        name.replace('%', "%25").replace('/', "%2F")
    }

    pub fn latest(&self) -> &Version {
        self.versions.last().expect("a parameter has a version")
    }
}
