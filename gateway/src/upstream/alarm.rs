//! A timer that is cheap to move.
//!
//! Deadlines move with every byte and every request, and almost none ever passes. An [`Alarm`] is armed once and left
//! alone while its deadline moves away; when it fires early it looks at the deadline again. Moving one costs nothing,
//! where resetting a `Sleep` takes the timer wheel's lock.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

/// One timer of the runtime, kept for as long as its owner lives.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `deadline` has passed. The deadline may differ from call to call; the last one counts.
    pub fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
