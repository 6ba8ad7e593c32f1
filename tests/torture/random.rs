//! Chance that a seed repeats.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): eight lines, and the same sequence in every version of every library.

pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each `stream` of a seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed);
        random.0 = random.next().wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random
    }

    /// One of `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The bias is below 2^-58 for the bounds in use.
        usize::try_from(self.next() % bound as u64).expect("less than a usize")
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Draws every item once before any comes again.
pub(crate) struct Bag<T: 'static> {
    items: &'static [T],
    left: Vec<T>,
}

impl<T: Copy> Bag<T> {
    pub(crate) fn new(items: &'static [T]) -> Self {
        Self { items, left: Vec::new() }
    }

    pub(crate) fn draw(&mut self, random: &mut Random) -> T {
        if self.left.is_empty() {
            self.left.extend_from_slice(self.items);
        }
        let index = random.below(self.left.len());
        self.left.swap_remove(index)
    }
}
