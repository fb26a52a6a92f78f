//! What services call the refusals that all services have.

/// CloudWatch Logs has words of its own for some of them.
pub fn logs_code(code: &'static str) -> &'static str {
    match code {
        "InternalError" | "Unavailable" => "ServiceUnavailableException",
        "InvalidNextToken" | "InvalidParameterValue" | "MissingParameter" | "UnknownParameter" => {
            "InvalidParameterException"
        }
        other => json_code(other),
    }
}

/// What services that speak JSON call the refusals that all services have.
pub fn json_code(code: &'static str) -> &'static str {
    match code {
        "IncompleteSignature" => "IncompleteSignatureException",
        "InternalError" | "Unavailable" => "InternalServerError",
        "InvalidAction" => "UnknownOperationException",
        "InvalidClientTokenId" => "UnrecognizedClientException",
        "InvalidParameterValue" | "MissingParameter" | "UnknownParameter" => "ValidationException",
        "MissingAuthenticationToken" => "MissingAuthenticationTokenException",
        "ExpiredToken" => "ExpiredTokenException",
        "SignatureDoesNotMatch" | "RequestExpired" => "InvalidSignatureException",
        "UnsupportedOperation" => "UnsupportedOperationException",
        other => other,
    }
}

/// What services that speak REST call a refusal. Source: the errors of their actions, "EBS direct APIs Reference" and "Recycle
/// Bin API Reference".
pub fn kind(code: &'static str) -> &'static str {
    match code {
        "RULE_NOT_FOUND" => "ResourceNotFoundException",
        "SERVICE_QUOTA_EXCEEDED" => "ServiceQuotaExceededException",
        code if reason(code) == Some("SNAPSHOT_NOT_FOUND") => "ResourceNotFoundException",
        code if reason(code) == Some("DEPENDENCY_SERVICE_QUOTA_EXCEEDED") => "ServiceQuotaExceededException",
        "AuthFailure" | "UnauthorizedOperation" => "AccessDeniedException",
        "IdempotentParameterMismatch" | "INVALID_RULE_STATE" => "ConflictException",
        "InternalError" | "Unavailable" => "InternalServerException",
        "RequestLimitExceeded" => "RequestThrottledException",
        code if reason(code).is_some() => "ValidationException",
        other => json_code(other),
    }
}

/// Why, where its kind does not say it all.
pub fn reason(code: &'static str) -> Option<&'static str> {
    Some(match code {
        "AuthFailure" | "UnauthorizedOperation" => "UNAUTHORIZED_ACCOUNT",
        "InvalidSnapshot.NotFound" => "SNAPSHOT_NOT_FOUND",
        "InsufficientVolumeCapacity" | "SnapshotLimitExceeded" => "DEPENDENCY_SERVICE_QUOTA_EXCEEDED",
        "IncorrectState" | "InvalidSnapshotID.Malformed" => "INVALID_SNAPSHOT_ID",
        "InvalidNextToken" => "INVALID_PAGE_TOKEN",
        "InvalidParameterCombination"
        | "InvalidParameterValue"
        | "MissingParameter"
        | "UnknownParameter"
        | "UnsupportedOperation" => "INVALID_PARAMETER_VALUE",
        "TagLimitExceeded" => "INVALID_TAG",
        code if code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') => code,
        _ => return None,
    })
}

pub fn status(kind: &str) -> Option<u16> {
    Some(match kind {
        "AccessDeniedException" => 403,
        "ConflictException" => 409,
        "InternalServerException" => 500,
        "ResourceNotFoundException" => 404,
        "ServiceQuotaExceededException" => 402,
        "RequestThrottledException" | "ValidationException" => 400,
        _ => return None,
    })
}
