//! A cursor over a slice that hands out integers, slices and the offsets of length-prefixed vectors.
//!
//! Both parsers are written in terms of it. Every method answers `None` instead of reading past the end; nothing in
//! here can panic. Offsets are those of the whole slice, so that a caller that keeps the bytes can keep ranges
//! instead of copies.

use std::ops::Range;

#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, end: bytes.len() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.position >= self.end
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        let &[value] = self.array()?;
        Some(value)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().copied().map(u16::from_be_bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        self.take(N)?.first_chunk()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        self.nested(length).map(|nested| nested.rest())
    }

    /// A reader confined to the next `length` bytes, over which this one moves on.
    pub(crate) fn nested(&mut self, length: usize) -> Option<Self> {
        let end = self.position.checked_add(length).filter(|end| *end <= self.end)?;
        let nested = Self { bytes: self.bytes, position: self.position, end };
        self.position = end;
        Some(nested)
    }

    /// A vector whose length is the byte before it: `opaque name<0..2^8-1>`.
    pub(crate) fn vector8(&mut self) -> Option<Self> {
        let length = self.u8()?;
        self.nested(length.into())
    }

    /// A vector whose length is the two bytes before it: `opaque name<0..2^16-1>`.
    pub(crate) fn vector16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.nested(length.into())
    }

    /// What is left, without consuming it.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.range()).unwrap_or_default()
    }

    /// Where what is left lies in the whole slice.
    pub(crate) fn range(&self) -> Range<usize> {
        self.position..self.end
    }
}
