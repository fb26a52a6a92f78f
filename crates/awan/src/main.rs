//! `awan`: the control plane, the host, and their operator's commands.

mod admin;
mod client;
mod config;
mod connect;
mod endpoint;
mod images;
mod join;
mod lock;
mod memory;
mod node;
mod purge;
mod rootless;
mod serve;
mod user;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "awan", version, about = "An elastic compute cloud on your own machines, with Amazon EC2's API")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Control plane and host in one process: the default for one machine
    Serve(config::Options),
    /// The control plane alone; hosts join it
    Control(config::Options),
    /// A host alone
    Host(config::Options),
    /// The operator's commands; they talk to the running server
    Admin(admin::Arguments),
    /// Ends every guest of a data directory and deletes all that it has on the machine
    Purge(purge::Purge),
    /// Prints credentials and endpoint for a shell to eval
    Env(user::Where),
    /// Launches an instance
    Launch(user::Launch),
    /// Logs in to an instance
    Ssh(user::Ssh),
    /// Lists instances: id, state, type, public address, name
    List(user::List),
    /// Starts stopped instances
    Start(user::Instances),
    /// Stops instances
    Stop(user::Instances),
    /// Terminates instances: they and their disks are gone
    Terminate(user::Instances),
    /// Prints what an instance wrote to its serial console
    Console(user::One),
    /// Makes sure that there is a key pair of a name
    Key(user::Key),
    /// Opens a TCP port in the default security group
    Open(user::Open),
    /// Connects its input and output to a port of an instance
    Connect(user::Connect),
    /// Listens on this machine, and connects who comes to a port of an instance
    Forward(user::Forward),
    /// Keeps the namespaces of an ordinary user's server; started by that
    #[command(hide = true)]
    Hold(user::Where),
    /// Reads a disk from elsewhere, confined; started by a host
    #[command(hide = true)]
    ReadDisk(images::ReadDisk),
}

/// Each guest costs descriptors, and may open connections to the metadata service. Where the limit that shells and
/// service managers set is 1,024, a few hundred guests, or a few hostile ones, would keep the API from answering.
fn open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// What is in memory, keys of volumes too, is not written to a file when this program or one that it starts fails. A limit of
/// zero does not keep the kernel from giving it to another program; one does (man 5 core).
fn no_core() {
    use nix::sys::resource::{Resource, setrlimit};
    let _ = setrlimit(Resource::RLIMIT_CORE, 1, 1);
}

fn main() -> ExitCode {
    memory::settle();
    open_files();
    no_core();
    run(Arguments::parse().command).unwrap_or_else(|e| fail(&e))
}

/// An ordinary user's server enters namespaces of its own, which only a program with one thread can: what comes before
/// is done by one, and what comes then by many.
fn run(command: Command) -> Result<ExitCode> {
    use serve::Roles;
    match command {
        Command::Hold(_) => rootless::hold()?,
        Command::ReadDisk(read) => return Ok(read.serve()),
        Command::Serve(options) => many(serve::run(one(serve::prepare(Roles::Both, options))?.enter()?))?,
        Command::Control(options) => many(serve::run(one(serve::prepare(Roles::Control, options))?.enter()?))?,
        Command::Host(options) => many(serve::run(one(serve::prepare(Roles::Host, options))?.enter()?))?,
        Command::Purge(purge) => {
            if let Some(ready) = one(purge::prepare(purge))? {
                many(purge::run(ready.enter()?))?;
            }
        }
        Command::Admin(arguments) => return many(admin::run(arguments)),
        Command::Env(place) => user::env(&place)?,
        Command::Launch(launch) => many(user::launch(launch))?,
        Command::Ssh(ssh) => many(user::ssh(ssh))?,
        Command::Connect(connect) => many(user::connect(connect))?,
        Command::Forward(forward) => many(user::forward(forward))?,
        Command::List(list) => many(user::list(list))?,
        Command::Start(these) => many(user::each("StartInstances", &these))?,
        Command::Stop(these) => many(user::each("StopInstances", &these))?,
        Command::Terminate(these) => many(user::each("TerminateInstances", &these))?,
        Command::Console(one) => many(user::console(&one))?,
        Command::Key(key) => many(user::key(key))?,
        Command::Open(open) => many(user::open(open))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// In this thread alone; nothing of it goes on afterwards.
fn one<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn many<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    // What still runs in the background has nothing left to finish: every answer given is durable. It ends with the
    // process; in a runtime that ends before, what wants to wait would panic.
    std::mem::forget(runtime);
    outcome
}

#[expect(clippy::print_stderr, reason = "a program's last words to who started it")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("awan: {error:#}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    #[test]
    fn as_many_files_are_open_at_once_as_the_machine_allows() {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        setrlimit(Resource::RLIMIT_NOFILE, most.min(512), most).expect("lowers");
        super::open_files();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).expect("a limit"), (most, most));
    }
}
