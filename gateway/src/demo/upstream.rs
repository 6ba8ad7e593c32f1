//! The demo's upstream: answers every request with the request as it arrived.

use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Starts it on a free port, on a thread of its own that lives as long as the process.
pub(super) fn start() -> io::Result<SocketAddr> {
    let socket = StdListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo-upstream".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let Ok(socket) = TcpListener::from_std(socket) else { return };
            while let Ok((stream, _)) = socket.accept().await {
                tokio::spawn(async move {
                    // A connection that the gateway closes is no event.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(mirror))
                        .await;
                });
            }
        });
    })?;
    Ok(address)
}

async fn mirror(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = String::from("This is the demo's upstream. It received:\n\n");
    // Writing to a `String` does not fail.
    let _ = writeln!(text, "{} {} {:?}", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    Ok(Response::new(Full::new(Bytes::from(text))))
}
