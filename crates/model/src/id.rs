//! Typed ids: a prefix and 17 (in old accounts 8) hexadecimal digits, as EC2 prints them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// `subnet-cidr-assoc-` and 17 digits.
const LENGTH_MAX: usize = 35;

/// The text of an id, in place: ids are copied and compared more often than anything else.
///
/// **Invariant:** unused bytes are zero, so the order of the bytes is that of the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Text {
    bytes: [u8; LENGTH_MAX],
    length: u8,
}

/// The end of an id is random: enough to tell ids apart, and quicker than the whole.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let end = usize::from(self.length);
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(&self.bytes[end.saturating_sub(8)..end]) {
            *to = *from;
        }
        state.write_u64(u64::from_le_bytes(last));
    }
}

impl Text {
    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; LENGTH_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length.into()]).expect("made of text")
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
                Text::new(text).ok_or_else(|| E::invalid_length(text.len(), &self))
            }
        }
        from.deserialize_str(Read)
    }
}

macro_rules! id {
    ($name:ident, $prefix:literal, $malformed:literal) => {
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Text);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// Takes an id that this program made.
            pub fn made(text: String) -> Self {
                assert!(well_formed(&text, $prefix), "{text} is no {}", stringify!($name));
                Self(Text::new(&text).expect("a well-formed id is short"))
            }

            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// The digits after the prefix.
            pub fn digits(&self) -> &str {
                &self.as_str()[$prefix.len() + 1..]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_str()).finish()
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                let id = Some(text).filter(|text| well_formed(text, $prefix)).and_then(Text::new);
                id.map(Self).ok_or_else(|| Malformed {
                    code: $malformed,
                    message: format!("Invalid id: \"{}\" (expecting \"{}-...\")", text.escape_debug(), $prefix),
                })
            }
        }
    };
}

id!(InstanceId, "i", "InvalidInstanceID.Malformed");
id!(ReservationId, "r", "InvalidReservationID.Malformed");
id!(ImageId, "ami", "InvalidAMIID.Malformed");
id!(VolumeId, "vol", "InvalidVolumeID.Malformed");
id!(ImportSnapshotId, "import-snap", "InvalidConversionTaskId.Malformed");
id!(ImportImageId, "import-ami", "InvalidConversionTaskId.Malformed");
id!(ExportImageId, "export-ami", "InvalidExportTaskID.Malformed");
id!(SnapshotId, "snap", "InvalidSnapshotID.Malformed");
id!(VpcId, "vpc", "InvalidVpcID.Malformed");
id!(SubnetId, "subnet", "InvalidSubnetID.Malformed");
id!(InterfaceId, "eni", "InvalidNetworkInterfaceId.Malformed");
id!(AttachmentId, "eni-attach", "InvalidNetworkInterfaceAttachmentId.Malformed");
id!(GroupId, "sg", "InvalidGroupId.Malformed");
id!(RuleId, "sgr", "InvalidSecurityGroupRuleId.Malformed");
id!(KeyPairId, "key", "InvalidKeyPair.Malformed");
id!(AllocationId, "eipalloc", "InvalidAllocationID.Malformed");
id!(AssociationId, "eipassoc", "InvalidAssociationID.Malformed");
id!(InternetGatewayId, "igw", "InvalidInternetGatewayId.Malformed");
id!(RouteTableId, "rtb", "InvalidRouteTableId.Malformed");
id!(ProfileAssociationId, "iip-assoc", "InvalidAssociationID.Malformed");
id!(RouteAssociationId, "rtbassoc", "InvalidAssociationID.Malformed");
id!(CapacityReservationId, "cr", "InvalidCapacityReservationId.Malformed");
id!(LaunchTemplateId, "lt", "InvalidLaunchTemplateId.Malformed");
id!(PlacementGroupId, "pg", "InvalidPlacementGroupId.Malformed");
id!(DhcpOptionsId, "dopt", "InvalidDhcpOptionsId.Malformed");
id!(PrefixListId, "pl", "InvalidPrefixListId.Malformed");
id!(NatGatewayId, "nat", "NatGatewayMalformed");
id!(NetworkAclId, "acl", "InvalidNetworkAclId.Malformed");
id!(NetworkAclAssociationId, "aclassoc", "InvalidAssociationID.Malformed");
id!(VpcCidrAssociationId, "vpc-cidr-assoc", "InvalidVpcCidrBlockAssociationID.Malformed");
id!(SubnetCidrAssociationId, "subnet-cidr-assoc", "InvalidSubnetCidrBlockAssociationId.Malformed");
id!(CidrReservationId, "scr", "InvalidSubnetCidrReservationId.Malformed");
id!(PeeringId, "pcx", "InvalidVpcPeeringConnectionId.Malformed");
id!(EgressOnlyGatewayId, "eigw", "InvalidEgressOnlyInternetGatewayId.Malformed");
id!(EndpointId, "vpce", "InvalidVpcEndpointId.Malformed");
id!(FlowLogId, "fl", "InvalidFlowLogId.Malformed");
id!(LogGroupId, "lg", "InvalidParameterException");

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
    fn ids_are_kept_shown_and_ordered_as_their_text() {
        let texts = ["i-00000000000000001", "i-0000000a", "i-0123456789abcdef0", "i-01234567"];
        let mut ids: Vec<InstanceId> = texts.iter().map(|text| text.parse().expect(text)).collect();
        ids.sort();
        let mut sorted = texts;
        sorted.sort_unstable();
        assert_eq!(ids.iter().map(InstanceId::as_str).collect::<Vec<_>>(), sorted);
        let json = serde_json::to_string(&ids).expect("plain");
        assert_eq!(json, serde_json::to_string(&sorted).expect("plain"));
        assert_eq!(serde_json::from_str::<Vec<InstanceId>>(&json).expect("reads back"), ids);
        assert!(serde_json::from_str::<InstanceId>(&format!("\"i-{}\"", "0".repeat(40))).is_err());
        assert_eq!(format!("{:?}", ids[0]), r#"InstanceId("i-00000000000000001")"#);
        assert_eq!("eni-attach-0123456789abcdef0".parse::<AttachmentId>().expect("fits").digits(), "0123456789abcdef0");
    }

    #[test]
    fn a_host_name_stays_a_file_name() {
        assert!(HostId::new("host-1.rack_2").is_some());
        for bad in ["", "a/b", "a b", &"x".repeat(65)] {
            assert!(HostId::new(bad).is_none(), "{bad}");
        }
    }
}
