//! Refusals to tenants, with EC2's codes and words, and faults of ours. The only file to read about errors.
//!
//! **Invariant:** `?` on a lower error gives a fault. Becoming a refusal takes a deliberate constructor, except for ids,
//! absent records and unreadable parameters, which name their own code.

use std::fmt;

use awan_model::id::Malformed;
use awan_state::{DbError, Missing, StoreError};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug)]
pub enum Error {
    /// The tenant's doing; told verbatim.
    Refusal(Refusal),
    /// Ours; the tenant reads `InternalError` and a request id.
    Fault(anyhow::Error),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
}

macro_rules! codes {
    ($($code:ident $text:literal $status:literal,)*) => {
        /// Error codes that decisions give, with their HTTP status. Source: "Error codes for the Amazon EC2 API".
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($code,)* }

        impl Code {
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text,)* }
            }
        }

        fn status_of(code: &str) -> u16 {
            match code { $($text => $status,)* _ => 400 }
        }
    };
}

codes! {
    AccessDenied "AccessDenied" 403,
    AccessDeniedException "AccessDeniedException" 400,
    AttachmentLimitExceeded "AttachmentLimitExceeded" 400,
    AddressInUse "InvalidIPAddress.InUse" 400,
    AddressLimitExceeded "AddressLimitExceeded" 400,
    AlreadyAssociated "Resource.AlreadyAssociated" 400,
    AuthFailure "AuthFailure" 401,
    BlockInvalid "INVALID_BLOCK" 400,
    BlockTokenInvalid "INVALID_BLOCK_TOKEN" 400,
    BlockVolumeSizeInvalid "INVALID_VOLUME_SIZE" 400,
    BlockSnapshotInvalid "INVALID_SNAPSHOT_ID" 400,
    BlockPageTokenInvalid "INVALID_PAGE_TOKEN" 400,
    BlockWriteTimeout "WRITE_REQUEST_TIMEOUT" 400,
    CannotDelete "CannotDelete" 400,
    ConcurrentLimitExceededException "ConcurrentLimitExceededException" 400,
    DeleteConflict "DeleteConflict" 409,
    CidrConflict "CidrConflict" 400,
    CidrLimitExceeded "CidrLimitExceeded" 400,
    DefaultSubnetAlreadyExists "DefaultSubnetAlreadyExistsInAvailabilityZone" 400,
    DefaultVpcAlreadyExists "DefaultVpcAlreadyExists" 400,
    DefaultVpcDoesNotExist "DefaultVpcDoesNotExist" 400,
    DependencyViolation "DependencyViolation" 400,
    DnsHostnamesDisabled "InvalidVpcPeeringConnectionState.DnsHostnamesDisabled" 400,
    DryRunOperation "DryRunOperation" 412,
    DuplicateSubnetsInSameZone "DuplicateSubnetsInSameZone" 400,
    EntityAlreadyExists "EntityAlreadyExists" 409,
    ExpiredToken "ExpiredToken" 403,
    FlowLogsLimitExceeded "FlowLogsLimitExceeded" 400,
    GatewayNotAttached "Gateway.NotAttached" 400,
    HierarchyLevelLimitExceeded "HierarchyLevelLimitExceededException" 400,
    HierarchyTypeMismatch "HierarchyTypeMismatchException" 400,
    IdempotentInstanceTerminated "IdempotentInstanceTerminated" 400,
    IdempotentParameterMismatch "IdempotentParameterMismatch" 400,
    FilterLimitExceeded "FilterLimitExceeded" 400,
    IncompleteSignature "IncompleteSignature" 400,
    InvalidInstanceAttributeValue "InvalidInstanceAttributeValue" 400,
    MissingInput "MissingInput" 400,
    IncorrectInstanceState "IncorrectInstanceState" 400,
    IncorrectModificationState "IncorrectModificationState" 400,
    IncorrectState "IncorrectState" 400,
    InstanceLimitExceeded "InstanceLimitExceeded" 400,
    InstanceCreditSpecificationNotSupported "InstanceCreditSpecification.NotSupported" 400,
    InsufficientAddressCapacity "InsufficientAddressCapacity" 500,
    InsufficientFreeAddressesInSubnet "InsufficientFreeAddressesInSubnet" 400,
    InsufficientInstanceCapacity "InsufficientInstanceCapacity" 500,
    InsufficientVolumeCapacity "InsufficientVolumeCapacity" 500,
    InternetGatewayLimitExceeded "InternetGatewayLimitExceeded" 400,
    InternalError "InternalError" 500,
    InvalidAction "InvalidAction" 400,
    InvalidAddressMalformed "InvalidAddress.Malformed" 400,
    InvalidAddressNotFound "InvalidAddress.NotFound" 400,
    InvalidAllocationIdNotFound "InvalidAllocationID.NotFound" 400,
    InvalidAmiAttributeItemValue "InvalidAMIAttributeItemValue" 400,
    InvalidAmiIdUnavailable "InvalidAMIID.Unavailable" 400,
    InvalidAmiNameDuplicate "InvalidAMIName.Duplicate" 400,
    InvalidAmiNameMalformed "InvalidAMIName.Malformed" 400,
    InvalidAssociationIdNotFound "InvalidAssociationID.NotFound" 400,
    InvalidAttachmentIdNotFound "InvalidAttachmentID.NotFound" 400,
    InvalidAttachmentNotFound "InvalidAttachment.NotFound" 400,
    InvalidBlockDeviceMapping "InvalidBlockDeviceMapping" 400,
    InvalidClientTokenId "InvalidClientTokenId" 403,
    InvalidFilterKey "InvalidFilterKey" 400,
    InvalidFilterOption "InvalidFilterOption" 400,
    InvalidFilterValue "InvalidFilterValue" 400,
    InvalidGatewayIdNotFound "InvalidGatewayID.NotFound" 400,
    InvalidCapacityReservationState "InvalidCapacityReservationState" 400,
    InvalidFleetIdMalformed "InvalidFleetId.Malformed" 400,
    InvalidFlowLogIdNotFound "InvalidFlowLogId.NotFound" 400,
    InvalidGroupDuplicate "InvalidGroup.Duplicate" 400,
    InvalidGroupInUse "InvalidGroup.InUse" 400,
    InvalidGroupNotFound "InvalidGroup.NotFound" 400,
    InvalidGroupReserved "InvalidGroup.Reserved" 400,
    InvalidInput "InvalidInput" 400,
    InvalidInstanceId "InvalidInstanceID" 400,
    InvalidInstanceType "InvalidInstanceType" 400,
    InvalidKeyFormat "InvalidKey.Format" 400,
    InvalidKeyPairDuplicate "InvalidKeyPair.Duplicate" 400,
    InvalidKeyPairNotFound "InvalidKeyPair.NotFound" 400,
    InvalidLaunchTemplateNameAlreadyExists "InvalidLaunchTemplateName.AlreadyExistsException" 400,
    InvalidLaunchTemplateNameMalformed "InvalidLaunchTemplateName.MalformedException" 400,
    InvalidLaunchTemplateNameNotFound "InvalidLaunchTemplateName.NotFoundException" 400,
    InvalidLaunchTemplateVersionNotFound "InvalidLaunchTemplateId.VersionNotFound" 400,
    InvalidCidrBlockInUse "InvalidCidrBlock.InUse" 400,
    InvalidSubnetCidrAssociationNotFound "InvalidSubnetCidrBlockAssociationID.NotFound" 400,
    InvalidCidrAssociationNotFound "InvalidVpcCidrBlockAssociationID.NotFound" 400,
    InvalidNetworkAclEntryNotFound "InvalidNetworkAclEntry.NotFound" 400,
    NatGatewayLimitExceeded "NatGatewayLimitExceeded" 400,
    NetworkAclEntryAlreadyExists "NetworkAclEntryAlreadyExists" 400,
    NetworkAclEntryLimitExceeded "NetworkAclEntryLimitExceeded" 400,
    NetworkAclLimitExceeded "NetworkAclLimitExceeded" 400,
    InvalidNatGatewayIdNotFound "InvalidNatGatewayID.NotFound" 400,
    InvalidNextToken "InvalidNextToken" 400,
    InvalidNetworkInterfaceInUse "InvalidNetworkInterface.InUse" 400,
    InvalidParameter "InvalidParameter" 400,
    InvalidParameterException "InvalidParameterException" 400,
    InvalidParameterCombination "InvalidParameterCombination" 400,
    InvalidParameterDependency "InvalidParameterDependency" 400,
    InvalidParameterValue "InvalidParameterValue" 400,
    InvalidPermissionDuplicate "InvalidPermission.Duplicate" 400,
    InvalidPermissionMalformed "InvalidPermission.Malformed" 400,
    InvalidPermissionNotFound "InvalidPermission.NotFound" 400,
    InvalidPrefixListModification "InvalidPrefixListModification" 400,
    InvalidPlacementGroupDuplicate "InvalidPlacementGroup.Duplicate" 400,
    InvalidPlacementGroupInUse "InvalidPlacementGroup.InUse" 400,
    InvalidPlacementGroupUnknown "InvalidPlacementGroup.Unknown" 400,
    InvalidResourceId "InvalidID" 400,
    InvalidResourceType "InvalidResourceType" 400,
    InvalidRouteNotFound "InvalidRoute.NotFound" 400,
    InvalidRuleState "INVALID_RULE_STATE" 409,
    InvalidSsmResourceId "InvalidResourceId" 400,
    InvalidSnapshotNotFound "InvalidSnapshot.NotFound" 400,
    InvalidSnapshotInUse "InvalidSnapshot.InUse" 400,
    InvalidUserIdMalformed "InvalidUserID.Malformed" 400,
    InvalidPolicyDocument "InvalidPolicyDocument" 400,
    InvalidServiceName "InvalidServiceName" 400,
    InvalidStateTransition "InvalidStateTransition" 400,
    InvalidSubnetConflict "InvalidSubnet.Conflict" 400,
    InvalidSubnetRange "InvalidSubnet.Range" 400,
    InvalidUserDataMalformed "InvalidUserData.Malformed" 400,
    InvalidVolumeModificationNotFound "InvalidVolumeModification.NotFound" 400,
    InvalidVolumeZoneMismatch "InvalidVolume.ZoneMismatch" 400,
    InvalidVpcRange "InvalidVpc.Range" 400,
    InvalidZoneNotFound "InvalidZone.NotFound" 400,
    KeyPairLimitExceeded "KeyPairLimitExceeded" 400,
    LimitExceeded "LimitExceeded" 409,
    LimitExceededException "LimitExceededException" 400,
    MalformedPolicyDocument "MalformedPolicyDocument" 400,
    MalformedQueryString "MalformedQueryString" 400,
    MethodNotAllowed "MethodNotAllowed" 405,
    MissingAuthenticationToken "MissingAuthenticationToken" 403,
    MissingParameter "MissingParameter" 400,
    NoSuchEntity "NoSuchEntity" 404,
    NoSuchVersion "NoSuchVersion" 400,
    NotExportable "NotExportable" 400,
    OperationNotPermitted "OperationNotPermitted" 400,
    OutstandingVpcPeeringConnectionLimitExceeded "OutstandingVpcPeeringConnectionLimitExceeded" 400,
    PrefixListMaxEntriesExceeded "PrefixListMaxEntriesExceeded" 400,
    PrefixListVersionMismatch "PrefixListVersionMismatch" 400,
    ParameterAlreadyExists "ParameterAlreadyExists" 400,
    ParameterLimitExceeded "ParameterLimitExceeded" 400,
    ParameterNotFound "ParameterNotFound" 400,
    ParameterVersionNotFound "ParameterVersionNotFound" 400,
    PlacementGroupLimitExceeded "PlacementGroupLimitExceeded" 400,
    NetworkInterfaceLimitExceeded "NetworkInterfaceLimitExceeded" 400,
    PrivateIpAddressLimitExceeded "PrivateIpAddressLimitExceeded" 400,
    RequestEntityTooLarge "RequestEntityTooLarge" 413,
    RequestExpired "RequestExpired" 400,
    RequestLimitExceeded "RequestLimitExceeded" 503,
    ResourceAlreadyExistsException "ResourceAlreadyExistsException" 400,
    ResourceNotFoundException "ResourceNotFoundException" 400,
    ReservationCapacityExceeded "ReservationCapacityExceeded" 400,
    ResourceLimitExceeded "ResourceLimitExceeded" 400,
    RouteAlreadyExists "RouteAlreadyExists" 400,
    RouteLimitExceeded "RouteLimitExceeded" 400,
    RouteTableLimitExceeded "RouteTableLimitExceeded" 400,
    RuleNotFound "RULE_NOT_FOUND" 404,
    RuleQuotaExceeded "SERVICE_QUOTA_EXCEEDED" 402,
    RulesPerSecurityGroupLimitExceeded "RulesPerSecurityGroupLimitExceeded" 400,
    SecurityGroupLimitExceeded "SecurityGroupLimitExceeded" 400,
    SecurityGroupsPerInterfaceLimitExceeded "SecurityGroupsPerInterfaceLimitExceeded" 400,
    SerializationException "SerializationException" 400,
    ServiceUnavailableException "ServiceUnavailableException" 503,
    SnapshotCreationPerVolumeRateExceeded "SnapshotCreationPerVolumeRateExceeded" 400,
    SnapshotLimitExceeded "SnapshotLimitExceeded" 400,
    SignatureDoesNotMatch "SignatureDoesNotMatch" 403,
    SubnetLimitExceeded "SubnetLimitExceeded" 400,
    TagLimitExceeded "TagLimitExceeded" 400,
    TooManyTagsError "TooManyTagsError" 400,
    TooManyTagsException "TooManyTagsException" 400,
    UnauthorizedOperation "UnauthorizedOperation" 403,
    Unavailable "Unavailable" 503,
    UnknownParameter "UnknownParameter" 400,
    UnsupportedOperation "UnsupportedOperation" 400,
    UnsupportedParameterType "UnsupportedParameterType" 400,
    ValidationError "ValidationError" 400,
    ValidationException "ValidationException" 400,
    VolumeInUse "VolumeInUse" 400,
    VpcEndpointLimitExceeded "VpcEndpointLimitExceeded" 400,
    VpcIdNotSpecified "VPCIdNotSpecified" 400,
    VpcLimitExceeded "VpcLimitExceeded" 400,
    VpcPeeringConnectionAlreadyExists "VpcPeeringConnectionAlreadyExists" 400,
    VpcPeeringConnectionsPerVpcLimitExceeded "VpcPeeringConnectionsPerVpcLimitExceeded" 400,
}

pub fn refuse(code: Code, message: impl Into<String>) -> Error {
    Error::Refusal(Refusal { code: code.as_str(), message: message.into() })
}

pub fn invalid(message: impl Into<String>) -> Error {
    refuse(Code::InvalidParameterValue, message)
}

pub fn invalid_value(value: impl fmt::Display, parameter: &str) -> Error {
    invalid(format!("Value ({value}) for parameter {parameter} is invalid."))
}

pub fn missing(parameter: &str) -> Error {
    refuse(Code::MissingParameter, format!("The request must contain the parameter {parameter}"))
}

pub fn combination(message: impl Into<String>) -> Error {
    refuse(Code::InvalidParameterCombination, message)
}

/// Refuses a request that names one thing in two ways, of which one would be ignored.
pub fn refuse_both(first: (bool, &str), second: (bool, &str)) -> Result<()> {
    if !(first.0 && second.0) {
        return Ok(());
    }
    let (first, second) = (first.1, second.1);
    Err(combination(format!("The parameter {second} cannot be used with the parameter {first}; give one of them")))
}

/// For parameters that EC2 has and Awan has not yet.
pub fn unsupported(parameter: &str) -> Error {
    refuse(Code::UnsupportedOperation, format!("The parameter {parameter} is not supported"))
}

/// Refuses a parameter that is there although nothing would come of it.
pub fn refuse_if(there: bool, parameter: &str) -> Result<()> {
    if there { Err(unsupported(parameter)) } else { Ok(()) }
}

pub fn dependency(message: impl Into<String>) -> Error {
    refuse(Code::DependencyViolation, message)
}

const FULL: &str = "The service is unavailable: there is no room for anything more. What exists can be read and deleted. \
                    Please try again later.";

impl Error {
    pub fn fault(message: impl fmt::Display) -> Self {
        Self::Fault(anyhow::anyhow!("{message}"))
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Refusal(refusal) => refusal.code,
            Self::Fault(fault) if fault.is::<DbError>() => Code::Unavailable.as_str(),
            Self::Fault(_) => Code::InternalError.as_str(),
        }
    }

    pub fn status(&self) -> u16 {
        status_of(self.code())
    }

    /// What the tenant reads. Never what went wrong inside.
    pub fn message(&self) -> String {
        match self {
            Self::Refusal(refusal) => refusal.message.clone(),
            Self::Fault(fault) => match fault.downcast_ref::<DbError>() {
                Some(DbError::Store(StoreError::Full(_))) => FULL.into(),
                Some(_) => "The service is unavailable. Please try again shortly.".into(),
                None => "An internal error has occurred".into(),
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refusal(refusal) => write!(f, "{}: {}", refusal.code, refusal.message),
            Self::Fault(fault) => write!(f, "{fault:#}"),
        }
    }
}

impl From<Missing> for Error {
    fn from(missing: Missing) -> Self {
        Self::Refusal(Refusal { code: missing.code, message: missing.message })
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Refusal(Refusal { code: malformed.code, message: malformed.message })
    }
}

impl From<DbError> for Error {
    fn from(e: DbError) -> Self {
        Self::Fault(e.into())
    }
}

impl From<anyhow::Error> for Error {
    fn from(e: anyhow::Error) -> Self {
        Self::Fault(e)
    }
}
