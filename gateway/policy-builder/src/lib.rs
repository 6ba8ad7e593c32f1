//! From nothing to a policy's component: a folder to begin with, the toolchain of its language, the encoding.
//!
//! Called by `handfast policy new` and `handfast policy build`, and by `cargo xtask`, which builds the policies of the
//! repository the way users build theirs. It runs compilers and reads what they leave. It never runs a policy, and does
//! not know wasmtime: whether a component may be loaded is for `handfast-plugin-host` to say.

#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

mod component;
mod language;
mod project;
mod template;
mod tool;
mod version;

pub use component::{ComponentError, from_module, imports, replace, without_names};
pub use language::{Dialect, Language, UnknownLanguage};
pub use project::{BuildError, Project, ProjectError};
pub use template::{TemplateError, create, preparation};
pub use tool::{GO, Lack, Tool, ToolError, ZIG};
