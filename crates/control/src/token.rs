//! Client tokens: the same request twice makes its things once.

use awan_model::token::ClientToken;
use awan_state::{Tenant, Tx};
use sha2::{Digest as _, Sha256};

use crate::error::{Code, Result, invalid, refuse};

const TOKEN_MAX: usize = 64;

/// A token as one action of one home uses it.
pub struct Use {
    id: String,
    parameters: String,
}

impl Use {
    /// `parameters`: all others of the request, in a form that is the same for the same request.
    pub fn new(action: &str, token: &str, parameters: &str) -> Result<Self> {
        Self::within(TOKEN_MAX, action, token, parameters)
    }

    /// For actions whose tokens may be longer, or absent.
    pub fn given(action: &str, token: Option<&str>, most: usize, parameters: &str) -> Result<Option<Self>> {
        token.filter(|t| !t.is_empty()).map(|token| Self::within(most, action, token, parameters)).transpose()
    }

    fn within(most: usize, action: &str, token: &str, parameters: &str) -> Result<Self> {
        if token.len() > most || !token.is_ascii() {
            return Err(invalid(format!("A client token has at most {most} ASCII characters")));
        }
        Ok(Self { id: id(action, token), parameters: hex(parameters) })
    }

    /// What the first request with this token made; `None`: this is the first.
    pub fn made(&self, tx: &mut Tx<Tenant>) -> Result<Option<Vec<String>>> {
        let Some(first) = tx.find::<ClientToken>(&self.id) else { return Ok(None) };
        if first.parameters != self.parameters {
            let message = "The request uses the same client token as a previous, but non-identical request.";
            return Err(refuse(Code::IdempotentParameterMismatch, message));
        }
        Ok(Some(first.made.clone()))
    }

    /// The id of the [`ClientToken`].
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn keep(self, tx: &mut Tx<Tenant>, made: Vec<String>) {
        let (home, at) = (tx.home().clone(), tx.now());
        tx.put(ClientToken { home, id: self.id, parameters: self.parameters, made, at });
    }
}

/// Forgets the request that made what goes now: its token may make another.
pub fn forget(tx: &mut Tx<Tenant>, action: &str, token: Option<&str>) {
    if let Some(token) = token {
        tx.remove::<ClientToken>(&id(action, token));
    }
}

/// The id of the [`ClientToken`] of an action's token.
pub fn id(action: &str, token: &str) -> String {
    format!("{action}:{}", hex(token))
}

fn hex(text: &str) -> String {
    Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect()
}
