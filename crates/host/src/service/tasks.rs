//! Tasks that begin one by one and end together.

use std::future::Future;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const END_WITHIN: Duration = Duration::from_secs(2);

/// Begins tasks of a group.
#[derive(Clone)]
pub struct Tasks {
    runtime: Handle,
    over: watch::Receiver<bool>,
    /// Held by every task until all that it owns is dropped.
    alive: Sender<()>,
}

pub struct Group {
    over: watch::Sender<bool>,
    none_alive: Receiver<()>,
    kept: Vec<JoinHandle<()>>,
}

impl Tasks {
    pub fn new(runtime: Handle) -> (Self, Group) {
        let (say_over, over) = watch::channel(false);
        let (alive, none_alive) = channel();
        (Self { runtime, over, alive }, Group { over: say_over, none_alive, kept: Vec::new() })
    }

    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let (mut over, alive) = (self.over.clone(), self.alive.clone());
        self.runtime.spawn(async move {
            tokio::select! {
                _ = over.wait_for(|over| *over) => {}
                () = work => {}
            }
            drop(alive);
        })
    }
}

impl Group {
    /// Watches a task that is never to end.
    pub fn keep(&mut self, task: JoinHandle<()>) {
        self.kept.push(task);
    }

    /// Whether all tasks that are never to end still run.
    pub fn whole(&self) -> bool {
        self.kept.iter().all(|task| !task.is_finished())
    }

    /// Ends every task and waits until what they owned is dropped.
    pub fn end(self) {
        self.over.send_replace(true);
        if self.none_alive.recv_timeout(END_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a service does not let go of its sockets");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noisy(Sender<&'static str>);

    impl Drop for Noisy {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }

    #[test]
    fn when_a_group_has_ended_everything_its_tasks_owned_is_dropped() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let (said, heard) = channel();
        let (tasks, mut group) = Tasks::new(runtime.handle().clone());
        let (inner, noisy) = (tasks.clone(), Noisy(said.clone()));
        group.keep(tasks.spawn(async move {
            inner.spawn(async move {
                let _noisy = noisy;
                std::future::pending::<()>().await;
            });
            let _ = said.send("begun");
            std::future::pending::<()>().await;
        }));
        drop(tasks);
        assert_eq!(heard.recv_timeout(END_WITHIN), Ok("begun"));
        assert!(group.whole());
        group.end();
        assert_eq!(heard.try_recv(), Ok("dropped"));
    }
}
