//! `resolve:ssm:NAME` in the place of an image id.

use awan_state::{Tenant, Tx};

use crate::error::Result;
use crate::parameter;

const PREFIX: &str = "resolve:ssm:";

/// The image id that a text is, or stands for at this moment.
pub fn resolved(tx: &mut Tx<Tenant>, image: &str) -> Result<String> {
    if image.starts_with(PREFIX) {
        return Ok(parameter::image(tx, image)?.to_string());
    }
    Ok(image.to_owned())
}
