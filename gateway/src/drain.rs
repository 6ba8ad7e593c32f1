//! The end of the gateway's life, announced once.
//!
//! `server` owns the [`Drain`] and starts it on SIGTERM; everything that holds a connection or a socket holds a
//! [`DrainWatch`] and finishes what it has: listeners stop accepting, HTTP/1.1 connections answer with
//! `connection: close`, HTTP/2 connections send GOAWAY (RFC 9113 section 6.8). A watch also counts as one thing still
//! under way until it is dropped, so the server knows when the last connection is gone.

use tokio::sync::watch;

/// Starts draining and waits for its end.
#[derive(Debug)]
pub struct Drain {
    sender: watch::Sender<bool>,
}

impl Drain {
    pub fn new() -> (Self, DrainWatch) {
        let (sender, receiver) = watch::channel(false);
        (Self { sender }, DrainWatch { receiver })
    }

    /// Tells every watch. Calling it again changes nothing.
    pub fn start(&self) {
        self.sender.send_replace(true);
    }

    pub fn has_started(&self) -> bool {
        *self.sender.borrow()
    }

    /// Returns when every watch has been dropped.
    pub async fn finished(&self) {
        self.sender.closed().await;
    }

    /// Watches that are alive.
    pub fn under_way(&self) -> usize {
        self.sender.receiver_count()
    }
}

/// Held by whatever must finish before the gateway ends.
#[derive(Debug, Clone)]
pub struct DrainWatch {
    receiver: watch::Receiver<bool>,
}

impl DrainWatch {
    pub fn is_draining(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Returns once draining has started; at once when it already has. Cancel safe.
    pub async fn started(&mut self) {
        // An error means the `Drain` itself is gone, which only happens after the last wait: as good as draining.
        let _ = self.receiver.wait_for(|draining| *draining).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_finishes_when_the_last_watch_is_dropped() {
        let (drain, mut watch) = Drain::new();
        assert!(!watch.is_draining());
        drain.start();
        watch.started().await;
        assert!(watch.is_draining());
        assert_eq!(drain.under_way(), 1);
        drop(watch);
        drain.finished().await;
    }
}
