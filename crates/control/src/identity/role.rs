//! What a role's members can be.

use super::document::{self, Purpose};
use super::invalid;
use crate::error::Result;

/// "IAM and AWS STS quotas".
const TRUST_MAX: usize = 4_096;
const DESCRIPTION_MAX: usize = 1_000;
const HOUR_S: i32 = 3_600;

pub fn checked_trust(document: Option<String>) -> Result<String> {
    let document = document.unwrap_or_default();
    document::check(&document, Purpose::Trust, TRUST_MAX, "ACLSizePerRole")?;
    Ok(document)
}

pub fn checked_description(description: Option<String>) -> Result<String> {
    let description = description.unwrap_or_default();
    if description.chars().count() > DESCRIPTION_MAX {
        return Err(invalid(format!("A description has at most {DESCRIPTION_MAX} characters")));
    }
    Ok(description)
}

/// An hour to twelve.
pub fn checked_duration(seconds: Option<i32>) -> Result<i32> {
    let seconds = seconds.unwrap_or(HOUR_S);
    if (HOUR_S..=12 * HOUR_S).contains(&seconds) {
        return Ok(seconds);
    }
    Err(invalid(format!(
        "1 validation error detected: Value '{seconds}' at 'maxSessionDuration' failed to satisfy constraint: Member must \
         have value between 3600 and 43200"
    )))
}
