//! How the page is laid out: contents, an example, hooks, what they look at, what can be imported, worlds.
//!
//! A table is for what is short; what says more than a line of a cell is a list.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use wit_parser::{
    Docs, Function, Interface, PackageId, Resolve, Stability, TypeDef, TypeDefKind, TypeId, WorldItem,
};

use super::described::{Described, Part, Role, functions, interfaces, methods, parts, types};
use super::prose::{Anchors, first_clause};
use super::{example, signature};

/// What a cell of a table holds, in characters.
const CELL: usize = 100;

/// The page. `example` is a section of its own behind the contents.
pub(super) fn write(resolve: &Resolve, package: PackageId, example: &str) -> Result<String> {
    let interfaces = interfaces(resolve, package)?;
    let anchors = anchors(resolve, package, &interfaces)?;
    let page = Page { resolve, package, interfaces, anchors };
    let mut text = page.head() + example;
    for interface in &page.interfaces {
        text.push_str(&page.interface(interface));
    }
    text.push_str(&page.worlds());
    Ok(text)
}

/// Every heading that something leads to. Fails on two that are alike, since only the first could be reached.
fn anchors(resolve: &Resolve, package: PackageId, interfaces: &[Described<'_>]) -> Result<Anchors> {
    let mut anchors = Anchors::default();
    let mut taken = BTreeSet::new();
    let mut take = |heading: String| -> Result<String> {
        let anchor = anchor(&heading);
        ensure!(taken.insert(anchor.clone()), "the page would have the heading `{heading}` twice");
        Ok(anchor)
    };
    // An interface before a function of its name.
    for described in interfaces {
        anchors.add(described.name, &take(described.heading())?);
    }
    for described in interfaces {
        for (name, definition) in types(resolve, described.interface) {
            anchors.add_type(name, &take(type_heading(name, definition))?);
        }
        for function in functions(described.interface) {
            anchors.add(&function.name, &take(function_heading(function))?);
        }
    }
    for name in resolve.packages[package].worlds.keys() {
        anchors.add(name, &take(world_heading(name))?);
    }
    Ok(anchors)
}

fn type_heading(name: &str, definition: &TypeDef) -> String {
    format!("{} `{name}`", definition.kind.as_str())
}

fn function_heading(function: &Function) -> String {
    format!("function `{}`", function.name)
}

fn world_heading(name: &str) -> String {
    format!("world `{name}`")
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
    kept.map(|character| if character == ' ' { '-' } else { character.to_ascii_lowercase() }).collect()
}

fn comment(docs: &Docs) -> &str {
    docs.contents.as_deref().unwrap_or_default()
}

/// From which version on something is there, where the interface says so.
fn since(stability: &Stability) -> String {
    match stability {
        Stability::Stable { since, deprecated: None } => format!(" *Since {since}.*"),
        Stability::Stable { since, deprecated: Some(deprecated) } => {
            format!(" *Since {since}, deprecated since {deprecated}.*")
        }
        Stability::Unstable { feature, .. } => format!(" *Not settled yet: feature `{feature}`.*"),
        Stability::Unknown => String::new(),
    }
}

struct Page<'a> {
    resolve: &'a Resolve,
    package: PackageId,
    interfaces: Vec<Described<'a>>,
    anchors: Anchors,
}

impl Page<'_> {
    fn head(&self) -> String {
        let package = &self.resolve.packages[self.package];
        let exports = self.contents(&["interface", ""], Role::Export);
        let types = self.contents(&["interface", ""], Role::Types);
        let imports = self.contents(&["interface", "", "granted by"], Role::Import);
        let about = self.anchors.block(comment(&package.docs), "");
        let name = &package.name;
        format!(
            "# The policy interface\n\n\
             <!-- Written from wit/v1/policy.wit by `cargo xtask interface`: change that file and run it. -->\n\n\
             The package `{name}`, as [`wit/v1/policy.wit`](../../wit/v1/policy.wit) has it.\n\n\
             {about}\n\
             ## Contents\n\n\
             What a policy exports, any of it:\n\n{exports}\n\
             What it is given to look at:\n\n{types}\n\
             What it may import. A policy that imports what it was not granted is refused when it is loaded, with the line \
             to add to its\ntable in the [configuration](../configuration.md#policy):\n\n{imports}{HTTP}\n\
             [Worlds](#worlds) are what generators of bindings start from.\n\n",
        )
    }

    /// A table of the interfaces of a role; of `Import` those that must be granted as well.
    fn contents(&self, columns: &[&str], role: Role) -> String {
        let is_listed = |described: &&Described<'_>| {
            described.role == role || (role == Role::Import && described.role == Role::Granted)
        };
        let rows = self.interfaces.iter().filter(is_listed).map(|described| {
            let Described { role, name, interface } = described;
            let mut cells = vec![
                format!("[`{name}`](#{})", anchor(&described.heading())),
                self.anchors.cell(&first_clause(comment(&interface.docs)), ""),
            ];
            match role {
                Role::Export | Role::Types => {}
                Role::Import => cells.push("always there".to_owned()),
                Role::Granted => cells.push(format!("`grants = [\"{name}\"]`")),
            }
            cells
        });
        table(columns, rows)
    }

    /// Where to go on within an interface that is longer than a screen.
    fn inside(&self, interface: &Interface) -> String {
        let functions = functions(interface).map(|it| (it.name.as_str(), function_heading(it)));
        let types = types(self.resolve, interface).map(|(name, it)| (name, type_heading(name, it)));
        let links =
            functions.chain(types).map(|(name, heading)| format!("[`{name}`](#{})", anchor(&heading)));
        match links.collect::<Vec<_>>() {
            links if links.len() > 3 => format!("In it: {}.\n\n", links.join(", ")),
            _ => String::new(),
        }
    }

    fn interface(&self, described: &Described<'_>) -> String {
        let (heading, interface) = (described.heading(), described.interface);
        let mut text = self.section("##", &heading, &interface.docs, &interface.stability);
        text.push_str(&self.inside(interface));
        text.push_str(&example::uses(described.name).unwrap_or_default());
        for function in functions(interface) {
            text.push_str(&self.function(function));
        }
        for (name, id) in &interface.types {
            let definition = &self.resolve.types[*id];
            if types(self.resolve, interface).any(|(own, _)| own == name) {
                text.push_str(&self.definition(name, *id, definition, interface));
            }
        }
        text
    }

    /// A heading and what the comment says.
    fn section(&self, level: &str, heading: &str, docs: &Docs, stability: &Stability) -> String {
        let comment = format!("{}{}", comment(docs), since(stability));
        format!("{level} {heading}\n\n{}\n", self.anchors.block(&comment, &anchor(heading)))
    }

    fn function(&self, function: &Function) -> String {
        let heading = function_heading(function);
        let whole = signature::function(self.resolve, function);
        let comment = format!("{}{}", comment(&function.docs), since(&function.stability));
        let about = self.anchors.block(&comment, &anchor(&heading));
        let mut text = format!("### {heading}\n\n```wit\n{whole}\n```\n\n{about}\n");
        let mentioned = function.parameter_and_result_types();
        let mentioned =
            mentioned.map(|of| signature::of_type(self.resolve, &of)).collect::<Vec<_>>().join(" ");
        let mut links: Vec<String> = Vec::new();
        for (name, anchor) in self.anchors.types_in(&mentioned) {
            let link = format!("[`{name}`](#{anchor})");
            if !links.contains(&link) {
                links.push(link);
            }
        }
        if !links.is_empty() {
            text.push_str(&format!("Types: {}\n\n", links.join(", ")));
        }
        text
    }

    fn definition(&self, name: &str, id: TypeId, definition: &TypeDef, interface: &Interface) -> String {
        let heading = type_heading(name, definition);
        let here = anchor(&heading);
        let text = self.section("###", &heading, &definition.docs, &definition.stability);
        let parts = parts(self.resolve, &definition.kind);
        let entries = || parts.iter().map(|part| self.part(part));
        let inside = match definition.kind {
            TypeDefKind::Resource => {
                let methods = methods(interface, id).map(|method| self.method(method));
                self.entries("method", "answer", methods.collect(), &here)
            }
            TypeDefKind::Record(_) => self.entries("field", "type", entries().collect(), &here),
            TypeDefKind::Variant(_) | TypeDefKind::Enum(_) | TypeDefKind::Flags(_) => {
                self.entries("case", "with", entries().collect(), &here)
            }
            _ => format!("```wit\ntype {name} = {}\n```\n", signature::kind(self.resolve, &definition.kind)),
        };
        format!("{text}{inside}\n")
    }

    fn part(&self, part: &Part<'_>) -> Entry {
        let of = part.of.as_deref().map(|of| self.anchors.of_type(of)).unwrap_or_default();
        Entry { name: format!("`{}`", part.name), of, about: comment(part.docs).to_owned() }
    }

    fn method(&self, method: &Function) -> Entry {
        let parameters = signature::parameters(self.resolve, method);
        let name = match parameters.as_slice() {
            [] => format!("`{}`", method.item_name()),
            _ => format!("`{}({})`", method.item_name(), parameters.join(", ")),
        };
        let result = method.result.map(|of| self.anchors.of_type(&signature::of_type(self.resolve, &of)));
        let about = format!("{}{}", comment(&method.docs), since(&method.stability));
        Entry { name, of: result.unwrap_or_default(), about }
    }

    /// A table, or a list where one of them has more to say than fits into a cell.
    fn entries(&self, what: &str, of: &str, entries: Vec<Entry>, here: &str) -> String {
        if entries.iter().any(|entry| entry.about.chars().count() > CELL) {
            let items = entries.iter().map(|Entry { name, of, about }| {
                let head = if of.is_empty() { name.clone() } else { format!("{name}: {of}") };
                self.anchors.item(&format!("**{head}**"), about, here)
            });
            return items.collect();
        }
        let has_of = entries.iter().any(|entry| !entry.of.is_empty());
        let columns: &[&str] = if has_of { &[what, of, ""] } else { &[what, ""] };
        let rows = entries.into_iter().map(|Entry { name, of, about }| {
            let about = self.anchors.cell(&about, here);
            if has_of { vec![name, of, about] } else { vec![name, about] }
        });
        table(columns, rows)
    }

    fn worlds(&self) -> String {
        let mut text = "## Worlds\n".to_owned();
        for (name, id) in &self.resolve.packages[self.package].worlds {
            let world = &self.resolve.worlds[*id];
            let section = self.section("###", &world_heading(name), &world.docs, &world.stability);
            text.push_str(&format!("\n{section}| | |\n|---|---|\n"));
            for (what, items) in [("imports", &world.imports), ("exports", &world.exports)] {
                if !items.is_empty() {
                    text.push_str(&format!("| {what} | {} |\n", self.items(items.values())));
                }
            }
        }
        text
    }

    fn items<'i>(&self, items: impl Iterator<Item = &'i WorldItem>) -> String {
        let links = items.filter_map(|item| match item {
            WorldItem::Interface { id, .. } => {
                let own = &self.resolve.interfaces[*id];
                let described = self.interfaces.iter().find(|it| std::ptr::eq(it.interface, own))?;
                Some(format!("[`{}`](#{})", described.name, anchor(&described.heading())))
            }
            // The interface keeps its functions and types out of worlds: Python's runtime has a `select` of its own.
            WorldItem::Function(_) | WorldItem::Type { .. } => None,
        });
        links.collect::<Vec<_>>().join(", ")
    }
}

/// The row of the one import that is not of this package.
const HTTP: &str = "| [`wasi:http`](#world-granted-imports) | Calls of hosts on a list: `outgoing-handler` and `types` of \
    0.2, within [bounds](http.md). | `grants = [{ http = [\"keys.example.com\"] }]` |\n";

/// A method, a field or a case, before it is known how it is shown.
struct Entry {
    name: String,
    /// The type that goes with it; empty without one.
    of: String,
    about: String,
}

fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_what_is_left_of_a_heading() {
        assert_eq!(anchor("Import `key-value`"), "import-key-value");
        assert_eq!(anchor("What a policy may do: all"), "what-a-policy-may-do-all");
    }

    #[test]
    fn what_is_longer_than_a_cell_makes_a_list_of_them() {
        let mut resolve = Resolve::default();
        let long = "word ".repeat(40);
        let text = format!(
            "package a:b@1.0.0;
            interface log {{ resource line {{
                /// Short.
                length: func() -> u32;
                /// {long}
                text: func(start: u32) -> string; }} }}
            world imports {{ import log; }}
            world policy {{ include imports; }}"
        );
        let package = resolve.push_str("a.wit", &text).unwrap();
        let page = write(&resolve, package, "").unwrap();
        assert!(
            page.contains("- **`length`: `u32`** Short.\n- **`text(start: u32)`: `string`** word"),
            "{page}"
        );
        assert!(page.lines().all(|line| line.chars().count() < 200), "{page}");
    }

    #[test]
    fn a_world_tells_what_must_be_granted() {
        let mut resolve = Resolve::default();
        let text = "/// Package.
            package a:b@1.0.0;
            interface things { resource thing { at: func(index: u32) -> option<thing>; } }
            interface log { write: func(line: string); }
            interface store { use things.{thing}; @since(version = 1.0.0) put: func(it: borrow<thing>) -> result<_, string>; }
            interface select { use things.{thing}; select: func(it: borrow<thing>); }
            world imports { import things; import log; }
            world policy { include imports; import store; export select; }";
        let package = resolve.push_str("a.wit", text).unwrap();
        let page = write(&resolve, package, "## A whole policy\n\n").unwrap();
        for part in [
            "| [`log`](#import-log) |  | always there |",
            "| [`store`](#import-store) |  | `grants = [\"store\"]` |",
            "| [`wasi:http`](#world-granted-imports) |",
            "## A whole policy\n\n## Export `select`",
            "Examples: [a canary in Rust]",
            "## Export `select`",
            "| `at(index: u32)` | [`option<thing>`](#resource-thing) |",
            "put: func(it: borrow<thing>) -> result<_, string>",
            "*Since 1.0.0.*",
            "Types: [`thing`](#resource-thing)",
            "| exports | [`select`](#export-select) |",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }
}
