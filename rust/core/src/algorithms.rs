//! The digests of the trade that are made beside BLAKE3: hash lists and bags ask for them by name.
//!
//! Each is fed the same bytes in the same order as BLAKE3 is, and gives the bytes that its usual hexadecimal form
//! stands for. C4 is another way to write SHA-512, and needs nothing here.
//!
//! The crates are the fastest of those that are looked after; in GB/s on one core with SHA instructions and AVX-512:
//! MD5 0.91 by fast-md5, where OpenSSL has 0.86, and md-5, which would be the usual choice, 0.72. SHA-1 2.1 and SHA-256
//! 2.0 by sha1 and sha2, as OpenSSL; SHA-512 0.9 (OpenSSL 1.1). XXH64 23 and XXH3 47 by twox-hash, which asks the
//! processor what it can do; xxhash-rust, which is told when it is compiled, has 33 for the latter.

use std::hash::Hasher;

use fast_md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use twox_hash::{xxhash3_128, XxHash3_64, XxHash64};

/// A digest that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// XXH64 with seed 0, most significant byte first, as MHL writes it.
    Xxh64,
    /// The 64 bits of XXH3 with seed 0, most significant byte first.
    Xxh3,
    /// The 128 bits of XXH3 with seed 0, most significant byte first.
    Xxh128,
    /// MD5 (RFC 1321).
    Md5,
    /// SHA-1 (FIPS 180-4).
    Sha1,
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-512 (FIPS 180-4).
    Sha512,
}

impl Algorithm {
    /// All that there are.
    pub const ALL: [Self; 7] =
        [Self::Xxh64, Self::Xxh3, Self::Xxh128, Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// Its name, the same in options, manifests and Python.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Xxh64 => "xxh64",
            Self::Xxh3 => "xxh3",
            Self::Xxh128 => "xxh128",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.word() == word)
    }

    /// Bytes of a digest.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Xxh64 | Self::Xxh3 => 8,
            Self::Xxh128 | Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// It takes longer than BLAKE3 does, so that a big file is worth a thread for it.
    pub(crate) fn slow(self) -> bool {
        matches!(self, Self::Md5 | Self::Sha1 | Self::Sha256 | Self::Sha512)
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Algorithms(u8);

impl Algorithms {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether this one is among them.
    #[must_use]
    pub fn has(self, algorithm: Algorithm) -> bool {
        self.0 & bit(algorithm) != 0
    }

    /// Those that are in it, in the order of [`Algorithm::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.into_iter().filter(move |&algorithm| self.has(algorithm))
    }
}

impl FromIterator<Algorithm> for Algorithms {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        Self(algorithms.into_iter().fold(0, |bits, algorithm| bits | bit(algorithm)))
    }
}

fn bit(algorithm: Algorithm) -> u8 {
    1 << algorithm as u8
}

/// One digest on its way: fed with the bytes of one file, in order.
pub struct Sum(State);

// The states of XXH3 are several times as large as the others.
enum State {
    Xxh64(XxHash64),
    Xxh3(Box<XxHash3_64>),
    Xxh128(Box<xxhash3_128::Hasher>),
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Sum {
    /// Starts a new file.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Xxh64 => State::Xxh64(XxHash64::with_seed(0)),
            Algorithm::Xxh3 => State::Xxh3(Box::new(XxHash3_64::with_seed(0))),
            Algorithm::Xxh128 => State::Xxh128(Box::new(xxhash3_128::Hasher::with_seed(0))),
            Algorithm::Md5 => State::Md5(Md5::new()),
            Algorithm::Sha1 => State::Sha1(Sha1::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// The file's next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Xxh64(state) => state.write(bytes),
            State::Xxh3(state) => state.write(bytes),
            State::Xxh128(state) => state.write(bytes),
            State::Md5(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything seen, [`Algorithm::width`] bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            State::Xxh64(state) => state.finish().to_be_bytes().to_vec(),
            State::Xxh3(state) => state.finish().to_be_bytes().to_vec(),
            State::Xxh128(state) => state.finish_128().to_be_bytes().to_vec(),
            State::Md5(state) => state.finalize().to_vec(),
            State::Sha1(state) => state.finalize().to_vec(),
            State::Sha256(state) => state.finalize().to_vec(),
            State::Sha512(state) => state.finalize().to_vec(),
        }
    }
}

/// The digests of a file that was read to its end, of as many algorithms as were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(Vec<(Algorithm, Vec<u8>)>);

impl Sums {
    /// The digest of this algorithm; none if it was not asked for.
    #[must_use]
    pub fn of(&self, algorithm: Algorithm) -> Option<&[u8]> {
        self.0.iter().find(|(of, _)| *of == algorithm).map(|(_, digest)| digest.as_slice())
    }
}

impl FromIterator<(Algorithm, Vec<u8>)> for Sums {
    fn from_iter<I: IntoIterator<Item = (Algorithm, Vec<u8>)>>(sums: I) -> Self {
        Self(sums.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pattern::pattern;

    fn sum(algorithm: Algorithm, bytes: &[u8], step: usize) -> Vec<u8> {
        let mut sum = Sum::new(algorithm);
        bytes.chunks(step).for_each(|bytes| sum.update(bytes));
        sum.finish()
    }

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write;
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    /// RFC 1321, the examples of FIPS 180, and the reference library of xxHash.
    #[test]
    fn abc_has_the_published_digests() {
        let published = [
            "44bc2cf5ad770999",
            "78af5f94892f3950",
            "06b05ab6733a618578af5f94892f3950",
            "900150983cd24fb0d6963f7d28e17f72",
            "a9993e364706816aba3e25717850c26c9cd0d89d",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ];
        for (algorithm, published) in Algorithm::ALL.into_iter().zip(published) {
            assert_eq!(hex(&sum(algorithm, b"abc", 2)), published, "{}", algorithm.word());
        }
    }

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        for bits in 0..1_usize << Algorithm::ALL.len() {
            let put: Vec<_> = Algorithm::ALL.into_iter().filter(|&one| bits >> one as usize & 1 == 1).collect();

            let set: Algorithms = put.iter().rev().copied().collect();

            assert_eq!(set.iter().collect::<Vec<_>>(), put);
            assert_eq!(set == Algorithms::NONE, put.is_empty());
        }
    }

    #[test]
    fn each_is_found_by_its_name_and_no_other() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(algorithm.word()), Some(algorithm));
        }
        assert_eq!(Algorithm::named("MD5"), None);
    }

    proptest! {
        #[test]
        fn whatever_the_steps_the_digest_is_the_same_and_as_wide_as_said(size in 0..9000_usize, step in 1..3000_usize) {
            let bytes = pattern(size);

            for algorithm in Algorithm::ALL {
                let digest = sum(algorithm, &bytes, step);

                prop_assert_eq!(digest.len(), algorithm.width());
                prop_assert_eq!(digest, sum(algorithm, &bytes, usize::MAX));
            }
        }
    }
}
