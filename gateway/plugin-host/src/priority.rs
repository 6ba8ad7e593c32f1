//! What nobody waits for while it is at work stands back behind the workers: long calls, compiling, loading.

use std::panic::resume_unwind;
use std::thread;

/// Workers have 0. A thread that a worker wakes beside waits for it, and still gets a tenth of a busy core.
const NICE: libc::c_int = 10;

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
}
