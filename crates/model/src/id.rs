//! Typed ids: a prefix and 17 (in old accounts 8) hexadecimal digits, as EC2 prints them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text is no id of this kind. `code` is EC2's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub code: &'static str,
    pub message: String,
}

fn well_formed(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|d| matches!(d.len(), 8 | 17) && d.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

macro_rules! id {
    ($name:ident, $prefix:literal, $malformed:literal) => {
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// Takes an id that this program made.
            pub fn made(text: String) -> Self {
                debug_assert!(well_formed(&text, $prefix), "{text} is no {}", stringify!($name));
                Self(text)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The digits after the prefix.
            pub fn digits(&self) -> &str {
                &self.0[$prefix.len() + 1..]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                if well_formed(text, $prefix) {
                    return Ok(Self(text.to_owned()));
                }
                let message = format!("Invalid id: \"{}\" (expecting \"{}-...\")", text.escape_debug(), $prefix);
                Err(Malformed { code: $malformed, message })
            }
        }
    };
}

id!(InstanceId, "i", "InvalidInstanceID.Malformed");
id!(ReservationId, "r", "InvalidReservationID.Malformed");
id!(ImageId, "ami", "InvalidAMIID.Malformed");
id!(VolumeId, "vol", "InvalidVolumeID.Malformed");
id!(SnapshotId, "snap", "InvalidSnapshotID.Malformed");
id!(VpcId, "vpc", "InvalidVpcID.Malformed");
id!(SubnetId, "subnet", "InvalidSubnetID.Malformed");
id!(InterfaceId, "eni", "InvalidNetworkInterfaceID.Malformed");
id!(AttachmentId, "eni-attach", "InvalidAttachmentID.Malformed");
id!(GroupId, "sg", "InvalidGroupId.Malformed");
id!(RuleId, "sgr", "InvalidSecurityGroupRuleId.Malformed");
id!(KeyPairId, "key", "InvalidKeyPair.Malformed");
id!(AllocationId, "eipalloc", "InvalidAllocationID.Malformed");
id!(AssociationId, "eipassoc", "InvalidAssociationID.Malformed");
id!(InternetGatewayId, "igw", "InvalidInternetGatewayID.Malformed");
id!(RouteTableId, "rtb", "InvalidRouteTableID.Malformed");
id!(DhcpOptionsId, "dopt", "InvalidDhcpOptionsID.Malformed");

/// A host of the installation: a name that its operator chose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(String);

impl HostId {
    /// Letters, digits, `-`, `_` and `.`; at most 64 of them.
    pub fn new(name: &str) -> Option<Self> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (!name.is_empty() && name.len() <= 64 && name.bytes().all(fine)).then(|| Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_prefix_and_17_or_8_hexadecimal_digits() {
        assert!("i-0123456789abcdef0".parse::<InstanceId>().is_ok());
        assert!("i-01234567".parse::<InstanceId>().is_ok());
        for bad in ["", "i", "i-", "i-0123", "i-0123456789ABCDEF0", "vpc-0123456789abcdef0", "i-0123456789abcdef0 "] {
            let error = bad.parse::<InstanceId>().expect_err(bad);
            assert_eq!(error.code, "InvalidInstanceID.Malformed");
        }
    }

    #[test]
    fn a_host_name_stays_a_file_name() {
        assert!(HostId::new("host-1.rack_2").is_some());
        for bad in ["", "a/b", "a b", &"x".repeat(65)] {
            assert!(HostId::new(bad).is_none(), "{bad}");
        }
    }
}
