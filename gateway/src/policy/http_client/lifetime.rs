//! How long an answer may be given again (RFC 9111), within what the operator allows.
//!
//! The cache belongs to one policy and every field of a request is part of its key, so it is a private one: `private`
//! and `Vary` need no care. It never revalidates: what has no time of its own left is asked for anew.

use std::time::Duration;

use handfast_plugin_host::{HttpRequest, HttpResponse};

use super::exchange::Failure;
use crate::config::OutgoingHttp;

/// What a request lets be done with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// With that of another, equal request.
    pub(super) may_join: bool,
    pub(super) may_be_old: bool,
    pub(super) may_be_kept: bool,
}

impl Asked {
    pub(super) fn of(request: &HttpRequest) -> Self {
        // Safe, and without a body, which has no meaning in them (RFC 9110 section 9.3.1).
        let safe = matches!(request.method.as_str(), "GET" | "HEAD") && request.body.is_empty();
        let directives = Directives::of(&request.fields);
        Self {
            may_join: safe,
            may_be_old: safe && !directives.no_cache && !directives.no_store,
            may_be_kept: safe && !directives.no_store,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub(super) time: Duration,
    /// Whether it is about what does not exist, or could not be found out.
    pub(super) negative: bool,
}

impl Lifetime {
    pub(super) const NONE: Self = Self { time: Duration::ZERO, negative: true };
}

/// How long to keep what a call gave.
pub(super) fn of(method: &str, result: Result<&HttpResponse, &Failure>, settings: &OutgoingHttp) -> Lifetime {
    let response = match result {
        Ok(response) => response,
        Err(_) => return Lifetime { time: settings.failure_ttl.min(settings.max_ttl), negative: true },
    };
    if !matches!(method, "GET" | "HEAD") {
        return Lifetime::NONE;
    }
    let (otherwise, negative) = match response.status {
        404 | 410 => (settings.negative_ttl, true),
        429 | 500..=599 => (settings.failure_ttl, true),
        // Those that are cacheable by default (RFC 9110 section 15.1) and whole.
        200 | 203 | 204 | 300 | 301 | 308 | 405 | 414 => (settings.ttl, false),
        // Redirects and refusals that are for now: only if they say so.
        _ => (Duration::ZERO, !(200..400).contains(&response.status)),
    };
    let directives = Directives::of(&response.fields);
    let time = match directives.max_age {
        _ if directives.no_store || directives.no_cache => Duration::ZERO,
        Some(seconds) => Duration::from_secs(seconds.saturating_sub(age(&response.fields))),
        None => otherwise,
    };
    Lifetime { time: time.min(settings.max_ttl), negative }
}

/// RFC 9111 section 5.1.
fn age(fields: &[(String, Vec<u8>)]) -> u64 {
    let field = fields.iter().find(|(name, _)| name == "age");
    field.and_then(|(_, value)| number(value)).unwrap_or(0)
}

#[derive(Debug, Clone, Copy, Default)]
struct Directives {
    no_store: bool,
    no_cache: bool,
    max_age: Option<u64>,
}

impl Directives {
    fn of(fields: &[(String, Vec<u8>)]) -> Self {
        let mut found = Self::default();
        let values = fields.iter().filter(|(name, _)| name == "cache-control").map(|(_, value)| value);
        for directive in values.flat_map(|value| value.split(|byte| *byte == b',')) {
            let directive = directive.trim_ascii();
            let mut parts = directive.splitn(2, |byte| *byte == b'=');
            let name = parts.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
            match name.as_slice() {
                b"no-store" => found.no_store = true,
                b"no-cache" => found.no_cache = true,
                // What is no number is stale (RFC 9111 section 4.2.1), and so is the shortest of several.
                b"max-age" => {
                    let age = number(parts.next().unwrap_or_default()).unwrap_or(0);
                    found.max_age = Some(found.max_age.map_or(age, |other| other.min(age)));
                }
                _ => {}
            }
        }
        found
    }
}

/// Digits, in quotes or not; more than fit are as many as fit (RFC 9111 section 1.2.2).
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(text).ok()?.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn kept(status: u16, fields: &[(&str, &str)]) -> (u64, bool) {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), value.as_bytes().to_vec()));
        let response = HttpResponse { status, fields: fields.collect(), body: Vec::new() };
        let lifetime = of("GET", Ok(&response), &settings());
        (lifetime.time.as_secs(), lifetime.negative)
    }

    #[test]
    fn an_answer_says_how_long_it_holds_within_bounds() {
        let control = |value| kept(200, &[("cache-control", value)]);
        assert_eq!(kept(200, &[]), (30, false));
        assert_eq!(control("max-age=5"), (5, false));
        assert_eq!(control("public, Max-Age=\"7\", must-revalidate"), (7, false));
        assert_eq!(control("max-age=999999999999999999999"), (600, false));
        for value in ["no-store", "No-Cache", "max-age=0", "max-age=x", "max-age", "max-age=60, max-age=0"] {
            assert_eq!(control(value).0, 0, "{value}");
        }
        assert_eq!(control("max-age=60, no-store").0, 0);
        assert_eq!(kept(200, &[("cache-control", "max-age=60"), ("age", "50")]), (10, false));
    }

    #[test]
    fn what_does_not_exist_or_fails_is_kept_for_less() {
        assert_eq!(kept(404, &[]), (10, true));
        assert_eq!(kept(410, &[("cache-control", "max-age=60")]), (60, true));
        assert_eq!(kept(503, &[]), (1, true));
        assert_eq!(kept(403, &[]).0, 0);
        assert_eq!(kept(302, &[]).0, 0);
        assert_eq!(of("GET", Err(&Failure::TimedOut), &settings()).time, Duration::from_secs(1));
        assert_eq!(of("POST", Ok(&HttpResponse::default()), &settings()), Lifetime::NONE);
    }

    #[test]
    fn only_safe_requests_without_a_body_share_an_answer() {
        let asked = |method: &str, control: &str, body: &[u8]| {
            Asked::of(&HttpRequest {
                method: method.into(),
                secure: true,
                authority: "a.example".into(),
                path: "/".into(),
                fields: vec![("cache-control".into(), control.into())],
                body: body.to_vec(),
                patience: None,
            })
        };
        let all = Asked { may_join: true, may_be_old: true, may_be_kept: true };
        assert_eq!(asked("GET", "", b""), all);
        assert_eq!(asked("HEAD", "max-stale", b""), all);
        assert_eq!(asked("GET", "no-cache", b""), Asked { may_be_old: false, ..all });
        assert_eq!(
            asked("GET", "no-store", b""),
            Asked { may_join: true, may_be_old: false, may_be_kept: false }
        );
        assert!(!asked("POST", "", b"").may_join && !asked("GET", "", b"x").may_join);
    }
}
