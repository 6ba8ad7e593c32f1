//! What is checked beyond the shape of the file: bounds, and keys that only make sense together.

use super::*;

const GOOD: &str = "
[[listener]]
name = \"main\"
address = \"127.0.0.1:0\"

[[certificate-source]]
name = \"files\"
kind = \"directory\"
path = \"certificates\"
";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("/etc/handfast.toml"), text).map_err(|error| error.to_string())
}

/// The error of the good configuration with more keys in its certificate source.
fn refusal(keys: &str) -> String {
    parse(&format!("{GOOD}{keys}\n")).expect_err(keys)
}

#[test]
fn certificates_are_strictly_fresh_kept_and_not_served_expired_by_default() {
    let config = parse(GOOD).unwrap();
    let source = &config.certificate_sources[0];
    assert_eq!(source.freshness, Freshness::Strict);
    assert_eq!(source.scan_interval, Duration::from_secs(60));
    assert_eq!(source.on_delete, OnDelete::Keep);
    assert_eq!(source.ocsp, Ocsp::Files);
    assert!(!source.serve_expired && source.required.is_empty());
    let days = |days: u64| Duration::from_secs(days * 86_400);
    assert_eq!(config.certificates.expiry_warnings, [days(30), days(7), days(1)]);
    assert_eq!(config.certificates.key_cache, 10_000);
    assert_eq!(config.listeners[0].no_server_name, NameRule::Policy);
    assert_eq!(config.listeners[0].unknown_server_name, NameRule::Policy);
}

#[test]
fn expiry_warnings_are_ordered_and_each_is_there_once() {
    let config =
        parse(&format!("{GOOD}\n[certificates]\nexpiry-warnings = [\"1d\", \"24h\", \"12h\", \"14d\"]"))
            .unwrap();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!(config.certificates.expiry_warnings, [hours(14 * 24), hours(24), hours(12)]);
}

#[test]
fn values_out_of_bounds_are_refused_with_the_bounds() {
    for (keys, expected) in [
        ("scan-interval = \"500ms\"", "between 1s and 1h"),
        ("scan-interval = \"2h\"", "between 1s and 1h"),
        ("freshness = \"event\"", "did you mean `events`?"),
        ("ocsp = \"files\"\n[certificates]\nkey-cache = 0", "between 1 and 1000000"),
        ("[[policy]]\nname = \"p\"\nplugin = \"p.wasm\"\nconcurrency = 0", "between 1 and 1000"),
        ("[[policy]]\nname = \"p\"\nplugin = \"p.wasm\"\nlog-rate = 0", "between 1 and 100000"),
        ("[[policy]]\nname = \"p\"\nplugin = \"p.wasm\"\non-error = \"last\"", "did you mean `last-good`?"),
        ("[certificates]\nexpiry-warnings = [\"30d\", \"5m\"]", "between 1h and 366d"),
        ("[gateway]\nmax-policy-memory = \"1023KiB\"", "between 1MiB and 1024GiB"),
        ("[gateway]\nmax-policy-memory = \"1025GiB\"", "between 1MiB and 1024GiB"),
    ] {
        let error = refusal(keys);
        assert!(error.contains(expected), "{keys}: {error}");
    }
}

#[test]
fn one_instance_of_each_policy_fits_into_half_of_the_memory_for_all() {
    let with = |memory: &str, all: &str| {
        let policy = format!("[[policy]]\nname = \"p\"\nplugin = \"p.wasm\"\nmemory = \"{memory}\"");
        parse(&format!("{GOOD}[gateway]\nmax-policy-memory = \"{all}\"\n{policy}\n"))
    };
    assert_eq!(parse(GOOD).unwrap().max_policy_memory, 256 << 20);
    assert_eq!(with("8MiB", "16MiB").unwrap().max_policy_memory, 16 << 20);
    let error = with("8MiB", "15MiB").unwrap_err();
    assert!(error.contains("no room for the policy `p`") && error.contains("8388608 bytes"), "{error}");
}

#[test]
fn a_required_id_must_be_one_that_its_source_can_have() {
    let second = "\n[[certificate-source]]\nname = \"more\"\nkind = \"directory\"\npath = \"more\"\n";
    let error = refusal(&format!("required = [\"shop.example\"]{second}"));
    assert!(error.contains("\"files:shop.example\""), "{error}");
    parse(&format!("{GOOD}required = [\"files:shop.example\"]{second}")).unwrap();
    parse(&format!("{GOOD}required = [\"shop.example\"]")).unwrap();
}

/// The error of the good configuration with this change.
fn refusal_of(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "nothing to change");
    parse(&GOOD.replacen(from, to, 1)).expect_err(to)
}

/// Each was once answered in the words of a library, or with what is not so.
#[test]
fn mistakes_are_told_in_the_words_of_this_file() {
    let name = "name = \"main\"";
    for (keys, expected) in [
        ("minimum-tls = 1.2", "write it in quotes"),
        ("proxy-protocol = [\"10.0.0.0/33\"]", "not a network"),
        ("proxy-protocol = [\"banana\"]", "\"10.0.0.0/8\""),
    ] {
        let error = refusal_of(name, &format!("{name}\n{keys}"));
        assert!(error.contains(expected), "{keys}: {error}");
    }
    let error = refusal("[gateway]\nworkers = 99999999999999999999999");
    assert!(!error.contains("i128"), "{error}");
    for own in ["server-name", "listener"] {
        let error = refusal(&format!("[[policy]]\nname = \"{own}\"\nplugin = \"a.wasm\""));
        assert!(error.contains("is the gateway's own"), "{error}");
    }
}

/// The second used to be left aside without a word.
#[test]
fn two_routes_for_one_host_and_path_are_refused() {
    let route = |host: &str, path: &str| {
        format!("[[route]]\nhosts = [\"{host}\"]\npath = \"{path}\"\nupstream = \"app\"\n")
    };
    let upstream = "[[upstream]]\nname = \"app\"\nendpoints = [\"127.0.0.1:1\"]\n";
    for (one, other) in
        [(route("shop.example", "/"), route("SHOP.example", "/")), (route("*", "/api"), route("*", "/api/"))]
    {
        let error = refusal(&format!("{upstream}{one}{other}"));
        assert!(error.contains("two routes are for"), "{error}");
    }
    let good = [route("shop.example", "/"), route("shop.example", "/api"), route("*", "/")].concat();
    parse(&format!("{GOOD}{upstream}{good}")).unwrap();
}

/// Zero was taken for one, and such paths for good ones.
#[test]
fn what_lets_nothing_through_is_refused() {
    for (keys, expected) in [
        ("[gateway]\nmax-connections = 0", "`max-connections` must be at least 1"),
        ("[http]\nmax-upstream-connections = 0", "`max-upstream-connections` must be at least 1"),
    ] {
        let error = refusal(keys);
        assert!(error.contains(expected), "{keys}: {error}");
    }
    let upstream = "[[upstream]]\nname = \"app\"\nendpoints = [\"127.0.0.1:1\"]\n";
    for path in ["/search?q=", "/a#b", "/a/../b", "/."] {
        let route = format!("[[route]]\nhosts = [\"*\"]\npath = \"{path}\"\nupstream = \"app\"");
        let error = refusal(&format!("{upstream}{route}"));
        assert!(error.contains("no request has a path below"), "{path}: {error}");
    }
}
