//! The AWS protocols: typed shapes, Query in, XML out, JSON both ways, REST, SigV4.
//!
//! **Invariant:** knows no domain, does no IO, and no input makes it panic.

pub mod ebs;
pub mod ec2;
pub mod iam;
pub mod json;
pub mod logs;
pub mod names;
pub mod query;
pub mod rbin;
pub mod rest;
pub mod shape;
pub mod sigv4;
pub mod ssm;
pub mod sts;
pub mod xml;
