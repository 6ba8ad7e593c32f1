//! Types and functions as WIT writes them.

use wit_parser::{Function, FunctionKind, Handle, Resolve, Type, TypeDefKind, TypeId};

/// Above this, each parameter has a line of its own.
const WIDTH: usize = 100;

/// `name: func(a: b) -> c`, as it stands in the file.
pub(super) fn function(resolve: &Resolve, function: &Function) -> String {
    let name = function.item_name();
    let result = function.result.map(|result| format!(" -> {}", of_type(resolve, &result)));
    let result = result.unwrap_or_default();
    let parameters = parameters(resolve, function);
    let line = format!("{name}: func({}){result}", parameters.join(", "));
    if line.len() <= WIDTH {
        return line;
    }
    let parameters = parameters.iter().map(|parameter| format!("    {parameter},\n"));
    format!("{name}: func(\n{}){result}", parameters.collect::<String>())
}

/// `name: type` each, without the object of a method.
pub(super) fn parameters(resolve: &Resolve, function: &Function) -> Vec<String> {
    let is_method = matches!(function.kind, FunctionKind::Method(_) | FunctionKind::AsyncMethod(_));
    let parameters = function.params.iter().skip(usize::from(is_method));
    parameters.map(|parameter| format!("{}: {}", parameter.name, of_type(resolve, &parameter.ty))).collect()
}

pub(super) fn of_type(resolve: &Resolve, of: &Type) -> String {
    let name = match of {
        Type::Id(id) => return defined(resolve, *id),
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
    };
    name.to_owned()
}

fn defined(resolve: &Resolve, id: TypeId) -> String {
    let definition = &resolve.types[id];
    match &definition.name {
        Some(name) => name.clone(),
        None => kind(resolve, &definition.kind),
    }
}

/// What stands behind a name, or where there is none.
pub(super) fn kind(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let of = |of: &Type| of_type(resolve, of);
    match kind {
        TypeDefKind::Type(other) => of(other),
        TypeDefKind::Handle(Handle::Own(id)) => defined(resolve, *id),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", defined(resolve, *id)),
        TypeDefKind::Option(some) => format!("option<{}>", of(some)),
        TypeDefKind::List(element) => format!("list<{}>", of(element)),
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", tuple.types.iter().map(of).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Result(result) => match (&result.ok, &result.err) {
            (None, None) => "result".to_owned(),
            (Some(ok), None) => format!("result<{}>", of(ok)),
            (None, Some(error)) => format!("result<_, {}>", of(error)),
            (Some(ok), Some(error)) => format!("result<{}, {}>", of(ok), of(error)),
        },
        // What the interface does not use is named by its kind.
        other => other.as_str().to_owned(),
    }
}
