//! The shared page: how far the work is, and whether it should stop, readable and settable by another process
//! at any moment without a call.

use std::any::Any;
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
const _: () = assert!(HASHED < WORDS);

/// A view of a page's words, together with whatever keeps their memory alive.
///
/// All accesses are atomic and relaxed: each word stands for itself, and no other memory is published by it.
pub struct Page {
    words: NonNull<AtomicU64>,
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
        Self { words: first, _owner: Box::new(words) }
    }

    /// A page over memory that `owner` keeps alive.
    ///
    /// # Safety
    ///
    /// `words` must point to [`WORDS`] writable 64-bit words, aligned to 8 bytes, that stay where they are and
    /// stay valid until `owner` is dropped, and that everyone else accesses only as whole words.
    #[must_use]
    pub unsafe fn over(words: NonNull<u64>, owner: Box<dyn Any + Send + Sync>) -> Self {
        Self { words: words.cast(), _owner: owner }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < WORDS);
        // SAFETY: both constructors give `WORDS` aligned words that live as long as the owner, which `self`
        // holds; every index used in this module is below `WORDS`: a constant, a thread's
        // word (at most `ITEM + THREADS_MAX - 1`), or one of `words()`.
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
    }

    /// Counts bytes read back.
    pub fn verified(&self, bytes: usize) {
        self.add(VERIFIED, bytes);
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
