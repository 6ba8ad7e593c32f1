//! The allocator every Rust policy gets: made for an instance that lives for one call, safe for one that lives long.
//!
//! `memory.grow` is what to avoid: two `mprotect` calls, page faults, and shrinking the slot again afterwards made up most
//! of a 20 µs call with the standard allocator, which always grows. So blocks come from memory that is there anyway: a
//! static arena, then what the linker left of the last page, and only then new pages.
//!
//! A plain bump allocator would do for one call and leak under `instances = "reuse"`. dlmalloc behind it would not, but
//! is 4 KB of code that a default policy never runs. This one rounds sizes up to powers of two and keeps a list of freed
//! blocks for each: memory use is bounded by the most that was ever live of each size, at worst twice what was asked for.
//! Known weaknesses: blocks are never joined or split, and the end of the arena is lost when a block does not fit in it.

use core::{alloc::Layout, ptr};

/// 2^4 = 16 bytes is the smallest block: it holds the link of the free list and satisfies every common alignment.
const SMALLEST: u32 = 4;
const CLASSES: usize = 27;

/// Where a [`Heap`] gets its memory.
pub(crate) trait Memory {
    /// A region of any size, aligned to 16 bytes. Called again when it is not enough; must then bring at least `bytes`, or
    /// `None` when there is no more.
    fn more(&mut self, bytes: usize) -> Option<(*mut u8, usize)>;
}

pub(crate) struct Heap<M> {
    free: [*mut Free; CLASSES],
    next: usize,
    end: usize,
    region: *mut u8,
    memory: M,
}

/// A freed block; the rest of it is unused.
struct Free {
    next: *mut Free,
}

impl<M: Memory> Heap<M> {
    pub(crate) const fn new(memory: M) -> Self {
        Self { free: [ptr::null_mut(); CLASSES], next: 0, end: 0, region: ptr::null_mut(), memory }
    }

    /// Null when there is no more memory.
    pub(crate) fn allocate(&mut self, layout: Layout) -> *mut u8 {
        let Some((class, size)) = class(layout) else { return ptr::null_mut() };
        let Some(head) = self.free.get_mut(class) else { return ptr::null_mut() };
        let block = *head;
        // Blocks are aligned to 16 bytes; one that happens to be aligned for more is good for more.
        if !block.is_null() && block.addr().is_multiple_of(layout.align()) {
            // SAFETY: a block on the list was handed out by us, is at least 16 bytes, and `release` wrote its link.
            *head = unsafe { (*block).next };
            return block.cast();
        }
        self.carve(size, layout.align().max(1 << SMALLEST))
    }

    /// # Safety
    ///
    /// `block` came from `allocate` with this layout, and nothing uses it any more.
    pub(crate) unsafe fn release(&mut self, block: *mut u8, layout: Layout) {
        let Some(head) = class(layout).and_then(|(class, _)| self.free.get_mut(class)) else { return };
        let block = block.cast::<Free>();
        // SAFETY: the caller gives the block up; every block is at least 16 bytes, aligned to 16.
        unsafe { block.write(Free { next: *head }) };
        *head = block;
    }

    fn carve(&mut self, size: usize, align: usize) -> *mut u8 {
        loop {
            let start = (self.region.addr() + self.next).next_multiple_of(align) - self.region.addr();
            if let Some(after) = start.checked_add(size)
                && after <= self.end
            {
                self.next = after;
                return self.region.wrapping_add(start);
            }
            let Some((region, length)) = self.memory.more(size.saturating_add(align)) else {
                return ptr::null_mut();
            };
            if !self.region.is_null() && region == self.region.wrapping_add(self.end) {
                self.end += length;
            } else {
                (self.region, self.next, self.end) = (region, 0, length);
            }
        }
    }
}

/// Whether a block for `layout` is also the block for `wanted`.
fn same_block(layout: Layout, wanted: Layout) -> bool {
    layout.align() == wanted.align() && class(layout) == class(wanted)
}

/// The index of the free list, and the size of its blocks.
fn class(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size().max(1 << SMALLEST).checked_next_power_of_two()?;
    let class = (size.trailing_zeros() - SMALLEST) as usize;
    (class < CLASSES).then_some((class, size))
}

#[cfg(target_arch = "wasm32")]
mod guest {
    use core::{
        alloc::{GlobalAlloc, Layout},
        arch::wasm32::{memory_grow, memory_size},
        cell::UnsafeCell,
    };

    use super::{Heap, Memory, same_block};

    /// With a 32 KiB stack and a few KiB of data, an instance with this much still fits in one page of 64 KiB. A call of
    /// the embedded policy uses about 1 KiB.
    const ARENA: usize = 16 << 10;
    const PAGE: usize = 64 << 10;

    #[global_allocator]
    static ALLOCATOR: Allocator =
        Allocator(UnsafeCell::new(Heap::new(Linear { handed_out: Handed::Nothing })));

    struct Allocator(UnsafeCell<Heap<Linear>>);

    // SAFETY: this target has no threads (a build with atomics is refused below).
    unsafe impl Sync for Allocator {}

    #[cfg(target_feature = "atomics")]
    compile_error!("policies run on one thread: build without the atomics feature");

    // SAFETY: blocks are disjoint, as large and as aligned as asked for. The heap is borrowed only within one call of
    // these functions, and none of them calls anything that allocates.
    unsafe impl GlobalAlloc for Allocator {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: no other borrow, see above.
            unsafe { (*self.0.get()).allocate(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: no other borrow, see above; the rest is the caller's promise.
            unsafe { (*self.0.get()).release(block, layout) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            // SAFETY: the caller promises that `size` with this alignment is a valid layout.
            let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
            if same_block(layout, wanted) {
                return block;
            }
            // SAFETY: `wanted` is not of size zero, by the caller's promise.
            let moved = unsafe { self.alloc(wanted) };
            if !moved.is_null() {
                // SAFETY: both blocks are ours, disjoint and at least this large.
                unsafe { block.copy_to_nonoverlapping(moved, layout.size().min(size)) };
                // SAFETY: the block came from us with this layout; its content was copied.
                unsafe { self.dealloc(block, layout) };
            }
            moved
        }
    }

    struct Linear {
        handed_out: Handed,
    }

    enum Handed {
        Nothing,
        Arena,
        RestOfPage,
    }

    #[repr(align(16))]
    struct Arena(UnsafeCell<[u8; ARENA]>);

    // SAFETY: only its address is used here; the heap alone writes to it.
    unsafe impl Sync for Arena {}

    static RESERVED: Arena = Arena(UnsafeCell::new([0; ARENA]));

    unsafe extern "C" {
        /// The first address after stack and data; made by the linker, and aligned to 16 bytes.
        static mut __heap_base: u8;
    }

    impl Memory for Linear {
        fn more(&mut self, bytes: usize) -> Option<(*mut u8, usize)> {
            match self.handed_out {
                Handed::Nothing => {
                    self.handed_out = Handed::Arena;
                    Some((RESERVED.0.get().cast(), ARENA))
                }
                Handed::Arena => {
                    self.handed_out = Handed::RestOfPage;
                    let start = &raw mut __heap_base;
                    Some((start, (memory_size::<0>() * PAGE).saturating_sub(start.addr())))
                }
                Handed::RestOfPage => {
                    let pages = bytes.div_ceil(PAGE);
                    let first = memory_grow::<0>(pages);
                    if first == usize::MAX {
                        return None;
                    }
                    Some((core::ptr::with_exposed_provenance_mut(first * PAGE), pages * PAGE))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a vector in pieces of at most 1,000 bytes, contiguous, until it is used up.
    struct Pieces {
        memory: Vec<u128>,
        used: usize,
    }

    impl Pieces {
        fn new(bytes: usize) -> Self {
            Self { memory: vec![0; bytes / 16], used: 0 }
        }
    }

    impl Memory for Pieces {
        fn more(&mut self, bytes: usize) -> Option<(*mut u8, usize)> {
            let length = bytes.max(1008).next_multiple_of(16);
            let start = self.memory.as_mut_ptr().cast::<u8>().wrapping_add(self.used);
            self.used += length;
            (self.used <= self.memory.len() * 16).then_some((start, length))
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        let mut heap = Heap::new(Pieces::new(1 << 20));
        let mut blocks: Vec<(usize, usize)> = Vec::new();
        for round in 1..200_usize {
            let layout = layout(round * 7 % 300 + 1, 1 << (round % 8));
            let block = heap.allocate(layout);
            assert!(!block.is_null());
            assert_eq!(block.addr() % layout.align(), 0);
            blocks.push((block.addr(), block.addr() + layout.size()));
        }
        blocks.sort_unstable();
        assert!(blocks.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }

    #[test]
    fn a_long_life_of_the_same_work_needs_no_more_memory() {
        let mut heap = Heap::new(Pieces::new(64 << 10));
        let mut used = None;
        for _ in 0..10_000 {
            let layouts = [layout(9, 1), layout(200, 4), layout(70, 64), layout(3000, 8)];
            let blocks = layouts.map(|layout| (heap.allocate(layout), layout));
            for (block, layout) in blocks {
                assert!(!block.is_null());
                // SAFETY: it came from `allocate` with this layout, just above.
                unsafe { heap.release(block, layout) };
            }
            assert_eq!(*used.get_or_insert(heap.memory.used), heap.memory.used);
        }
    }

    #[test]
    fn the_end_of_memory_is_a_null_pointer() {
        let mut heap = Heap::new(Pieces::new(4 << 10));
        assert!(heap.allocate(layout(1 << 20, 8)).is_null());
        assert!(heap.allocate(layout(usize::MAX / 4, 8)).is_null());
    }

    #[test]
    fn a_block_stays_where_it_is_within_its_power_of_two() {
        assert!(same_block(layout(20, 1), layout(32, 1)));
        assert!(!same_block(layout(20, 1), layout(33, 1)));
        assert!(!same_block(layout(20, 1), layout(16, 1)));
    }
}
