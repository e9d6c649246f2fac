//! The parts of a file that can be proven by themselves: its blocks, or all of it.

use crate::digest::{Digest, Hasher};
use crate::mend::Wanted;
use crate::tree::{block_of, ChainingValue, Piece, Tree};

/// A range of the file that can be proven by itself.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) from: u64,
    pub(crate) to: u64,
    proof: Proof,
}

#[derive(Clone, Copy)]
enum Proof {
    Value(ChainingValue),
    Digest(Digest),
}

/// The bytes of a part on their way past its proof.
pub(crate) enum Check {
    Value(Piece, ChainingValue),
    Digest(Hasher, Digest),
}

impl Check {
    pub(crate) fn of(part: &Part) -> Self {
        match part.proof {
            Proof::Value(value) => Self::Value(Piece::at(part.from), value),
            Proof::Digest(digest) => Self::Digest(Hasher::new(), digest),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Value(piece, _) => piece.update(bytes),
            Self::Digest(hasher, _) => hasher.update(bytes),
        }
    }

    pub(crate) fn passed(&self) -> bool {
        match self {
            Self::Value(piece, value) => piece.finish() == *value,
            Self::Digest(hasher, digest) => hasher.finish() == *digest,
        }
    }
}

/// The file's blocks if their values are known, else all of it as one.
pub(crate) fn parts(wanted: &Wanted<'_>) -> Vec<Part> {
    let (size, block) = (wanted.size, block_of(wanted.size));
    match Tree::of(size, block, wanted.values).filter(|tree| tree.root() == wanted.digest) {
        Some(tree) => {
            let part = |(index, value): (u64, &ChainingValue)| {
                let from = index * block;
                Part { from, to: size.min(from + block), proof: Proof::Value(*value) }
            };
            (0..).zip(tree.values()).map(part).collect()
        }
        None => vec![Part { from: 0, to: size, proof: Proof::Digest(wanted.digest) }],
    }
}

/// Adds a range to ranges in order; one that touches the last joins it, and one without bytes is none.
pub(crate) fn join(ranges: &mut Vec<(u64, u64)>, (start, end): (u64, u64)) {
    match ranges.last_mut() {
        _ if start == end => {}
        Some(last) if last.1 == start => last.1 = end,
        _ => ranges.push((start, end)),
    }
}
