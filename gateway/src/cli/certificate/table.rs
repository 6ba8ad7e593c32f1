//! Certificates as people read them: a table of all, or everything about one.

use crate::admin::certificates::Item;

use super::super::Failure;
use super::super::output::{Output, printable};

const COLUMNS: [&str; 7] = ["ID", "NAMES", "ALGORITHM", "DAYS LEFT", "SOURCE", "STATE", "LAST ERROR"];

/// Names that fit into this are listed; the number of others follows.
const NAMES_WIDTH: usize = 40;

pub(super) type Row = [String; 7];

/// The cells of a certificate.
pub(super) fn row(item: &Item) -> Row {
    let cell = |text: Option<&str>| printable(text.unwrap_or("-")).into_owned();
    [
        cell(Some(&item.id)),
        printable(&names(&item.names)).into_owned(),
        algorithm(item),
        item.days_left.map_or_else(|| "-".to_owned(), |days| days.to_string()),
        cell(Some(&item.source)),
        state(&item.state),
        cell(item.error.as_deref()),
    ]
}

/// Prints rows below their headings, each column as wide as it has to be.
pub(super) fn print(rows: &[Row], out: &mut Output) -> Result<(), Failure> {
    if rows.is_empty() {
        return out.line(format_args!("no certificates"));
    }
    let headings = COLUMNS.map(str::to_owned);
    let mut widths = [0; 7];
    for row in rows.iter().chain([&headings]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in [&headings].into_iter().chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        out.line(format_args!("{}", line.trim_end()))?;
    }
    Ok(())
}

/// Everything about one certificate, one fact a line.
pub(super) fn describe(item: &Item, out: &mut Output) -> Result<(), Failure> {
    let mut fact = |name: &str, value: &str| out.line(format_args!("{name:<14}{}", printable(value)));
    fact("id", &item.id)?;
    fact("state", &state(&item.state))?;
    if let Some(error) = &item.error {
        fact("last error", error)?;
    }
    fact("source", &item.source)?;
    fact("required", if item.required { "yes" } else { "no" })?;
    for (number, file) in item.files.iter().enumerate() {
        fact(if number == 0 { "files" } else { "" }, file)?;
    }
    for (number, name) in item.names.iter().enumerate() {
        fact(if number == 0 { "names" } else { "" }, name)?;
    }
    if item.algorithm.is_some() {
        fact("algorithm", &algorithm(item))?;
    }
    if let Some(not_before) = &item.not_before {
        fact("valid from", not_before)?;
    }
    if let (Some(not_after), Some(days)) = (&item.not_after, item.days_left) {
        let days = if days < 0 { "expired".to_owned() } else { format!("days left: {days}") };
        fact("valid until", &format!("{not_after} ({days})"))?;
    }
    for (name, value) in [("issuer", &item.issuer), ("serial", &item.serial), ("sha-256", &item.fingerprint)]
    {
        if let Some(value) = value {
            fact(name, value)?;
        }
    }
    for (number, link) in item.chain.iter().flatten().enumerate() {
        let value = format!("{}. {}, until {}", number + 1, link.subject, link.not_after);
        fact(if number == 0 { "chain" } else { "" }, &value)?;
    }
    match (item.ocsp.as_deref(), &item.ocsp_until) {
        (None | Some("none"), _) => {}
        (Some(status), Some(until)) => fact("ocsp", &format!("{status}, until {until}"))?,
        (Some(status), None) => fact("ocsp", status)?,
    }
    if let Some(error) = &item.ocsp_error {
        fact("ocsp error", error)?;
    }
    for (number, (key, value)) in item.tags.iter().enumerate() {
        fact(if number == 0 { "tags" } else { "" }, &format!("{key} = {value}"))?;
    }
    Ok(())
}

/// As many as fit, at least one.
fn names(names: &[String]) -> String {
    let Some((first, others)) = names.split_first() else { return "-".to_owned() };
    let mut text = first.clone();
    for (told, name) in others.iter().enumerate() {
        if text.len() + name.len() + 2 > NAMES_WIDTH {
            text.push_str(&format!(" +{}", others.len() - told));
            break;
        }
        text.push_str(", ");
        text.push_str(name);
    }
    text
}

fn algorithm(item: &Item) -> String {
    match (item.algorithm.as_deref(), item.key_bits) {
        (None, _) => "-".to_owned(),
        (Some("rsa"), Some(bits)) => format!("RSA {bits}"),
        (Some("ecdsa-p256"), _) => "ECDSA P-256".to_owned(),
        (Some("ecdsa-p384"), _) => "ECDSA P-384".to_owned(),
        (Some("ecdsa-p521"), _) => "ECDSA P-521".to_owned(),
        (Some("ed25519"), _) => "Ed25519".to_owned(),
        (Some(other), _) => printable(other).into_owned(),
    }
}

fn state(word: &str) -> String {
    printable(&word.replace('-', " ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_names_are_told_as_fit() {
        let all = |list: &[&str]| names(&list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(all(&[]), "-");
        assert_eq!(all(&["a.example", "b.example"]), "a.example, b.example");
        let long = "x".repeat(50);
        assert_eq!(all(&[&long, "b.example"]), format!("{long} +1"));
        assert_eq!(all(&["a.example", &long, "c.example"]), "a.example +2");
    }
}
