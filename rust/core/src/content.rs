//! What a file was read as: its digest and, where it is longer than a block, the chaining values of its blocks.

use std::sync::Arc;

use crate::algorithms::Sums;
use crate::digest::{Digest, Hasher};
use crate::start::Start;
use crate::trail::Trail;
use crate::tree::{block_of, ChainingValue, Gathered, Piece, Tree};

/// Bytes hashed into one chaining value: the block of all files up to 64 GiB.
pub(crate) const PIECE: u64 = 1 << 20;

/// What a file was read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The digest of all its bytes.
    pub digest: Digest,
    /// One chaining value per block ([`block_of`] its size), in order; none of a file that is one block or less.
    pub blocks: Vec<ChainingValue>,
    /// The other digests that were asked for.
    pub sums: Sums,
}

impl Content {
    /// Of a file that is longer than a block.
    pub(crate) fn of(tree: Tree) -> Self {
        Self { digest: tree.root(), blocks: tree.into_values(), sums: Sums::default() }
    }
}

/// Hashes the bytes of one file of a known size, in order.
pub(crate) enum Contents {
    Short(Hasher),
    Long(Pieces),
}

pub(crate) struct Pieces {
    gathered: Gathered,
    piece: Piece,
    /// Where the piece begins, and how much of it there is.
    from: u64,
    have: u64,
    trail: Option<Arc<Trail>>,
}

impl Contents {
    /// From where a copy begins: what comes before is known.
    pub(crate) fn new(size: u64, start: &Start) -> Self {
        if size <= block_of(size) {
            return Self::Short(Hasher::new());
        }
        let (gathered, from) = (start.gathered(size), start.offset);
        Self::Long(Pieces { gathered, piece: Piece::at(from), from, have: 0, trail: start.trail.clone() })
    }

    /// The file's next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Short(hasher) => hasher.update(bytes),
            Self::Long(pieces) => pieces.update(bytes),
        }
    }

    /// What was read; none if it was not as long as was said.
    pub(crate) fn finish(self) -> Option<Content> {
        match self {
            Self::Short(hasher) => Some(Content { digest: hasher.finish(), blocks: Vec::new(), sums: Sums::default() }),
            Self::Long(pieces) => pieces.finish().map(Content::of),
        }
    }
}

impl Pieces {
    fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(PIECE - self.have).map_or(rest.len(), |room| room.min(rest.len()));
            let (now, later) = rest.split_at(room);
            self.piece.update(now);
            self.have += room as u64;
            if self.have == PIECE {
                self.next();
            }
            rest = later;
        }
    }

    fn next(&mut self) {
        let whole = self.gathered.add(self.from, PIECE, self.piece.finish());
        if let (Some(trail), Some((index, value))) = (&self.trail, whole) {
            trail.note(index, value);
        }
        self.from += PIECE;
        self.have = 0;
        self.piece = Piece::at(self.from);
    }

    fn finish(mut self) -> Option<Tree> {
        if self.have > 0 {
            self.next();
        }
        self.gathered.tree()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::of;
    use crate::pattern::pattern;

    fn content(bytes: &[u8], step: usize) -> Content {
        let mut contents = Contents::new(bytes.len() as u64, &Start::default());
        bytes.chunks(step).for_each(|bytes| contents.update(bytes));
        contents.finish().unwrap()
    }

    #[test]
    fn a_file_of_one_block_has_no_values() {
        for size in [0, 1, 1023, 1 << 20] {
            let bytes = vec![7; size];
            let found = content(&bytes, 4096);
            assert_eq!((found.digest, found.blocks), (of(&bytes), Vec::new()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn whatever_the_steps_the_digest_is_the_standard_one_and_each_block_has_its_value(
            size in (1_usize << 20) + 1..5 << 20, step in 1_usize..3 << 20,
        ) {
            let bytes = pattern(size);

            let found = content(&bytes, step);

            prop_assert_eq!(found.digest, of(&bytes));
            prop_assert_eq!(found.blocks.len(), size.div_ceil(1 << 20));
            for (index, block) in bytes.chunks(1 << 20).enumerate() {
                let mut piece = Piece::at((index as u64) << 20);
                piece.update(block);
                prop_assert_eq!(found.blocks[index], piece.finish());
            }
        }
    }

    #[test]
    fn a_file_that_was_not_read_to_its_end_has_no_content() {
        let mut contents = Contents::new(3 << 20, &Start::default());
        contents.update(&vec![1; 2 << 20]);

        assert_eq!(contents.finish(), None);
    }
}
