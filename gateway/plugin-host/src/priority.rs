//! Who gets a processor first, where there are fewer than threads with something to do.
//!
//! What nobody waits for while it is at work stands back behind the workers: long calls, compiling, loading. What others wait
//! for, the workers and the clock, gets its processor at once.
//!
//! # Memo: why a lower priority is not enough
//! Linux lets a thread go on until its slice is over, some milliseconds, before another one that has become ready gets the
//! processor, whatever their priorities: those say how much each gets in the end. Beside a guest in an endless loop, a worker
//! waited for more than half a millisecond in one of a hundred of its turns, and for up to eight. Since Linux 6.12 a thread may
//! ask for shorter slices, and one that wakes with a shorter slice than the running one's does not wait for the end of that.
//! Workers that do waited so long a quarter as often. But then the clock, whose ticks end a guest's turn, waited for the
//! workers, for three and four milliseconds instead of one. Hence both.

use std::panic::resume_unwind;
use std::thread;

/// Workers have 0. A thread that a worker wakes beside waits for it, and still gets a tenth of a busy core.
const NICE: libc::c_int = 10;

/// The shortest slice that Linux gives.
#[cfg(target_os = "linux")]
const SLICE_NANOSECONDS: u64 = 100_000;

/// Gives the calling thread a processor as soon as it has something to do, in short slices. How much it gets in the end stays
/// the same. Where the kernel is older or the thread has another scheduler than the usual one, nothing changes.
pub fn wake_promptly() {
    #[cfg(target_os = "linux")]
    {
        const THIS_THREAD: libc::c_int = 0;
        const NO_FLAGS: libc::c_uint = 0;
        // SAFETY: integers, for which all zeroes are a value.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::sched_attr>();
        // SAFETY: the pointer is to a live, writable structure of the size that is given.
        let failed = unsafe {
            libc::syscall(libc::SYS_sched_getattr, THIS_THREAD, &raw mut attributes, size, NO_FLAGS) != 0
        };
        // An operator's choice of another scheduler stays.
        if failed || attributes.sched_policy != libc::SCHED_OTHER as u32 {
            return;
        }
        attributes.sched_runtime = SLICE_NANOSECONDS;
        // Threads that it starts are not like it.
        attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
        // SAFETY: the pointer is to a live structure that begins with its size, as the kernel has just filled it.
        unsafe { libc::syscall(libc::SYS_sched_setattr, THIS_THREAD, &raw const attributes, NO_FLAGS) };
    }
}

/// Gives the calling thread, and the processes it starts from here on, the lower priority. There is no way back for them.
pub(crate) fn step_back() {
    // SAFETY: plain system calls without pointers; 0 is the calling thread. Where they fail, its work is as important as
    // the workers', which changes nothing that is relied on. A gateway that stands further back already stays there.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE.max(libc::getpriority(libc::PRIO_PROCESS, 0)));
    }
}

/// Does `work` on a thread that has stepped back, and waits for it. On this one where the system has no more threads.
pub(crate) fn behind_the_workers<T: Send>(name: &str, work: impl Fn() -> T + Send + Sync) -> T {
    thread::scope(|scope| {
        let stepped_back = || {
            step_back();
            work()
        };
        match thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, stepped_back) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> libc::c_int {
        // SAFETY: a plain system call without pointers.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn only_the_thread_that_works_steps_back() {
        let before = nice();
        assert_eq!(behind_the_workers("at-work", nice), before.max(NICE));
        assert_eq!(nice(), before);
    }

    /// In nanoseconds; 0 where the kernel knows of none.
    #[cfg(target_os = "linux")]
    fn slice() -> u64 {
        // SAFETY: integers, for which all zeroes are a value.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live, writable structure of the size that is given.
        let got = unsafe {
            libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size_of_val(&attributes), 0)
        };
        assert_eq!(got, 0);
        attributes.sched_runtime
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_the_thread_that_wakes_promptly_has_short_slices() {
        let usual = slice();
        let (prompt, of_its_thread) = thread::spawn(move || {
            wake_promptly();
            (slice(), thread::spawn(slice).join().unwrap())
        })
        .join()
        .unwrap();
        // Since Linux 6.12.
        let expected = if usual == 0 { 0 } else { SLICE_NANOSECONDS };
        assert_eq!((prompt, of_its_thread), (expected, usual));
    }
}
