//! Speaks QMP to a machine, as somebody would who has broken into it.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::PATIENCE;

/// A machine's own monitor, which listens to one client at a time.
pub struct Monitor(std::io::BufReader<std::os::unix::net::UnixStream>);

impl Monitor {
    pub fn connect(socket: &Path) -> Self {
        let stream = std::os::unix::net::UnixStream::connect(socket).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("sets");
        let mut monitor = Self(std::io::BufReader::new(stream));
        monitor.ask(&serde_json::json!({"execute": "qmp_capabilities"}));
        monitor
    }

    pub fn ask(&mut self, command: &serde_json::Value) -> serde_json::Value {
        use std::io::Write as _;
        self.0.get_mut().write_all(command.to_string().as_bytes()).expect("is told");
        self.answer()
    }

    /// With a descriptor beside the command.
    pub fn ask_with(&mut self, command: &serde_json::Value, file: BorrowedFd<'_>) -> serde_json::Value {
        let (text, fds) = (command.to_string(), [file.as_raw_fd()]);
        let (parts, beside) = ([std::io::IoSlice::new(text.as_bytes())], [ControlMessage::ScmRights(&fds)]);
        let socket = self.0.get_ref().as_raw_fd();
        let sent = sendmsg::<()>(socket, &parts, &beside, MsgFlags::empty(), None).expect("is told");
        assert_eq!(sent, text.len());
        self.answer()
    }

    fn answer(&mut self) -> serde_json::Value {
        use std::io::BufRead as _;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("answers"), 0, "it hung up");
            let answer: serde_json::Value = serde_json::from_str(&line).expect("is JSON");
            if answer.get("return").is_some() || answer.get("error").is_some() {
                return answer;
            }
        }
    }
}
