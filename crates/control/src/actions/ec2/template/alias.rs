//! `resolve:ssm:NAME` in the place of an image id.

use awan_state::{Tenant, Tx};

use crate::error::{Result, unsupported};

const PREFIX: &str = "resolve:ssm:";

/// The image id that a text is, or stands for at this moment.
pub fn resolved(_: &mut Tx<Tenant>, image: &str) -> Result<String> {
    if image.starts_with(PREFIX) {
        return Err(unsupported("ImageId=resolve:ssm"));
    }
    Ok(image.to_owned())
}
