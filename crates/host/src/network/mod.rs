//! Networks of the machine.
