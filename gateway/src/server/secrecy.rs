//! Keys are in this process's memory: nobody else is to look into it.
//!
//! A crash must not leave a file that holds every private key (a core dump), and another program of the same user must not
//! attach to the gateway or read `/proc/PID/mem`. Both are the system's defaults, and both are what somebody who debugs the
//! gateway wants, so `core-dumps = true` in `[gateway]` leaves them as they are. Root can still do all of it.

use tracing::warn;

/// To be called before a key is read.
pub(super) fn keep_memory_private() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live `rlimit`; setrlimit(2) reads it and nothing else.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } != 0 {
        warn!("core dumps could not be turned off: a crash may leave a file with private keys");
    }
    // A dump can also go to a program, which the limit does not prevent.
    #[cfg(target_os = "linux")]
    {
        let zero: libc::c_ulong = 0;
        // SAFETY: a plain system call without pointers.
        if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, zero, zero, zero, zero) } != 0 {
            warn!("other programs of the same user can look into the gateway's memory");
        }
    }
}
