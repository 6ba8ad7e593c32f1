//! What the first-party policies in Rust read their settings with: JSON, and the kinds of values they share.
//!
//! The goal is an error that names the key and says what to write instead, in a guest that stays small: `configure` runs
//! in every fresh instance, so what it costs is paid on every handshake. Guests with serde_json (`examples/custom-policy`)
//! have 70 to 80 KB, those with this 35 to 55, and its errors give the column in a JSON text that the operator never wrote. The text comes from the
//! gateway and is therefore well-formed; text that is not ends in an error as well, never in a panic.
//!
//! ```
//! use handfast_policy_settings::{Refusal, read};
//!
//! let mut burst = 10;
//! let result = read(r#"{"burst": 0}"#, &mut |key, value| match key {
//!     "burst" => value.integer(1, 1_000).map(|wanted| burst = wanted),
//!     _ => Err(Refusal::unknown(&["burst"])),
//! });
//! let text = "`burst` is 0: write an integer from 1 to 1000";
//! assert_eq!(result.map_err(String::from), Err(text.to_owned()));
//! ```

#![cfg_attr(target_arch = "wasm32", no_std)]
#![warn(missing_docs)]

extern crate alloc;

mod answer;
mod json;
mod name;
mod network;
mod refusal;

pub use answer::Answer;
pub use json::{Value, read};
pub use name::Pattern;
pub use network::Network;
pub use refusal::{Refusal, decimal};
