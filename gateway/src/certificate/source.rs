//! Where certificates come from.
//!
//! A source says which pairs exist and where their files are; the store reads them. There is one kind so far, the
//! [`directory`], which knows the ways to lay out a pair (`layout`). [`watch`] tells the store early that something changed; nothing depends on it.

pub mod directory;
pub mod watch;

mod layout;
