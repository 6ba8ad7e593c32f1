//! The life of one connection: the only caller of the stages, in their one order.
//!
//! ```text
//! accept → PROXY header → ClientHello → select → certificate → handshake → validate → HTTP
//! ```
//!
//! One deadline covers everything before HTTP. Whatever happens, the connection leaves exactly one outcome line and
//! counts once. Nothing here decides anything: policies do, and each stage hands over the proof the next one asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use handfast_plugin_host as plugin_host;
use handfast_wire::AlertDescription;
use rustls::pki_types::UnixTime;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::certificate::{Certificate, Ensured, Peer};
use crate::config::{Protocol, Upstream};
use crate::drain::DrainWatch;
use crate::http;
use crate::listener::clients::{Clients, Place};
use crate::listener::proxy_header;
use crate::metrics::{ListenerCounters, Metrics};
use crate::policy::{Admission, Selected, Selection, Validated};
use crate::snapshot::{ListenerView, Snapshot, Snapshots};
use crate::tls::server_config::ServerConfigs;
use crate::tls::{self, Established, alert, client_hello};
use crate::transport::Transport;

mod directory;
mod outcome;
mod passthrough;

use directory::{Directory, Refusal};
use outcome::{Ending, Outcome};

/// RFC 8446 section 6.2, and section 3 of RFC 6066.
const HANDSHAKE_FAILURE: u8 = 40;
const CERTIFICATE_EXPIRED: u8 = 45;
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

/// Times a handshake chooses, since certificates were replaced or added meanwhile.
const CHOICES: usize = 3;

/// What the connections of one worker thread share.
pub struct Worker {
    pub snapshots: Arc<Snapshots>,
    pub metrics: Arc<Metrics>,
    pub server_configs: ServerConfigs,
    pub http: http::Context,
    pub drain: DrainWatch,
    /// Of all workers.
    pub clients: Arc<Clients>,
    /// The generation of the snapshot that was last seen here.
    pub followed: AtomicU64,
}

impl Worker {
    /// Lets go of upstream connections that a new snapshot has no use for, at the first connection after it.
    fn follow(&self, snapshot: &Snapshot) {
        if self.followed.swap(snapshot.generation, Ordering::Relaxed) != snapshot.generation {
            self.http.pools.retain(&snapshot.config.upstreams);
        }
    }
}

/// Numbers connections over all workers, for logs.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// Serves a connection to its end. The permit is its place among the open connections.
pub async fn serve(
    worker: Arc<Worker>,
    counters: Arc<ListenerCounters>,
    transport: Transport,
    permit: OwnedSemaphorePermit,
) {
    let begun = Instant::now();
    let id = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let mut outcome = Outcome::new(id, transport.ends());
    counters.connection_opened();

    let snapshot = worker.snapshots.current();
    outcome.generation(worker.snapshots.generation());
    worker.follow(&snapshot);
    let deadline = begun + snapshot.config.handshake_timeout;
    // Its place among those of its client's network, where the listener counts them.
    let mut place = None;
    // Boxed: else the room for its stages, 4 KiB, would be a part of the connection for as long as that lives.
    let established = Box::pin(establish(&worker, snapshot, transport, &mut place, &mut outcome));
    let next = match timeout_at(deadline, established).await {
        Ok(next) => next,
        Err(_) => {
            outcome.ended(Ending::Timeout);
            Next::Nothing
        }
    };
    outcome.handshake_over(begun.elapsed());
    outcome.count(&counters);

    match next {
        Next::Nothing => {}
        Next::Http { established, validated, bound } => {
            let (stream, client, protocol) = http_client(id, established, validated, bound);
            let summary =
                http::serve(stream, protocol, client, worker.http.clone(), worker.drain.clone()).await;
            outcome.served(summary.requests, summary.end.as_str());
        }
        Next::Passthrough(transport, upstream) => {
            let mut drain = worker.drain.clone();
            let drained = drain_deadline(&mut drain, &worker);
            let ended = passthrough::relay(transport, &upstream, drained).await;
            outcome.relayed(&ended);
        }
    }
    outcome.log();
    counters.connection_closed();
    drop((place, permit));
}

/// What follows the handshake stages.
enum Next {
    /// `bound`: requests must be for the server name that was judged. So wherever the listener has policies of its own
    /// or asks for client certificates; elsewhere any name of the certificate will do, as browsers expect.
    Http {
        established: Established,
        validated: Validated,
        bound: bool,
    },
    Passthrough(Transport, Arc<Upstream>),
    /// The connection was answered and closed.
    Nothing,
}

/// PROXY header to `validate`. Refusals are sent here; only what goes on is returned.
async fn establish(
    worker: &Arc<Worker>,
    snapshot: Arc<Snapshot>,
    transport: Transport,
    place: &mut Option<Place>,
    outcome: &mut Outcome,
) -> Next {
    let Some(listener) = snapshot.listener(&transport.ends().listener, transport.ends().server) else {
        // Accepted in the moment in which a reload removed the listener.
        outcome.ended(Ending::ListenerRemoved);
        return Next::Nothing;
    };
    let transport = match proxy_header::read(transport, &listener.config.proxy_protocol).await {
        Ok(transport) => transport,
        Err(error) => {
            outcome.failed(Ending::ProxyHeader, &error);
            return Next::Nothing;
        }
    };
    outcome.ends(transport.ends());
    if let Some(limit) = listener.config.max_connections_per_client {
        let ends = transport.ends();
        *place = worker.clients.enter(&listener.config.name, ends.client.ip(), limit);
        if place.is_none() {
            outcome.ended(Ending::ClientLimit);
            return Next::Nothing;
        }
    }
    let greeted = match client_hello::read(transport).await {
        Ok(greeted) => greeted,
        Err((error, transport)) => {
            outcome.failed(Ending::ClientHello, &error);
            if let client_hello::GreetingError::Invalid(invalid) = &error
                && let Some(alert) = invalid.alert()
            {
                outcome.alert_sent(alert);
                alert::refuse(transport, alert).await;
            }
            return Next::Nothing;
        }
    };
    outcome.hello(greeted.hello());

    let directory = Arc::new(Directory::new(
        Arc::clone(&snapshot.certificates),
        listener.config.default_certificate.clone(),
    ));
    let judged = Judged {
        connection: Arc::clone(greeted.transport().ends()) as Arc<dyn plugin_host::Connection>,
        hello: Arc::clone(greeted.hello()) as Arc<dyn plugin_host::ClientHello>,
        certificates: Arc::clone(&directory) as Arc<dyn plugin_host::Certificates>,
        directory,
    };
    let choice = choose(&snapshot, &listener, &judged, &worker.snapshots, outcome).await;
    outcome.passed_over(judged.directory.passed_over(greeted.hello()));
    match choice {
        Choice::Answer(admission, certificate) => {
            let config = match worker.server_configs.of(
                &certificate,
                &listener.config,
                &listener.trust,
                snapshot.generation,
            ) {
                Ok(config) => config,
                Err(error) => {
                    outcome.failed(Ending::Handshake, &error);
                    refuse(greeted.into_transport(), INTERNAL_ERROR, outcome).await;
                    return Next::Nothing;
                }
            };
            drop(snapshot);
            outcome.certificate(&certificate);
            match tls::handshake(greeted, admission, certificate, config).await {
                Ok(established) => {
                    outcome.parameters(established.parameters());
                    validate(established, &listener, &judged, outcome).await
                }
                Err(failure) => {
                    outcome.handshake_failed(&failure.error);
                    alert::close(failure.transport).await;
                    Next::Nothing
                }
            }
        }
        Choice::Reject(alert) => {
            refuse(greeted.into_transport(), alert, outcome).await;
            Next::Nothing
        }
        Choice::Drop => Next::Nothing,
        Choice::Passthrough(upstream) => Next::Passthrough(greeted.into_transport(), upstream),
    }
}

/// What policies are shown of a connection.
struct Judged {
    connection: Arc<dyn plugin_host::Connection>,
    hello: Arc<dyn plugin_host::ClientHello>,
    certificates: Arc<dyn plugin_host::Certificates>,
    /// The same once more, for what policies are not shown.
    directory: Arc<Directory>,
}

enum Choice {
    Answer(Admission, Arc<Certificate>),
    Reject(u8),
    Drop,
    Passthrough(Arc<Upstream>),
}

/// Asks the policies, and makes sure that the certificate they name is the one its files hold now.
///
/// A replacement that changes what the choice rests on (names, key, validity) is chosen on again, also where the verdict
/// was a rejection: that the only certificate had expired is no reason any more once it is renewed. So is a rejection for
/// want of a certificate that has come by now ([`Directory::has_news`]). After [`CHOICES`] rounds, which takes as many
/// changes within one handshake, the current pair of the chosen id is used.
async fn choose(
    snapshot: &Snapshot,
    listener: &ListenerView,
    judged: &Judged,
    snapshots: &Snapshots,
    outcome: &mut Outcome,
) -> Choice {
    let mut round = 0;
    loop {
        round += 1;
        let Judged { connection, hello, certificates, directory } = judged;
        directory.forget();
        let selection = listener.chain.select(connection, hello, certificates).await;
        outcome.decided(&selection, snapshots.generation());
        let rests_on_expired_only = match &selection.verdict {
            Selected::Admitted(_) => Some(true),
            Selected::Rejected { .. } => Some(false),
            Selected::Dropped | Selected::Passthrough(_) => None,
        };
        if round < CHOICES
            && let Some(only_expired) = rests_on_expired_only
            && (directory.is_outdated(only_expired).await || may_be_missing(&selection, judged).await)
        {
            continue;
        }
        let admission = match selection.verdict {
            Selected::Admitted(admission) => admission,
            Selected::Rejected { alert } => return Choice::Reject(alert),
            Selected::Dropped => return Choice::Drop,
            Selected::Passthrough(name) => {
                let upstream = snapshot.config.upstreams.iter().find(|upstream| upstream.name == name);
                return match upstream {
                    Some(upstream) => Choice::Passthrough(Arc::clone(upstream)),
                    // The chain lets only configured names through.
                    None => Choice::Reject(INTERNAL_ERROR),
                };
            }
        };
        // Present when the policy named it; gone only if it was withdrawn since.
        let Some(chosen) = directory.chosen(admission.certificate()) else {
            if round < CHOICES {
                continue;
            }
            return Choice::Reject(INTERNAL_ERROR);
        };
        match snapshot.certificates.ensure_fresh(&chosen).await {
            Ensured::Unchanged => return Choice::Answer(admission, chosen),
            Ensured::Kept { certificate, .. } => return Choice::Answer(admission, certificate),
            Ensured::Replaced(current) if round >= CHOICES || current.stands_for(&chosen) => {
                return Choice::Answer(admission, current);
            }
            Ensured::Withdrawn if round >= CHOICES => return Choice::Reject(INTERNAL_ERROR),
            Ensured::Replaced(_) | Ensured::Withdrawn => {}
        }
    }
}

/// Whether a client was turned away for want of a certificate, and there are others now.
async fn may_be_missing(selection: &Selection, judged: &Judged) -> bool {
    let refusal = match &selection.verdict {
        Selected::Rejected { alert: HANDSHAKE_FAILURE | CERTIFICATE_EXPIRED | UNRECOGNIZED_NAME } => {
            Refusal::NoCertificate
        }
        Selected::Rejected { alert: INTERNAL_ERROR } => Refusal::NoVerdict,
        _ => return false,
    };
    // Clients without a name are many where scanners are, and what they get was there at the start.
    match judged.hello.server_name() {
        Some(name) => judged.directory.has_news(refusal, name).await,
        None => false,
    }
}

/// Judges an established connection: the client's chain natively where the handshake did not (resumption), then by
/// the policies.
async fn validate(
    established: Established,
    listener: &ListenerView,
    judged: &Judged,
    outcome: &mut Outcome,
) -> Next {
    if established.parameters().resumed
        && let Err(error) = listener.trust.verify_again(established.peer_chain(), UnixTime::now())
    {
        outcome.failed(Ending::ClientCertificate, &error);
        return refuse_established(established, AlertDescription::CERTIFICATE_UNKNOWN, outcome).await;
    }
    // The leaf alone: of what else a client sends, webpki uses what it needs on one path and passes over the rest, and
    // does not tell which. A policy must not take an unproven certificate for one that vouches for the client.
    let leaf = established.peer_chain().first().map(|der| Peer::new(der.clone())).transpose();
    let chain: Vec<_> = match leaf {
        Ok(leaf) => {
            leaf.into_iter().map(|peer| Arc::new(peer) as Arc<dyn plugin_host::PeerCertificate>).collect()
        }
        Err(error) => {
            outcome.failed(Ending::ClientCertificate, &error);
            return refuse_established(established, AlertDescription::BAD_CERTIFICATE, outcome).await;
        }
    };
    let Judged { connection, hello, certificates, .. } = judged;
    match listener.chain.validate(connection, hello, certificates, &chain).await {
        Ok(validated) => {
            outcome.validated(&validated);
            let bound = !listener.config.policies.is_empty() || listener.config.client_certificates.is_some();
            Next::Http { established, validated, bound }
        }
        Err(refused) => {
            outcome.refused(&refused.decision);
            refuse_established(established, AlertDescription::new(refused.alert), outcome).await
        }
    }
}

async fn refuse(transport: Transport, alert: u8, outcome: &mut Outcome) {
    let alert = AlertDescription::new(alert);
    outcome.alert_sent(alert);
    alert::refuse(transport, alert).await;
}

async fn refuse_established(
    established: Established,
    alert: AlertDescription,
    outcome: &mut Outcome,
) -> Next {
    outcome.alert_sent(alert);
    alert::refuse_established(established, alert).await;
    Next::Nothing
}

/// The HTTP side's view of a validated connection.
fn http_client(
    id: u64,
    established: Established,
    validated: Validated,
    bound: bool,
) -> (tls::Stream, Arc<http::Client>, Protocol) {
    let protocol = if established.parameters().http2 { Protocol::Http2 } else { Protocol::Http1 };
    let certificate = Arc::clone(established.certificate());
    let server_name = established.hello().server_name().map(str::to_owned);
    let stream = established.into_stream();
    let ends = Arc::clone(stream.ends());
    let client = http::Client {
        connection_id: id,
        listener: ends.listener.clone(),
        address: ends.client,
        server_address: ends.server,
        server_name,
        certificate_names: certificate.names().to_vec(),
        bound_to_server_name: bound,
        attributes: validated.into_attributes(),
    };
    (stream, Arc::new(client), protocol)
}

/// A relayed connection has no request to wait for: it gets the time that every draining connection gets.
async fn drain_deadline(drain: &mut DrainWatch, worker: &Worker) {
    drain.started().await;
    let timeout: Duration = worker.snapshots.current().config.drain_timeout;
    tokio::time::sleep(timeout).await;
}
