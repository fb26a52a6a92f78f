//! Requests that come through a VPC endpoint, which leads to one service of one region.

use awan_model::endpoint::Endpoint;
use awan_model::id::EndpointId;
use awan_state::{Home, System};

use crate::control::Control;
use crate::dispatch::Service;
use crate::error::{Code, Result, refuse};

/// The endpoint that a connection came through. Whoever accepts connections says it, never who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    pub home: Home,
    pub endpoint: EndpointId,
}

/// Refuses what was signed for another service or region than that behind the endpoint.
pub fn must_lead_to(control: &Control, through: &Through, service: Service, region: &str) -> Result<()> {
    let Through { home, endpoint: id } = through;
    let Some(endpoint) = control.db.read(System, |tx| tx.find_in::<Endpoint>(home, id)) else {
        return Err(refuse(Code::AuthFailure, format!("The VPC endpoint {id} is not there any more.")));
    };
    let own = endpoint.service.rsplit('.').next().unwrap_or_default();
    if own != service.name() {
        return Err(refuse(Code::AuthFailure, format!("Credential should be scoped to correct service: '{own}'.")));
    }
    if !service.is_global() && home.region() != region {
        let message = format!("Credential should be scoped to a valid region, not '{region}'.");
        return Err(refuse(Code::AuthFailure, message));
    }
    Ok(())
}
