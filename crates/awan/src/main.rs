//! `awan`: the control plane, the host, and their operator's commands.

mod admin;
mod client;
mod config;
mod images;
mod join;
mod lock;
mod memory;
mod node;
mod purge;
mod serve;
mod user;

use std::process::ExitCode;

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
}

/// Each guest costs descriptors, and may open connections to the metadata service. Where the limit that shells and
/// service managers set is 1,024, a few hundred guests, or a few hostile ones, would keep the API from answering.
fn open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

fn main() -> ExitCode {
    memory::settle();
    open_files();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&e.into()),
    };
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Serve(options) => serve::run(serve::Roles::Both, options).await,
            Command::Control(options) => serve::run(serve::Roles::Control, options).await,
            Command::Host(options) => serve::run(serve::Roles::Host, options).await,
            Command::Admin(arguments) => return admin::run(arguments).await,
            Command::Purge(purge) => purge::run(purge).await,
            Command::Env(place) => user::env(&place),
            Command::Launch(launch) => user::launch(launch).await,
            Command::Ssh(ssh) => user::ssh(ssh).await,
            Command::List(list) => user::list(list).await,
            Command::Start(these) => user::each("StartInstances", &these).await,
            Command::Stop(these) => user::each("StopInstances", &these).await,
            Command::Terminate(these) => user::each("TerminateInstances", &these).await,
            Command::Console(one) => user::console(&one).await,
            Command::Key(key) => user::key(key).await,
            Command::Open(open) => user::open(open).await,
        }
        .map(|()| ExitCode::SUCCESS)
    });
    // What still runs in the background has nothing left to finish: every answer given is durable. It ends with the
    // process; in a runtime that ends before, what wants to wait would panic.
    std::mem::forget(runtime);
    outcome.unwrap_or_else(|e| fail(&e))
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
