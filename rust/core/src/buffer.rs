//! Memory that bytes pass through, aligned so that direct reads can use it.

use std::ops::{Deref, DerefMut};

/// Smallest buffer: one page of memory, and one block of most file systems.
pub const BUFFER_MIN: usize = 4096;

/// Largest buffer.
pub const BUFFER_MAX: usize = 64 << 20;

/// `O_DIRECT` needs the device's logical block size, at most 4 KiB on what is sold today.
const ALIGNMENT: usize = 4096;

/// A buffer of fixed length whose first byte is aligned to 4 KiB.
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    pub(crate) fn new(length: usize) -> Self {
        let memory = vec![0; length + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, length }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

/// Whether a buffer of this many bytes is allowed: a power of two within the limits.
#[must_use]
pub fn buffer_is_valid(bytes: usize) -> bool {
    bytes.is_power_of_two() && (BUFFER_MIN..=BUFFER_MAX).contains(&bytes)
}
