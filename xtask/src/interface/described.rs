//! What the package has, as a policy sees it.
//!
//! What an interface is to a policy stands in the worlds: `policy` exports the hooks, `imports` has what every policy may
//! import, and what `policy` imports beyond that needs a grant of the interface's name.

use anyhow::{Context, Result, bail};
use wit_parser::{
    Docs, Function, Interface, PackageId, Resolve, Type, TypeDef, TypeDefKind, TypeId, World, WorldKey,
};

use super::signature;

/// What of the interface has no comment.
pub(super) fn uncommented(resolve: &Resolve, package: PackageId) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    let mut look = |docs: &Docs, name: String| {
        if docs.is_empty() {
            missing.push(name);
        }
    };
    look(&resolve.packages[package].docs, "the package".to_owned());
    for Described { name, interface, .. } in interfaces(resolve, package)? {
        look(&interface.docs, name.to_owned());
        for (type_name, definition) in types(resolve, interface) {
            look(&definition.docs, format!("{name}.{type_name}"));
            for part in parts(resolve, &definition.kind) {
                look(part.docs, format!("{name}.{type_name}.{}", part.name));
            }
        }
        for function in interface.functions.values() {
            look(&function.docs, format!("{name}.{}", function.name));
        }
    }
    for (name, id) in &resolve.packages[package].worlds {
        look(&resolve.worlds[*id].docs, format!("world {name}"));
    }
    Ok(missing)
}

/// What an interface is to a policy, in the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Exported: the gateway calls it.
    Export,
    /// No functions of its own: what the others speak of.
    Types,
    /// Imported by whoever likes.
    Import,
    /// Imported by the operator's leave.
    Granted,
}

pub(super) struct Described<'a> {
    pub(super) role: Role,
    pub(super) name: &'a str,
    pub(super) interface: &'a Interface,
}

impl Described<'_> {
    pub(super) fn heading(&self) -> String {
        let what = match self.role {
            Role::Export => "Export",
            Role::Types => "Interface",
            Role::Import | Role::Granted => "Import",
        };
        format!("{what} `{}`", self.name)
    }
}

pub(super) fn interfaces(resolve: &Resolve, package: PackageId) -> Result<Vec<Described<'_>>> {
    let (everything, always) = (world(resolve, package, "policy")?, world(resolve, package, "imports")?);
    let mut interfaces = Vec::new();
    for (name, id) in &resolve.packages[package].interfaces {
        let (interface, key) = (&resolve.interfaces[*id], WorldKey::Interface(*id));
        let role = if everything.exports.contains_key(&key) {
            Role::Export
        } else if !everything.imports.contains_key(&key) {
            bail!("the world `policy` has no interface `{name}`, and so no policy has");
        } else if functions(interface).next().is_none() {
            Role::Types
        } else if always.imports.contains_key(&key) {
            Role::Import
        } else {
            Role::Granted
        };
        interfaces.push(Described { role, name, interface });
    }
    interfaces.sort_by_key(|described| described.role);
    Ok(interfaces)
}

fn world<'a>(resolve: &'a Resolve, package: PackageId, name: &str) -> Result<&'a World> {
    let id = resolve.packages[package].worlds.get(name);
    id.map(|id| &resolve.worlds[*id]).with_context(|| format!("there is no world `{name}`"))
}

/// Functions that are not a resource's.
pub(super) fn functions(interface: &Interface) -> impl Iterator<Item = &Function> {
    interface.functions.values().filter(|function| function.kind.resource().is_none())
}

pub(super) fn methods(interface: &Interface, resource: TypeId) -> impl Iterator<Item = &Function> {
    interface.functions.values().filter(move |function| function.kind.resource() == Some(resource))
}

/// Its own types; what it `use`s has its heading elsewhere.
pub(super) fn types<'a>(
    resolve: &'a Resolve,
    interface: &'a Interface,
) -> impl Iterator<Item = (&'a str, &'a TypeDef)> {
    let own = interface.types.iter().map(|(name, id)| (name.as_str(), &resolve.types[*id]));
    own.filter(|(_, definition)| match definition.kind {
        TypeDefKind::Type(Type::Id(other)) => resolve.types[other].owner == definition.owner,
        _ => true,
    })
}

/// A field or a case.
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    /// The type of what it holds.
    pub(super) of: Option<String>,
    pub(super) docs: &'a Docs,
}

pub(super) fn parts<'a>(resolve: &Resolve, kind: &'a TypeDefKind) -> Vec<Part<'a>> {
    let of = |of: &Type| Some(signature::of_type(resolve, of));
    match kind {
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter();
            fields.map(|it| Part { name: &it.name, of: of(&it.ty), docs: &it.docs }).collect()
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter();
            cases.map(|it| Part { name: &it.name, of: it.ty.as_ref().and_then(of), docs: &it.docs }).collect()
        }
        TypeDefKind::Enum(cases) => {
            cases.cases.iter().map(|it| Part { name: &it.name, of: None, docs: &it.docs }).collect()
        }
        TypeDefKind::Flags(flags) => {
            flags.flags.iter().map(|it| Part { name: &it.name, of: None, docs: &it.docs }).collect()
        }
        _ => Vec::new(),
    }
}
