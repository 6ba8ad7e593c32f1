//! The pages in `docs/` name everything there is: each key of the configuration, each field of an outcome line, each
//! metric; and the configuration they show is one that the gateway takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use handfast_tests::{Client, Gateway, Scene, eventually, handfast, plugin, repository};
use tempfile::TempDir;

#[test]
fn every_key_of_the_configuration_is_on_its_page_and_no_other() {
    let tables = configuration_tables(&configuration_source());
    assert!(tables.len() >= 10, "the source is not understood any more: {tables:#?}");
    let page = read("docs/configuration.md");
    let documented: BTreeMap<String, BTreeSet<String>> =
        sections(&page).map(|(table, text)| (table, first_column(text, "key").collect())).collect();
    assert_eq!(documented, tables);
}

#[test]
fn the_configuration_on_the_page_is_good() {
    let scene = Scene::new(&["shop.example"]);
    let folder = TempDir::new().expect("a scratch folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("plugins")).expect("a folder is made");
    for name in ["custom-policy", "tenants"] {
        fs::copy(plugin("custom-policy"), at(&format!("plugins/{name}.wasm"))).expect("a file is copied");
    }
    std::os::unix::fs::symlink(scene.certificates.path(), at("certificates")).expect("a symlink is made");
    for name in ["client-ca.pem", "keys-ca.pem"] {
        fs::write(at(name), scene.authority.root_pem()).expect("a file is written");
    }
    let page = read("docs/configuration.md").replace("/var/lib/handfast", "state");
    let text: String = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    fs::write(at("handfast.toml"), &text).expect("a file is written");
    let finished = handfast(folder.path(), &["check", "-c", "handfast.toml"]);
    assert_eq!(finished.code, Some(0), "{}\n{text}", finished.stderr);
    for (table, keys) in configuration_tables(&configuration_source()) {
        for key in keys {
            let shown = text.contains(&format!("\n{key} = ")) || text.contains(&format!(".{key}]"));
            assert!(shown || key == "name", "`{key}` of [{table}] is in no example");
        }
    }
}

#[test]
fn every_field_of_the_outcome_lines_is_on_its_page() {
    let page = read("docs/observation.md");
    for (source, heading) in [
        ("gateway/src/connection/outcome.rs", "## One line for each connection"),
        ("gateway/src/request_log.rs", "## One line for each request"),
    ] {
        let fields = logged_fields(&read(source));
        assert!(fields.len() > 10, "{source} is not understood any more: {fields:?}");
        let section = page.split(heading).nth(1).and_then(|rest| rest.split("\n## ").next());
        let section = section.unwrap_or_else(|| panic!("no {heading:?}"));
        let documented: BTreeSet<String> = first_column(section, "field").collect();
        for field in fields {
            assert!(documented.contains(&field), "`{field}` of {source} is not under {heading:?}");
        }
    }
}

#[test]
fn every_line_of_the_log_is_on_its_page_with_its_level_and_fields_and_no_other() {
    let page = read("docs/observation.md");
    let tables = page.split("\n\n").filter(|block| block.starts_with("| message"));
    let rows: Vec<&str> = tables.flat_map(|table| table.lines().skip(2)).collect();
    let mut written = BTreeMap::new();
    for folder in ["gateway/src", "gateway/plugin-host/src"] {
        for source in sources(&repository().join(folder)) {
            for Written { message, level, fields } in log_lines(&source) {
                let quoted = format!("`{message}`");
                let row =
                    rows.iter().find(|row| row.split(" | ").next().is_some_and(|it| it.contains(&quoted)));
                for field in fields.iter().filter(|_| row.is_some()) {
                    let is_there = row.is_some_and(|row| row.contains(&format!("`{field}`")));
                    assert!(is_there, "the row of {quoted} does not have the field `{field}`");
                }
                written.entry(message).or_insert_with(BTreeSet::new).insert(level.to_owned());
            }
        }
    }
    assert!(written.len() > 50, "the sources are not understood any more: {written:#?}");
    // These have a section each.
    for message in ["connection", "request"] {
        assert_eq!(written.remove(message), Some(BTreeSet::from(["info".to_owned()])), "{message}");
    }
    let mut documented = BTreeMap::new();
    for row in rows {
        let mut cells = row.split(" | ");
        let (messages, levels) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        let levels: BTreeSet<String> = levels.split(", ").map(str::to_owned).collect();
        for message in messages.split('`').skip(1).step_by(2) {
            assert!(documented.insert(message.to_owned(), levels.clone()).is_none(), "twice: {message}");
        }
    }
    assert_eq!(documented, written);
}

#[test]
fn every_metric_that_is_served_is_on_its_page_with_its_labels() {
    let scene = Scene::new(&["a.example"]);
    // What is counted of outgoing HTTP is there once a policy may make calls.
    let granted = "grants = [{ http = [\"http://10.0.0.7\"] }]\nconfig = { endpoint = \"http://10.0.0.7\" }";
    let config = || scene.config().policy("caller", &plugin("guest-caller"), granted);
    let gateway = Gateway::start(&config());
    Client::new().get(gateway.address("main"), "a.example", "/").expect("a response");
    gateway.wait_for("the connection", |line| line.is("connection"));
    gateway.reload(&config());
    let reloads = || gateway.metric("handfast_reloads_total", &[]);
    eventually("the reload to be counted", || (reloads() >= 1.0).then_some(()));
    let served = gateway.admin("/metrics").text();
    let page = read("docs/observation.md");
    let rows: BTreeMap<&str, &str> = page
        .lines()
        .filter(|line| line.starts_with("| `handfast_"))
        .filter_map(|line| Some((line.split('`').nth(1)?, line)))
        .collect();
    let types: Vec<(&str, &str)> =
        served.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind) in &types {
        let row = rows.get(name).unwrap_or_else(|| panic!("`{name}` is not in docs/observation.md"));
        assert!(row.contains(&format!("| {kind} |")), "`{name}` is a {kind}: {row}");
        for label in labels(&served, name) {
            assert!(row.contains(&format!("`{label}`")), "`{name}` has the label `{label}`: {row}");
        }
    }
    for name in rows.keys() {
        assert!(types.iter().any(|(served, _)| served == name), "`{name}` is documented and not served");
    }
}

#[test]
fn the_sources_and_pages_are_read_as_meant() {
    let source = r#"
        #[serde(rename_all = "kebab-case")]
        pub struct File {
            #[serde(default)]
            gateway: GatewayTable,
            #[serde(default, rename = "listener")]
            listeners: Vec<ListenerTable>,
            admin: Option<AdminTable>,
        }
        struct GatewayTable { handshake_timeout: Span }
        struct ListenerTable {
            name: Spanned<String>,
            #[serde(default)]
            client_certificates: Option<ClientCertificatesTable>,
        }
        struct ClientCertificatesTable { mode: Word }
        struct AdminTable { address: SocketAddr }
        struct Context<'a> { text: &'a str }
    "#;
    let tables = configuration_tables(source);
    let keys = |table: &str| tables[table].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(keys("gateway"), ["handshake-timeout"]);
    assert_eq!(keys("listener"), ["client-certificates", "name"]);
    assert_eq!(keys("listener.client-certificates"), ["mode"]);
    assert_eq!(keys("admin"), ["address"]);
    assert_eq!(tables.len(), 4);
    let fields =
        logged_fields("info!(\n target: \"t\",\n client = %x,\n status,\n reason = f(|a| a),\n \"m\"\n);");
    assert_eq!(fields.iter().map(String::as_str).collect::<Vec<_>>(), ["client", "reason", "status"]);
    let source = r#"
        fn f() {
            warn!(error = %cause(")"), source, "one (of two)");
            println!("no line");
            tracing::info!(
                target: "t",
                %at,
                ?wait,
                "the \"other\"",
            );
            report(&slot, "a third");
            warn!("{message}");
        }
        #[cfg(test)]
        mod tests { fn g() { error!("in a test"); } }
    "#;
    let line = |message: &str, level, fields: &[&str]| Written {
        message: message.to_owned(),
        level,
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    assert_eq!(
        log_lines(source),
        [
            line("one (of two)", "warn", &["error", "source"]),
            line("the \"other\"", "info", &["at", "wait"]),
            line("a third", "warn", &[]),
        ]
    );
    let page = "| a |
|---|
| `x` |

| field | |
|---|---|
| `a`, `b` | `c` |
| d |
";
    assert_eq!(first_column(page, "field").collect::<Vec<_>>(), ["a", "b"]);
}

/// The files with the structs that serde fills.
fn configuration_source() -> String {
    ["gateway/src/config/file.rs", "gateway/src/config/file/outgoing_http.rs"].map(read).concat()
}

fn read(path: &str) -> String {
    let path = repository().join(Path::new(path));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The keys of each table, by what the operator writes, from the structs that serde fills.
fn configuration_tables(source: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables = BTreeMap::new();
    let mut open: Vec<(String, String)> = vec![(String::new(), "File".to_owned())];
    while let Some((table, name)) = open.pop() {
        let mut keys = BTreeSet::new();
        for (key, kind) in fields(source, &name) {
            let inner = kind.rsplit('<').next().unwrap_or_default().trim_end_matches('>').to_owned();
            if inner.ends_with("Table") && source.contains(&format!("struct {inner}")) {
                let path = if table.is_empty() { key.clone() } else { format!("{table}.{key}") };
                open.push((path, inner));
            }
            keys.insert(key);
        }
        if !table.is_empty() {
            tables.insert(table, keys);
        }
    }
    tables
}

/// Key and type of each field of a struct.
fn fields(source: &str, name: &str) -> Vec<(String, String)> {
    let start = source.find(&format!("struct {name} {{")).unwrap_or_else(|| panic!("no struct {name}"));
    let body = source[start..].split_once('{').and_then(|(_, rest)| rest.split_once('}')).expect("a body").0;
    let mut renamed = None;
    let mut fields = Vec::new();
    for line in body.lines().map(|line| line.trim().trim_start_matches("pub(super) ")) {
        if line.starts_with("#[") {
            renamed = line.split("rename = \"").nth(1).and_then(|rest| rest.split('"').next()).or(renamed);
        } else if let Some((field, kind)) = line.split_once(": ")
            && !line.starts_with("//")
        {
            let key = renamed.take().map_or_else(|| field.replace('_', "-"), str::to_owned);
            fields.push((key, kind.trim_end_matches([',', ' ']).to_owned()));
        }
    }
    fields
}

/// The sections of the page whose heading is a table's name, each up to the next heading.
fn sections(page: &str) -> impl Iterator<Item = (String, &str)> {
    let starts = page.match_indices("\n#").map(|(start, _)| start + 1);
    starts.filter_map(|start| {
        let (heading, rest) = page[start..].split_once('\n')?;
        let name = heading.trim_start_matches('#').trim().strip_prefix('`')?.strip_suffix('`')?;
        let name = name.trim_matches(['[', ']']).to_owned();
        Some((name, rest.split("\n#").next().unwrap_or_default()))
    })
}

/// What stands in backquotes in the first column of the tables whose first column has this heading.
fn first_column(text: &str, heading: &str) -> impl Iterator<Item = String> {
    let heading = format!("| {heading} |");
    let tables = text.split("\n\n").filter(move |block| block.trim_start().starts_with(&heading));
    let cells = tables.flat_map(str::lines).filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    cells.flat_map(|cell| cell.split(['`', ',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned))
}

/// The names of the fields of the first `info!`.
fn logged_fields(source: &str) -> BTreeSet<String> {
    let body = source.split("info!(").nth(1).and_then(|rest| rest.split(");").next()).unwrap_or_default();
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with(['"', '/']));
    let names = lines.filter_map(|line| {
        let name = line.split([' ', ',']).next()?;
        let plain =
            !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        plain.then(|| name.to_owned())
    });
    names.collect()
}

/// The text of every source file below a folder, without those that only tests have.
fn sources(folder: &Path) -> Vec<String> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder is listed") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name is UTF-8");
        if path.is_dir() {
            sources.extend(sources_unless_tests(name, &path));
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.starts_with("test_") {
            sources.push(fs::read_to_string(&path).expect("a source is read"));
        }
    }
    sources
}

fn sources_unless_tests(name: &str, folder: &Path) -> Vec<String> {
    if name == "tests" { Vec::new() } else { sources(folder) }
}

/// What a source writes to the log.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    message: String,
    level: &'static str,
    fields: Vec<String>,
}

/// Every line of the log that a source writes. Functions named `report` pass a message on.
fn log_lines(source: &str) -> Vec<Written> {
    let source = source.split("#[cfg(test)]\n").next().unwrap_or_default();
    let mut found = Vec::new();
    for (call, level) in [
        ("error!(", "error"),
        ("warn!(", "warn"),
        ("info!(", "info"),
        ("debug!(", "debug"),
        ("trace!(", "trace"),
        ("report(", "warn"),
    ] {
        for (start, _) in source.match_indices(call) {
            let is_part_of_a_name =
                source[..start].ends_with(|before: char| before.is_alphanumeric() || before == '_');
            let mut arguments = arguments(&source[start + call.len()..]);
            let literal =
                arguments.pop().and_then(|last| Some(last.strip_prefix('"')?.strip_suffix('"')?.to_owned()));
            if let Some(literal) = literal.filter(|literal| !is_part_of_a_name && literal != "{message}") {
                let message = literal.replace("\\\"", "\"");
                let fields = if call == "report(" { Vec::new() } else { field_names(&arguments) };
                found.push((start, Written { message, level, fields }));
            }
        }
    }
    found.sort_by_key(|(start, _)| *start);
    found.into_iter().map(|(_, line)| line).collect()
}

/// `a = x`, `%a`, `?a` and `a` are all the field `a`.
fn field_names(arguments: &[String]) -> Vec<String> {
    let fields = arguments.iter().filter(|argument| !argument.starts_with("target:"));
    let name = |field: &String| {
        let name = field.split('=').next().unwrap_or_default();
        name.trim().trim_start_matches(['%', '?']).to_owned()
    };
    fields.map(name).collect()
}

/// The arguments of the call that the text is from the inside of, each as it is written.
fn arguments(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let (mut depth, mut is_quoted) = (0_u32, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let current = all.last_mut().expect("there is one");
        match character {
            '\\' if is_quoted => {
                current.push(character);
                current.extend(characters.next());
                continue;
            }
            '"' => is_quoted = !is_quoted,
            ')' | ']' | '}' if !is_quoted && depth == 0 => break,
            ')' | ']' | '}' if !is_quoted => depth -= 1,
            '(' | '[' | '{' if !is_quoted => depth += 1,
            ',' if !is_quoted && depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        current.push(character);
    }
    let trimmed = all.iter().map(|argument| argument.trim().to_owned());
    trimmed.filter(|argument| !argument.is_empty()).collect()
}

/// The labels of a metric's series, without the bounds of a histogram's buckets.
fn labels(served: &str, metric: &str) -> BTreeSet<String> {
    let series = served.lines().filter(|line| !line.starts_with('#') && line.starts_with(metric));
    let sets = series.filter_map(|line| {
        let (name, rest) = line.split_once('{')?;
        let suffix = name.strip_prefix(metric)?;
        ["_total", "_bucket", "_sum", "_count", ""].contains(&suffix).then_some(rest.split_once('}')?.0)
    });
    sets.flat_map(|set| set.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned())))
        .filter(|label| label != "le")
        .collect()
}
