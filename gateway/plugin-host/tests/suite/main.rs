//! The host, driven with guests written by hand in WebAssembly text: each does one thing, and no compiler is needed.

mod cache;
mod calls;
mod grants;
mod guest;
mod limits;
mod loading;
mod logging;
mod reuse;
mod views;
mod wasi;
