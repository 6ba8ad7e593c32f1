//! Lines in the gateway's log, under the policy's name. Always available.
//!
//! ```
//! use handfast_policy::log;
//!
//! log::info!("{} certificates expire this week", 3);
//! ```

pub use crate::bindings::imports::handfast::policy::log::Level;
use crate::gateway;
#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};

/// At most 1,024 bytes of a message are kept, and at most 16 messages a call.
pub fn write(level: Level, message: &str) {
    gateway::log::write(level, message);
}

// A message without arguments stays a `&'static str`: no allocation and, where all are like that, no formatting machinery.
#[doc(hidden)]
pub fn format(level: Level, message: core::fmt::Arguments<'_>) {
    match message.as_str() {
        Some(message) => write(level, message),
        None => write(level, &alloc::fmt::format(message)),
    }
}

/// Writes a line at trace level; the arguments are those of [`format!`](alloc::format).
#[macro_export]
#[doc(hidden)]
macro_rules! __log_trace {
    ($($argument:tt)+) => { $crate::log::format($crate::log::Level::Trace, ::core::format_args!($($argument)+)) };
}

/// Writes a line at debug level; the arguments are those of [`format!`](alloc::format).
#[macro_export]
#[doc(hidden)]
macro_rules! __log_debug {
    ($($argument:tt)+) => { $crate::log::format($crate::log::Level::Debug, ::core::format_args!($($argument)+)) };
}

/// Writes a line at info level; the arguments are those of [`format!`](alloc::format).
#[macro_export]
#[doc(hidden)]
macro_rules! __log_info {
    ($($argument:tt)+) => { $crate::log::format($crate::log::Level::Info, ::core::format_args!($($argument)+)) };
}

/// Writes a line at warn level; the arguments are those of [`format!`](alloc::format).
#[macro_export]
#[doc(hidden)]
macro_rules! __log_warn {
    ($($argument:tt)+) => { $crate::log::format($crate::log::Level::Warn, ::core::format_args!($($argument)+)) };
}

/// Writes a line at error level; the arguments are those of [`format!`](alloc::format).
#[macro_export]
#[doc(hidden)]
macro_rules! __log_error {
    ($($argument:tt)+) => { $crate::log::format($crate::log::Level::Error, ::core::format_args!($($argument)+)) };
}
