//! Who sits where: one machine for each name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use awan_control::hosts::{AWAY_AFTER, Connection};
use awan_model::id::HostId;

use super::Who;

#[derive(Default)]
pub struct Seats(Mutex<HashMap<HostId, Seat>>);

struct Seat {
    who: Who,
    heard: Instant,
    connection: Arc<tokio::sync::Mutex<Connection>>,
}

impl Seats {
    /// Who is heard under this name and is not this one.
    pub fn other(&self, who: &Who) -> Option<Who> {
        let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.get(&who.host).filter(|s| s.who != *who && s.heard.elapsed() < AWAY_AFTER).map(|s| s.who.clone())
    }

    /// Notes that a machine was heard, which gives it its seat. `anew`: it knows nothing of an earlier connection.
    pub fn take(
        &self,
        who: &Who,
        anew: bool,
        connect: impl FnOnce() -> Connection,
    ) -> Arc<tokio::sync::Mutex<Connection>> {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = seats.get_mut(&who.host).filter(|s| s.who == *who && !anew) {
            seat.heard = Instant::now();
            return seat.connection.clone();
        }
        let connection = Arc::new(tokio::sync::Mutex::new(connect()));
        let seat = Seat { who: who.clone(), heard: Instant::now(), connection: connection.clone() };
        seats.insert(who.host.clone(), seat);
        connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use awan_control::hosts::Hosts;

    #[test]
    fn a_copy_of_a_machine_finds_its_seat_taken_and_a_machine_finds_its_own_again() {
        let (seats, hosts) = (Seats::default(), Hosts::default());
        let host = HostId::new("h").expect("a name");
        let who = |boot: &str| Who { host: host.clone(), identity: "i".into(), boot: boot.into() };
        assert_eq!(seats.other(&who("1")), None);
        let first = seats.take(&who("1"), true, || hosts.connect(&host));
        let same = seats.take(&who("1"), false, || hosts.connect(&host));
        assert!(Arc::ptr_eq(&first, &same));
        assert_eq!(seats.other(&who("1")), None);
        assert_eq!(seats.other(&who("2")), Some(who("1")));
        let anew = seats.take(&who("1"), true, || hosts.connect(&host));
        assert!(!Arc::ptr_eq(&first, &anew), "its process began anew");
    }
}
