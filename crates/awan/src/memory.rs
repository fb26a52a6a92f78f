//! Memory: an allocator that many threads use at once, and that gives back what it does not need.
//!
//! Plans and answers of many megabytes come and go on whichever thread is free. glibc's allocator either keeps what they
//! took or, told not to, takes much of a large launch's time.

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` (mimalloc.h), in milliseconds. The default is a second.
const PURGE_DELAY: mi_option_t = 15;

/// Called first, before there are other threads. `bench api` shows what is resident.
pub fn settle() {
    #[expect(unsafe_code, reason = "it has no safe form")]
    // SAFETY: it takes two numbers; one that it does not know changes nothing.
    unsafe {
        mi_option_set(PURGE_DELAY, 0);
    }
}
