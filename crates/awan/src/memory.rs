//! What the program asks of its allocator: to give memory back.
//!
//! glibc keeps an arena for each few threads, and what a large answer took stays with the process. Here plans and
//! answers of many megabytes come and go on whichever thread is free: with 10,000 instances a quarter of the resident
//! memory was free memory.

/// Called first, before there are other threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn settle() {
    const ARENAS: libc::c_int = 2;
    const KEPT_FREE: libc::c_int = 1 << 20;
    const APART_FROM: libc::c_int = 128 << 10;
    let wishes =
        [(libc::M_ARENA_MAX, ARENAS), (libc::M_TRIM_THRESHOLD, KEPT_FREE), (libc::M_MMAP_THRESHOLD, APART_FROM)];
    for (what, value) in wishes {
        #[expect(unsafe_code, reason = "glibc has no other door")]
        // SAFETY: it takes two numbers; one that it does not know changes nothing.
        unsafe {
            libc::mallopt(what, value);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn settle() {}
