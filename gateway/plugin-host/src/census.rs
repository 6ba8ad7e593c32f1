//! How much is in a component, counted before anything is compiled.
//!
//! The compiler's work grows with the number of things, and a thing takes few bytes: an empty function four. So numbers
//! are bounded that no honest component comes near (CPython, the largest known, has 13,443 functions and 11,000 of
//! everything else). Nothing is validated here: a section that makes no sense is left to the compiler's own parser,
//! which reads the same counts and ends there.

use crate::error::LoadError;

/// Functions with a body, of all modules together.
const FUNCTIONS: u64 = 40_000;
/// Types, imports, exports, globals, aliases and whatever else a section counts.
const ITEMS: u64 = 100_000;
/// Pieces of what memories begin with, of all modules together. Go's linker leaves out runs of zeros until there are 100,000 of
/// these, which are all that browsers take of a module, and does so in every program of some size.
const DATA_SEGMENTS: u64 = 100_000;
/// Imports of one component, which the compiler's parser has as its instances, and of those no more.
const IMPORTS: u64 = 1_000;
/// Core modules. CPython with its libraries has 38.
const MODULES: u64 = 200;
/// Components within components.
const DEPTH: usize = 8;

/// Counts what is in a component, in binary form.
pub(crate) fn check(component: &[u8]) -> Result<(), LoadError> {
    let mut census = Census::default();
    census.count(component, 0);
    for (what, count, most) in [
        ("functions", census.functions, FUNCTIONS),
        ("imports", census.imports, IMPORTS),
        ("core modules", census.modules, MODULES),
        ("types, imports, exports and other items", census.items, ITEMS),
        ("data segments", census.data_segments, DATA_SEGMENTS),
        ("levels of components in components", census.depth, DEPTH as u64),
    ] {
        if count > most {
            return Err(LoadError::TooMany { what, count, most });
        }
    }
    Ok(())
}

#[derive(Default)]
struct Census {
    functions: u64,
    /// Of the component that has most.
    imports: u64,
    items: u64,
    data_segments: u64,
    modules: u64,
    depth: u64,
}

// Sections of components (component model, Binary.md) that hold what a census is taken of.
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;
const IMPORT: u8 = 10;
// Sections of core modules that do not begin with a count of things: custom, start.
const CUSTOM: u8 = 0;
const START: u8 = 8;
const FUNCTION: u8 = 3;
/// The same functions again, and the number of data segments again.
const CODE: u8 = 10;
const DATA: u8 = 11;
const DATA_COUNT: u8 = 12;

impl Census {
    fn count(&mut self, bytes: &[u8], depth: usize) {
        self.depth = self.depth.max(depth as u64);
        if depth > DEPTH {
            return;
        }
        // The preamble: magic and version, then the layer (0 is a core module).
        let Some((preamble, mut rest)) = bytes.split_at_checked(8) else { return };
        let is_module = preamble.get(6..) == Some(&[0, 0]);
        self.modules += u64::from(is_module);
        let mut imports = 0_u64;
        while let Some((section, body)) = rest.split_first() {
            let Some((length, body)) = leb128(body) else { return };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some((body, after)) = body.split_at_checked(length) else { return };
            rest = after;
            match *section {
                CUSTOM => {}
                CORE_MODULE | COMPONENT if !is_module => self.count(body, depth + 1),
                START | CODE | DATA_COUNT if is_module => {}
                FUNCTION if is_module => self.functions = self.functions.saturating_add(first(body)),
                DATA if is_module => self.data_segments = self.data_segments.saturating_add(first(body)),
                _ => self.items = self.items.saturating_add(first(body)),
            }
            if *section == IMPORT && !is_module {
                imports = imports.saturating_add(first(body));
            }
            self.imports = self.imports.max(imports);
        }
    }
}

fn first(body: &[u8]) -> u64 {
    leb128(body).map_or(0, |(count, _)| count)
}

/// An unsigned number of at most 32 bits, and what follows it.
fn leb128(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (position, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(position + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        check(&wat::parse_str(text).unwrap()).err().map(|error| error.to_string())
    }

    #[test]
    fn functions_of_all_modules_are_counted_together() {
        let module = |functions| format!("(core module {})", "(func)".repeat(functions));
        assert_eq!(refused(&format!("(component {})", module(40_000))), None);
        let error = refused(&format!("(component {} (component {}))", module(20_000), module(20_001)));
        assert!(error.unwrap().contains("40001 functions; at most 40000"));
    }

    #[test]
    fn other_items_modules_and_depth_are_bounded_too() {
        let many = |what: &str, count| format!("(component {})", what.repeat(count));
        assert!(refused(&many("(core module (global i32 (i32.const 0)))", 200)).is_none());
        assert!(refused(&many("(core module)", 201)).unwrap().contains("201 core modules"));
        let globals = "(global i32 (i32.const 0))".repeat(100_001);
        assert!(refused(&format!("(component (core module {globals}))")).unwrap().contains("100001 types"));
        let segments = |number| {
            format!("(component (core module (memory 1) {}))", "(data (i32.const 0) \"\")".repeat(number))
        };
        assert!(refused(&segments(100_000)).is_none());
        assert!(refused(&segments(100_001)).unwrap().contains("100001 data segments"));
        let imports = |number: usize| {
            let import = |at| format!("(import \"a:b/c{at}\" (instance))");
            format!("(component {})", (0..number).map(import).collect::<String>())
        };
        assert!(refused(&imports(1_000)).is_none());
        assert!(refused(&imports(1_001)).unwrap().contains("1001 imports; at most 1000"));
        let nested = |depth| format!("{}{}", "(component ".repeat(depth), ")".repeat(depth));
        assert!(refused(&nested(9)).is_none() && refused(&nested(10)).unwrap().contains("levels"));
    }

    #[test]
    fn what_makes_no_sense_is_left_to_the_parser() {
        for bytes in [
            &b"\0asm\x0d\0\x01\0"[..],
            b"\0asm",
            b"\0asm\x0d\0\x01\0\x01\xff\xff\xff\xff\xff\xff",
            b"\0asm\x0d\0\x01\0\x01\x7f",
            b"\0asm\x0d\0\x01\0\x07\0",
        ] {
            assert!(check(bytes).is_ok(), "{bytes:?}");
        }
    }
}
