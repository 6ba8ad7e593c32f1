//! Sockets: binding them, accepting from them, and backing off when the system has no more.
//!
//! Every worker has a socket of its own for each address (`SO_REUSEPORT`), so the kernel spreads connections and none
//! ever moves between threads. `server` binds, each worker runs [`accept`]; nothing here reads a byte of a connection
//! but [`proxy_header`], which is its first stage.
//!
//! The kernel spreads by a hash of the addresses, not by load: a worker that gets more than its share of long
//! connections keeps them. That is nginx's `reuseport` too, and it is not evened out.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::transport::{Ends, Transport, canonical};

pub mod clients;
pub mod proxy_header;

/// Connections the kernel completes while no worker has accepted them yet; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Pause after an accept error that a retry at once would only meet again (no descriptors, no memory).
const BACK_OFF: Duration = Duration::from_millis(50);

/// Why an address could not be listened on. The cause stands before the hint, so it is shown here and is no source.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}{}", hint(cause, *address))]
pub struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

/// One socket for each worker, all on `address`; port 0 becomes one free port for all of them.
///
/// `ours` are the addresses that this gateway listens on now: a reload may take one over from another listener.
pub fn bind(
    address: SocketAddr,
    workers: usize,
    ours: &[SocketAddr],
) -> Result<(SocketAddr, Vec<StdListener>), BindError> {
    let failed = |cause| BindError { address, cause };
    // With SO_REUSEPORT alone, a second gateway of the same user would silently take half of the connections.
    // A probe without it fails when anybody listens here, this gateway included.
    let concrete = if ours.iter().any(|own| own.port() == address.port()) {
        address
    } else {
        let probe = open(address, false).map_err(failed)?;
        probe.local_addr().ok().and_then(|local| local.as_socket()).unwrap_or(address)
    };
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = open(concrete, true).map_err(failed)?;
        socket.listen(BACKLOG).map_err(failed)?;
        sockets.push(StdListener::from(socket));
    }
    Ok((concrete, sockets))
}

/// Accepts until `stop`, then what the kernel had already completed, and closes the socket. Connections get the name that
/// `listener` has when they are accepted.
///
/// What the kernel completes between the last look at its queue and the close is reset, so sockets are closed only on
/// addresses that are given up: `server` hands the others on.
///
/// `serve` starts a connection and returns at once. The permit counts against `limit` until it is dropped; while none
/// is free, one accepted connection waits for it here and further ones in the kernel's queue. After `stop` all of those
/// wait here: to their clients they are established, and closing the socket under them would reset them.
pub async fn accept(
    listener: &ArcSwap<String>,
    socket: StdListener,
    limit: Arc<Semaphore>,
    stop: CancellationToken,
    serve: impl Fn(Transport, OwnedSemaphorePermit),
) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    let server = socket.local_addr()?;
    let mut failing = false;
    let mut late = Vec::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                failing = false;
                let permit = tokio::select! {
                    permit = Arc::clone(&limit).acquire_owned() => permit,
                    () = stop.cancelled() => {
                        late.push((stream, client));
                        break;
                    }
                };
                let Ok(permit) = permit else { return Ok(()) };
                serve(transport(listener, stream, client, server), permit);
            }
            Err(error) if belongs_to_one_connection(&error) => {
                debug!(listener = %listener.load(), %error, "a connection was gone")
            }
            Err(error) => {
                if !failing {
                    warn!(listener = %listener.load(), %error, "cannot accept connections; raise the limit of open files if this stays");
                    failing = true;
                }
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
    // Asked of the kernel itself, since the reactor knows only of the connections that it has already seen.
    let socket = socket.into_std()?;
    for _ in 0..BACKLOG {
        let Ok((stream, client)) = socket.accept() else { break };
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            late.push((stream, client));
        }
    }
    drop(socket);
    for (stream, client) in late {
        let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return Ok(()) };
        serve(transport(listener, stream, client, server), permit);
    }
    Ok(())
}

fn transport(
    listener: &ArcSwap<String>,
    stream: TcpStream,
    client: SocketAddr,
    server: SocketAddr,
) -> Transport {
    #[cfg(not(target_os = "linux"))]
    let _ = stream.set_nodelay(true);
    let server = match server.ip().to_canonical().is_unspecified() {
        true => stream.local_addr().unwrap_or(server),
        false => server,
    };
    Transport::new(
        stream,
        Ends {
            listener: listener.load().to_string(),
            client: canonical(client),
            server: canonical(server),
            proxied: false,
            proxy_fields: Vec::new(),
        },
    )
}

fn open(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    // Handshake flights and small responses must not wait for an acknowledgement. Linux gives it to what is accepted.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// accept(2): errors of the connection that was about to be accepted, not of the listening socket.
fn belongs_to_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
        || matches!(
            error.raw_os_error(),
            Some(libc::EPROTO | libc::ENETDOWN | libc::ENOPROTOOPT | libc::EHOSTDOWN | libc::EHOSTUNREACH)
        )
}

fn hint(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "\n  = hint: another program listens there: `ss -ltnp 'sport = :{}'` names it; stop it, or change `address`",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => {
            "\n  = hint: ports below 1024 need a privilege: setcap cap_net_bind_service=+ep on the binary, or AmbientCapabilities=CAP_NET_BIND_SERVICE in its systemd unit, or use a higher port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "\n  = hint: no interface of this machine has that address: `ip address` lists them".to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_becomes_one_port_for_all_workers() {
        let (address, sockets) = bind("127.0.0.1:0".parse().unwrap(), 3, &[]).unwrap();
        assert_ne!(address.port(), 0);
        for socket in &sockets {
            assert_eq!(socket.local_addr().unwrap(), address);
        }
        let error = bind(address, 1, &[]).unwrap_err();
        assert!(error.to_string().contains("another program listens there"), "{error}");
        bind(address, 1, &[address]).expect("a listener of this gateway may have had the address before");
    }

    #[tokio::test]
    async fn what_is_written_to_a_client_does_not_wait_for_an_acknowledgement() {
        let (address, mut sockets) = bind("[::]:0".parse().unwrap(), 1, &[]).unwrap();
        let stop = CancellationToken::new();
        let (listener, limit) = (ArcSwap::from_pointee("it".to_owned()), Arc::new(Semaphore::new(1)));
        let client = std::net::TcpStream::connect(("127.0.0.1", address.port())).unwrap();
        let seen = std::sync::Mutex::new(None);
        let serve = |mut transport: Transport, _| {
            *seen.lock().unwrap() = Some((transport.socket().nodelay().unwrap(), transport.ends().server));
            stop.cancel();
        };
        accept(&listener, sockets.remove(0), limit, stop.clone(), serve).await.unwrap();
        assert_eq!(seen.into_inner().unwrap(), Some((true, client.peer_addr().unwrap())));
    }
}
