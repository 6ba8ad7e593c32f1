//! A policy that asks an HTTP endpoint which tenant a server name belongs to, and answers with the certificate that is
//! tagged with it. The endpoint's address without a path is its configuration, `{"endpoint":"http://127.0.0.1:8080"}`. The
//! first label of the name says what is asked; the reason says what came of it.
//!
//! | label | what is asked |
//! |---|---|
//! | `good` | nothing: the policy passes |
//! | `elsewhere` | a host that is in no list |
//! | `path-<a>-<b>` | `GET /a/b` |
//! | `post-<n>` | `POST /mirror` with `n` bytes |
//! | `many` | `GET /status/200` twenty times, each with another query |
//! | anything else | `GET /tenant/<name>` |

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};

use handfast_policy::http::{self, Error, Request, Response};
use handfast_policy::{Alert, ClientHello, Configure, Connection, Decision, Select, certificates};

struct Caller {
    endpoint: String,
}

handfast_policy::export!(Caller: select, configure; panic = trap);

impl Configure for Caller {
    fn configure(config: &str) -> Result<Self, String> {
        let endpoint = config.split('"').nth(3).ok_or("`endpoint` is missing")?;
        Ok(Self { endpoint: endpoint.into() })
    }
}

impl Select for Caller {
    fn select(&self, _: &Connection, hello: &ClientHello) -> Decision {
        let name = hello.server_name().unwrap_or_default();
        let label = name.split('.').next().unwrap_or_default();
        let (verb, object) = label.split_once('-').unwrap_or((label, ""));
        let url = |path: &str| format!("{}{path}", self.endpoint);
        let answer = match verb {
            "good" => return Decision::pass(),
            "elsewhere" => http::get("https://elsewhere.example/"),
            "path" => http::get(&url(&format!("/{}", object.replace('-', "/")))),
            "post" => {
                let body = alloc::vec![b'x'; object.parse().unwrap_or(0)];
                Request::new("POST", &url("/mirror")).field("content-type", "text/plain").body(&body).send()
            }
            "many" => (0..20)
                .map(|number| http::get(&url(&format!("/status/200?{number}"))))
                .reduce(|_, answer| answer)
                .unwrap_or(Err(Error::Failed)),
            _ => return self.tenant(&name),
        };
        // A verdict, since the reason of a policy that passes is not told.
        match certificates::find(&name).first() {
            Some(certificate) => Decision::certificate(certificate).because(said(&answer)),
            None => Decision::pass(),
        }
    }
}

impl Caller {
    fn tenant(&self, name: &str) -> Decision {
        let answer = http::get(&format!("{}/tenant/{name}", self.endpoint));
        let said = said(&answer);
        let tenant = match answer {
            Ok(response) if response.status == 200 => String::from_utf8(response.body).unwrap_or_default(),
            _ => return Decision::reject(Alert::UnrecognizedName).because(said),
        };
        match certificates::tagged("tenant", &tenant).first() {
            Some(certificate) => Decision::certificate(certificate).because(said),
            None => Decision::reject(Alert::AccessDenied).because(said),
        }
    }
}

fn said(answer: &Result<Response, Error>) -> String {
    match answer {
        Ok(response) => format!("{}, {} bytes", response.status, response.body.len()),
        Err(Error::Request) => "request".to_string(),
        Err(Error::NotAllowed) => "not allowed".to_string(),
        Err(Error::Limited) => "limited".to_string(),
        Err(Error::TimedOut) => "timed out".to_string(),
        Err(Error::TooLarge) => "too large".to_string(),
        Err(Error::Failed) => "failed".to_string(),
    }
}
