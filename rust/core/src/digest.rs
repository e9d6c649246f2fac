//! The digest that every byte passes through on its way.
//!
//! Only BLAKE3 today. Other algorithms of the trade (xxh64, MD5, C4 …) join here: a [`Hasher`] is fed once per
//! buffer, whatever it computes.

/// The 32 raw bytes of a BLAKE3 hash.
pub type Digest = [u8; 32];

/// Hashes the bytes of one file, in order.
#[derive(Default)]
pub struct Hasher {
    blake3: blake3::Hasher,
}

impl Hasher {
    /// Starts a new file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The file's next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
    }

    /// The digest of everything seen.
    #[must_use]
    pub fn finish(&self) -> Digest {
        *self.blake3.finalize().as_bytes()
    }
}

/// The digest of some bytes in memory.
#[must_use]
pub fn of(bytes: &[u8]) -> Digest {
    *blake3::hash(bytes).as_bytes()
}
