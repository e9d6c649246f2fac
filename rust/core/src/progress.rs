//! The shared page: how far the work is, and whether it should stop, readable and settable by another process
//! at any moment without a call.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use crate::transfer::THREADS_MAX;

/// Length of a page in 64-bit words: 512 bytes, far below the smallest memory page, with room for what comes.
pub const WORDS: usize = 64;

const CANCEL: usize = 0;
const READ: usize = 1;
const WRITTEN: usize = 2;
const VERIFIED: usize = 3;
const OPERATIONS: usize = 4;
/// The first of as many words as a call may have threads.
const ITEM: usize = 5;
const HASHED: usize = ITEM + THREADS_MAX;
/// The first of as many words as are left, one for each root of a call; the last is that of all further roots.
pub(crate) const MOVED: usize = HASHED + 1;
const ROOTS: usize = WORDS - MOVED;
const _: () = assert!(MOVED < WORDS);

/// A view of a page's words, together with whatever keeps their memory alive.
///
/// All accesses are atomic and relaxed: each word stands for itself, and no other memory is published by it.
pub struct Page {
    words: NonNull<AtomicU64>,
    /// The root of a call that what moves counts for.
    root: Option<usize>,
    _owner: Box<dyn Any + Send + Sync>,
}

// SAFETY: the words are only ever touched through `AtomicU64`, whose operations are safe from any thread (and
// any process that maps them), and the owner that keeps them alive is itself `Send`.
unsafe impl Send for Page {}
// SAFETY: as above; `&Page` gives nothing but atomic access.
unsafe impl Sync for Page {}

impl Page {
    /// A page of its own, that only this process sees.
    #[must_use]
    pub fn private() -> Self {
        let words: Arc<[AtomicU64]> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let first = NonNull::from(words.as_ref()).cast();
        Self { words: first, root: None, _owner: Box::new(words) }
    }

    /// A page over memory that `owner` keeps alive.
    ///
    /// # Safety
    ///
    /// `words` must point to [`WORDS`] writable 64-bit words, aligned to 8 bytes, that stay where they are and
    /// stay valid until `owner` is dropped, and that everyone else accesses only as whole words.
    #[must_use]
    pub unsafe fn over(words: NonNull<u64>, owner: Box<dyn Any + Send + Sync>) -> Self {
        Self { words: words.cast(), root: None, _owner: owner }
    }

    /// The same page, on which bytes that move count for a root of the call, too, if there is one.
    pub(crate) fn at(&self, root: impl Into<Option<usize>>) -> At<'_> {
        At { page: Self { words: self.words, root: root.into(), _owner: Box::new(()) }, _of: PhantomData }
    }

    /// The root that bytes count for.
    pub(crate) fn root(&self) -> Option<usize> {
        self.root
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < WORDS);
        // SAFETY: both constructors give `WORDS` aligned words that live as long as the owner, which `self`
        // holds, or (`at`) the page that it borrows; every index used in this module is below `WORDS`: a constant,
        // a thread's word (at most `ITEM + THREADS_MAX - 1`), a root's (at most `WORDS - 1`), or one of `words()`.
        unsafe { self.words.add(index).as_ref() }
    }

    /// All words, each as it is at this moment.
    #[must_use]
    pub fn words(&self) -> Vec<u64> {
        (0..WORDS).map(|index| self.word(index).load(Ordering::Relaxed)).collect()
    }

    /// Asks the work that shows this page to stop within one buffer.
    pub fn cancel(&self) {
        self.word(CANCEL).store(1, Ordering::Relaxed);
    }

    /// Whether someone asked to stop.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.word(CANCEL).load(Ordering::Relaxed) != 0
    }

    /// Counts bytes read from a source to be copied.
    pub fn read(&self, bytes: usize) {
        self.add(READ, bytes);
    }

    /// Counts bytes written to a destination.
    pub fn written(&self, bytes: usize) {
        self.add(WRITTEN, bytes);
        self.moved(bytes);
    }

    /// Counts bytes read back.
    pub fn verified(&self, bytes: usize) {
        self.add(VERIFIED, bytes);
        self.moved(bytes);
    }

    /// Counts bytes that were written before, and have reached their device now: an operation.
    pub(crate) fn drained(&self, bytes: u64) {
        self.operation();
        self.moved(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    fn moved(&self, bytes: usize) {
        if let Some(root) = self.root {
            self.add(MOVED + root.min(ROOTS - 1), bytes);
        }
    }

    /// Counts bytes of a file that was hashed where it is, as it came.
    pub fn hashed(&self, bytes: usize) {
        self.add(HASHED, bytes);
    }

    /// Counts an operation that moves no bytes (an open, a flush, a rename): the sign of life between files.
    pub fn operation(&self) {
        self.add(OPERATIONS, 1);
    }

    /// Names the item that one of the threads (fewer than [`THREADS_MAX`]) works on; `None` when it is idle.
    pub fn item(&self, thread: usize, item: Option<u64>) {
        self.word(ITEM + thread.min(THREADS_MAX - 1))
            .store(item.map_or(0, |number| number.wrapping_add(1)), Ordering::Relaxed);
    }

    fn add(&self, index: usize, count: usize) {
        self.word(index).fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// A [`Page`] for what is done at one root.
pub(crate) struct At<'a> {
    page: Page,
    _of: PhantomData<&'a Page>,
}

impl Deref for At<'_> {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_at_a_root_counts_for_it_and_in_all() {
        let page = Page::private();

        page.at(0).written(1);
        page.at(2).verified(20);
        page.at(2).drained(300);
        page.at(1).operation();
        page.at(1).read(4000);
        page.written(50_000);

        let words = page.words();
        assert_eq!(words[READ..ITEM], [4000, 50_001, 20, 2]);
        assert_eq!(words[MOVED..MOVED + 3], [1, 0, 320]);
        assert_eq!(words[ITEM..HASHED], [0; THREADS_MAX], "nobody's item");
    }

    #[test]
    fn roots_without_a_word_of_their_own_share_the_last() {
        let page = Page::private();

        for root in [ROOTS - 1, ROOTS, usize::MAX] {
            page.at(root).written(1);
        }

        assert_eq!(page.words()[WORDS - 1], 3);
    }

    #[test]
    fn who_asks_to_stop_is_heard_at_every_root() {
        let page = Page::private();
        let there = page.at(1);

        page.cancel();

        assert!(there.cancelled() && page.at(2).cancelled());
    }
}
