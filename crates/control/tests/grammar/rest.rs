//! Requests to services that speak REST. What stands before a parameter says where it lies: `path:`, `query:`, `header:`;
//! `block` is the body, as many bytes of that; all else is JSON.

use awan_control::dispatch::Service;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::{Call, Rest, hex, object};

/// A request of an action, with its parameters wherever they say that they lie.
pub fn call(service: Service, action: &str, parameters: &[(String, String)]) -> Call {
    let mut routes = service.routes().expect("speaks REST").iter();
    let route = routes.find(|route| route.action == action).expect("a route");
    let (mut path, mut query, mut headers) = (route.path.to_owned(), String::new(), Vec::new());
    let (mut json, mut block) = (Vec::new(), None);
    for (key, value) in parameters {
        match key.split_once(':') {
            Some(("path", name)) => path = path.replace(&format!("{{{name}}}"), &hex(value)),
            Some(("query", name)) => query.push_str(&format!("&{name}={}", hex(value))),
            // What HTTP has no form for never comes.
            Some(("header", name)) if value.bytes().all(|b| b.is_ascii_graphic()) => {
                headers.push((name.to_owned(), value.clone()));
            }
            Some(("header", _)) => {}
            _ if key == "block" => block = value.parse().ok().filter(|length: &usize| *length <= 524_288),
            _ => json.push((key.clone(), value.clone())),
        }
    }
    let body = match block {
        Some(length) => {
            let body = "7".repeat(length);
            for (name, value) in [
                ("x-amz-checksum", BASE64_STANDARD.encode(Sha256::digest(&body))),
                ("x-amz-data-length", length.to_string()),
            ] {
                if headers.iter().all(|(given, _)| given != name) {
                    headers.push((name.to_owned(), value));
                }
            }
            body
        }
        None if json.is_empty() => String::new(),
        None => object(&json),
    };
    headers.sort();
    headers.dedup_by(|a, b| a.0 == b.0);
    let path = path.replace(['{', '}'], "");
    let rest = Rest { method: route.method, path, query: query.trim_start_matches('&').to_owned(), headers };
    Call { rest: Some(rest), ..Call::form(service.name(), body) }
}
