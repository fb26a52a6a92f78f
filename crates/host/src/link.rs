//! The agent's connection to the control plane: plans in, reports out, questions answered.

use std::sync::Arc;

use awan_model::plan::HostPlan;
use awan_model::report::{Answer, Ask, Report};
use tokio::sync::{mpsc, oneshot, watch};

pub type Question = (Ask, oneshot::Sender<Answer>);

/// An agent's end. The other end is somebody's who moves messages: in this process, or over the network.
pub struct Link {
    pub plans: watch::Receiver<Option<Arc<HostPlan>>>,
    pub asks: mpsc::Receiver<Question>,
    /// Only the newest report matters.
    pub reports: watch::Sender<Option<Arc<Report>>>,
}

/// The other end of a [`Link`].
pub struct Peer {
    pub plans: watch::Sender<Option<Arc<HostPlan>>>,
    pub asks: mpsc::Sender<Question>,
    pub reports: watch::Receiver<Option<Arc<Report>>>,
}

const ASKS_MAX: usize = 64;

pub fn pair() -> (Link, Peer) {
    let (plans_in, plans) = watch::channel(None);
    let (asks_in, asks) = mpsc::channel(ASKS_MAX);
    let (reports, reports_out) = watch::channel(None);
    (Link { plans, asks, reports }, Peer { plans: plans_in, asks: asks_in, reports: reports_out })
}
