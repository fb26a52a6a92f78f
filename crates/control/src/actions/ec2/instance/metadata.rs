//! Metadata options: of a launch, of a change, and as they are shown.

use awan_model::instance::{Instance, MetadataOptions, State, VmReport};
use awan_model::options::AccountOptions;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Error, Result, invalid_value, refuse};

/// What the account chose, or nothing yet.
pub fn account(tx: &mut Tx<Tenant>) -> AccountOptions {
    let there = tx.find::<AccountOptions>(&AccountOptions::ID.into());
    there.map_or_else(|| AccountOptions::of(tx.home()), |options| (*options).clone())
}

/// Of a launch: where the request says nothing, the account has chosen.
pub fn of_launch(tx: &mut Tx<Tenant>, asked: Option<ec2::InstanceMetadataOptionsRequest>) -> Result<MetadataOptions> {
    let ec2::InstanceMetadataOptionsRequest {
        http_tokens,
        http_put_response_hop_limit,
        http_endpoint,
        http_protocol_ipv6,
        instance_metadata_tags,
    } = asked.unwrap_or_default();
    let defaults = account(tx).metadata;
    let asked =
        Asked { http_tokens, http_put_response_hop_limit, http_endpoint, http_protocol_ipv6, instance_metadata_tags };
    let options = asked.over(defaults.options())?;
    if defaults.tokens_enforced == Some(true) && !options.tokens_required {
        return Err(not_enforced());
    }
    Ok(options)
}

pub struct Asked {
    pub http_tokens: Option<String>,
    pub http_put_response_hop_limit: Option<i32>,
    pub http_endpoint: Option<String>,
    pub http_protocol_ipv6: Option<String>,
    pub instance_metadata_tags: Option<String>,
}

impl Asked {
    pub fn is_empty(&self) -> bool {
        let Self {
            http_tokens,
            http_put_response_hop_limit,
            http_endpoint,
            http_protocol_ipv6,
            instance_metadata_tags,
        } = self;
        [http_tokens, http_endpoint, http_protocol_ipv6, instance_metadata_tags].iter().all(|member| member.is_none())
            && http_put_response_hop_limit.is_none()
    }

    /// What is not asked for stays.
    pub fn over(self, old: MetadataOptions) -> Result<MetadataOptions> {
        let switch = |value: Option<String>, name| one_of(value, "enabled", "disabled", name);
        Ok(MetadataOptions {
            tokens_required: one_of(self.http_tokens, "required", "optional", "HttpTokens")?
                .unwrap_or(old.tokens_required),
            hop_limit: self.http_put_response_hop_limit.map_or(Ok(old.hop_limit), hop_limit)?,
            endpoint: switch(self.http_endpoint, "HttpEndpoint")?.unwrap_or(old.endpoint),
            ipv6: switch(self.http_protocol_ipv6, "HttpProtocolIpv6")?.unwrap_or(old.ipv6),
            tags: switch(self.instance_metadata_tags, "InstanceMetadataTags")?.unwrap_or(old.tags),
            changes: old.changes,
        })
    }
}

pub fn one_of(value: Option<String>, yes: &str, no: &str, name: &str) -> Result<Option<bool>> {
    match value.as_deref() {
        None | Some("") => Ok(None),
        Some(v) if v == yes => Ok(Some(true)),
        Some(v) if v == no => Ok(Some(false)),
        Some(v) => Err(invalid_value(v.chars().take(32).collect::<String>().escape_debug(), name)),
    }
}

pub fn hop_limit(n: i32) -> Result<u8> {
    let hops = u8::try_from(n).ok().filter(|n| (1..=64).contains(n));
    hops.ok_or_else(|| invalid_value(n, "HttpPutResponseHopLimit"))
}

/// Source: "Enforce IMDSv2 at the account level", EC2 User Guide.
pub fn not_enforced() -> Error {
    let message = "The account requires IMDSv2 (HttpTokensEnforced), so HttpTokens must be 'required'.";
    refuse(Code::UnsupportedOperation, message)
}

pub fn shown(i: &Instance, state: State, report: Option<&VmReport>) -> ec2::InstanceMetadataOptionsResponse {
    let on = |yes: bool| Some(if yes { "enabled" } else { "disabled" }.to_owned());
    ec2::InstanceMetadataOptionsResponse {
        state: Some(progress(i, state, report).into()),
        http_tokens: Some(if i.metadata.tokens_required { "required" } else { "optional" }.into()),
        http_put_response_hop_limit: Some(i.metadata.hop_limit.into()),
        http_endpoint: on(i.metadata.endpoint),
        http_protocol_ipv6: on(i.metadata.ipv6),
        instance_metadata_tags: on(i.metadata.tags),
    }
}

/// `applied`, unless a guest runs that may see the options as they were.
pub fn progress(i: &Instance, state: State, report: Option<&VmReport>) -> &'static str {
    let seen = report.filter(|r| r.run == i.run).map_or(0, |r| r.metadata);
    if state == State::Running && seen != i.metadata.changes { "pending" } else { "applied" }
}
