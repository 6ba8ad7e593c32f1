//! Lookup against a model that knows nothing of indexes: a list of certificates, filtered and sorted.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rcgen::{KeyPair, SignatureAlgorithm};

use super::*;
use crate::certificate::test_pki::parameters;

const NAMES: [&str; 9] = [
    "a.example",
    "A.a.Example",
    "b.a.example",
    "*.example",
    "*.a.example",
    "*.b.a.example",
    "xn--bcher-kva.example",
    "example",
    "192.0.2.1",
];

const QUERIES: [&str; 14] = [
    "a.example",
    "a.a.example",
    "b.a.example",
    "c.b.a.example",
    "c.example",
    "example",
    "xn--bcher-kva.example",
    "b\u{fc}cher.example",
    "192.0.2.1",
    "*.example",
    "*.a.example",
    ".example",
    "d.c.example",
    "",
];

/// The algorithms with the scheme that a client needs for each (RFC 8446 section 4.2.3).
const ALGORITHMS: [(&SignatureAlgorithm, u16); 4] = [
    (&rcgen::PKCS_ECDSA_P256_SHA256, 0x0403),
    (&rcgen::PKCS_ECDSA_P384_SHA384, 0x0503),
    (&rcgen::PKCS_ED25519, 0x0807),
    (&rcgen::PKCS_RSA_SHA256, 0x0804),
];

/// The place of each of them: P-256, Ed25519, P-384, RSA.
const PREFERRED: [usize; 4] = [0, 2, 1, 3];

/// The id of the default certificate. Nothing has it in some of the cases.
const DEFAULT: &str = "0";

#[derive(Debug, Clone)]
struct Issued {
    names: Vec<&'static str>,
    algorithm: usize,
    year: i32,
    has_expired: bool,
}

fn issued() -> impl Strategy<Value = Issued> {
    let names = subsequence(NAMES.to_vec(), 1..4);
    (names, 0..ALGORITHMS.len(), 2001..2005, prop::bool::weighted(0.25))
        .prop_map(|(names, algorithm, year, has_expired)| Issued { names, algorithm, year, has_expired })
}

/// What clients write: any case, perhaps with the root's dot.
fn spelling() -> impl Strategy<Value = (&'static str, u32, bool)> {
    (select(QUERIES.to_vec()), any::<u32>(), any::<bool>())
}

fn spell((name, capitals, dot): (&str, u32, bool)) -> String {
    let capital = |(position, letter): (usize, char)| match capitals >> (position % 32) & 1 {
        1 => letter.to_ascii_uppercase(),
        _ => letter,
    };
    let mut text: String = name.chars().enumerate().map(capital).collect();
    if dot && !text.is_empty() {
        text.push('.');
    }
    text
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase().replace("b\u{fc}cher", "xn--bcher-kva")
}

/// The ids of those for a name, in the order in which they are to be chosen.
fn expected(model: &BTreeMap<String, Issued>, query: &str) -> Vec<String> {
    let query = plain(query);
    let having = |wanted: &str| -> Vec<String> {
        let mut having: Vec<_> = model
            .iter()
            .filter(|(_, issued)| issued.names.iter().any(|name| plain(name) == wanted))
            .map(|(id, issued)| (PREFERRED[issued.algorithm], -issued.year, id.clone()))
            .collect();
        having.sort();
        having.into_iter().map(|(.., id)| id).collect()
    };
    let mut found = having(&query);
    let is_name = query.parse::<std::net::IpAddr>().is_err();
    if let Some((first, rest)) = query.split_once('.')
        && is_name
        && !["", "*"].contains(&first)
    {
        for id in having(&format!("*.{rest}")) {
            if !found.contains(&id) {
                found.push(id);
            }
        }
    }
    let (expired, valid): (Vec<_>, Vec<_>) = found.into_iter().partition(|id| model[id].has_expired);
    [valid, expired].concat()
}

fn write(authority: &Authority, folder: &Path, id: &str, issued: &Issued) {
    static KEYS: OnceLock<Vec<String>> = OnceLock::new();
    let make = |algorithm: &(&'static SignatureAlgorithm, u16)| {
        KeyPair::generate_for(algorithm.0).unwrap().serialize_pem()
    };
    let keys = KEYS.get_or_init(|| ALGORITHMS.iter().map(make).collect());
    let mut parameters = parameters(&issued.names);
    parameters.not_before = rcgen::date_time_ymd(issued.year, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(if issued.has_expired { 2010 } else { 2090 }, 1, 1);
    authority
        .sign(parameters, KeyPair::from_pem(&keys[issued.algorithm]).unwrap())
        .write_as(&folder.join(id));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn find_agrees_with_the_model(
        first in prop::collection::vec(issued(), 0..7),
        // Replaced or added later: which, and by what.
        later in prop::collection::vec((0..9usize, issued()), 0..4),
        queries in prop::collection::vec((spelling(), subsequence((0..ALGORITHMS.len()).collect::<Vec<_>>(), 0..3)), 24),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let authority = Authority::new("Test");
            let mut model = BTreeMap::new();
            for (number, issued) in first.into_iter().enumerate() {
                write(&authority, folder.path(), &number.to_string(), &issued);
                model.insert(number.to_string(), issued);
            }
            let source = CertificateSource { serve_expired: true, ..CertificateSource::clone(&source(folder.path())) };
            let (store, _) = open_sources(&[Arc::new(source)], Arc::new(OpenGate)).await;
            for (number, issued) in later {
                write(&authority, folder.path(), &number.to_string(), &issued);
                model.insert(number.to_string(), issued);
                store.rescan().await;
            }
            for (query, known) in queries {
                let query = spell(query);
                let found = store.find(&query);
                let expected = expected(&model, &query);
                prop_assert_eq!(ids(&found), expected.iter().collect::<Vec<_>>(), "{}", query);
                let schemes: Vec<u16> = known.iter().map(|number| ALGORITHMS[*number].1).collect();
                // As the embedded policy chooses: the default is for names that nobody has.
                let default = if found.is_empty() { store.by_id(DEFAULT) } else { None };
                let chosen =
                    found.iter().chain(&default).find(|one| one.usable_with(&schemes, &[], &[0x0304], &[]));
                let default = DEFAULT.to_owned();
                let candidates = match expected.as_slice() {
                    [] if model.contains_key(DEFAULT) => std::slice::from_ref(&default),
                    named => named,
                };
                let expected = candidates.iter().find(|id| known.contains(&model[*id].algorithm));
                prop_assert_eq!(chosen.map(|one| one.id()), expected.map(String::as_str), "{} {:?}", query, known);
            }
            Ok(())
        })?;
    }
}
