//! A WebSocket after its 101: relayed ([`super::relay`]) until both sides have closed, or nothing moved for too long.
//!
//! The gateway does not look into the frames.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use super::End;
use super::outcome::{ErrorKind, Record};
use super::relay::{Ended, Relay, Side};
use crate::upstream::connection::http1::Switched;

/// The two ends, before the client's has been let go by hyper.
pub(super) struct Tunnel {
    client: OnUpgrade,
    upstream: Switched,
    record: Box<Record>,
    _connection: Option<OwnedSemaphorePermit>,
}

impl Tunnel {
    pub(super) fn new(
        client: OnUpgrade,
        upstream: Switched,
        connection: Option<OwnedSemaphorePermit>,
        record: Box<Record>,
    ) -> Self {
        Self { client, upstream, record, _connection: connection }
    }

    /// `idle_timeout`: nothing in either direction for so long ends it.
    pub(super) async fn run(mut self, idle_timeout: Duration) -> End {
        let Ok(client) = self.client.await else { return End::ConnectionLost };
        let mut relay = Relay::new(TokioIo::new(client), self.upstream.socket);
        let ended = relay.run(&self.upstream.early, idle_timeout).await;
        self.record.outcome.bytes_in = relay.bytes_in();
        self.record.outcome.bytes_out = relay.bytes_out();
        self.record.complete = true;
        match ended {
            Ended::Closed => End::TunnelClosed,
            Ended::Failed(side, error) => {
                let kind = match side {
                    Side::Client => ErrorKind::ClientGone,
                    Side::Upstream => ErrorKind::ResponseCut,
                };
                self.record.failed_with(kind, &error);
                End::TunnelClosed
            }
            Ended::Idle => End::Idle,
        }
    }
}
