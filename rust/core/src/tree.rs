//! BLAKE3 as the tree that it is: aligned pieces of a file hashed apart, in any order and by any thread, and merged
//! into the hash that everyone knows.
//!
//! Each aligned piece of a power of two has a *chaining value*, 32 bytes that depend on its bytes and its place. Two
//! neighbours merge into the value of both, and so on up to the root, which is the standard hash. A [`Tree`] keeps
//! the values of a file's blocks: who has them can say which block of a copy is damaged, and prove one block without
//! the others. A single block has no value of its own: its hash is the root.

use std::collections::BTreeMap;

use blake3::hazmat::{merge_subtrees_non_root, merge_subtrees_root, HasherExt, Mode};

pub use blake3::hazmat::ChainingValue;

use crate::digest::Digest;

/// The smallest block: 1 MiB, so that a block named is little to read again, and its value little to keep.
pub const BLOCK: u64 = 1 << 20;

/// Most blocks of a file: above 64 GiB blocks double, so that a file's values never exceed 2 MiB.
pub const BLOCKS_MAX: u64 = 65_536;

/// The length of a block in a file of this size.
#[must_use]
pub fn block_of(size: u64) -> u64 {
    let mut block = BLOCK;
    while size.div_ceil(block) > BLOCKS_MAX {
        block *= 2;
    }
    block
}

/// One piece on its way to its chaining value.
pub struct Piece {
    hasher: blake3::Hasher,
}

impl Piece {
    /// Starts the piece at an offset, which is a multiple of the pieces' length.
    #[must_use]
    pub fn at(offset: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        Self { hasher }
    }

    /// The piece's next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The chaining value of a piece that got at least one byte.
    #[must_use]
    pub fn finish(&self) -> ChainingValue {
        self.hasher.finalize_non_root()
    }
}

/// The chaining values of all blocks of a file that has more than one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    values: Vec<ChainingValue>,
}

impl Tree {
    /// From the values of pieces, in order, each `piece` bytes long but the last. A piece is a power of two from 1 KiB
    /// to the file's block, and the file longer than a block; `None` where the numbers do not fit together.
    #[must_use]
    pub fn of(size: u64, piece: u64, values: &[ChainingValue]) -> Option<Self> {
        let block = block_of(size);
        let whole = piece.is_power_of_two() && (1024..=block).contains(&piece) && size > block;
        if !whole || usize::try_from(size.div_ceil(piece)) != Ok(values.len()) {
            return None;
        }
        let each = usize::try_from(block / piece).ok()?;
        Some(Self { size, values: values.chunks(each).map(merge).collect() })
    }

    /// The length of a block.
    #[must_use]
    pub fn block(&self) -> u64 {
        block_of(self.size)
    }

    /// One value per block, in order.
    #[must_use]
    pub fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    pub(crate) fn into_values(self) -> Vec<ChainingValue> {
        self.values
    }

    /// The hash of the whole file.
    #[must_use]
    pub fn root(&self) -> Digest {
        let (left, right) = split(&self.values);
        *merge_subtrees_root(&merge(left), &merge(right), Mode::Hash).as_bytes()
    }
}

/// The values of a file's pieces, in whatever order they come, merged as soon as they can be: never more are held than
/// the file has blocks, and a few for each thread.
pub(crate) struct Gathered {
    size: u64,
    /// By offset: the length that a value stands for, and the value.
    values: BTreeMap<u64, (u64, ChainingValue)>,
}

impl Gathered {
    pub(crate) fn new(size: u64) -> Self {
        Self { size, values: BTreeMap::new() }
    }

    /// As after the file's first blocks, of which these are the values.
    pub(crate) fn with(size: u64, first: Vec<ChainingValue>) -> Self {
        let block = block_of(size);
        let values = first.into_iter().enumerate().map(|(index, value)| (index as u64 * block, (block, value)));
        Self { size, values: values.collect() }
    }

    /// Takes the value of a piece of this length, a power of two of which the offset is a multiple; only the last
    /// piece of the file may have fewer bytes. Gives back a block that is whole with it: which, and its value.
    pub(crate) fn add(&mut self, offset: u64, length: u64, value: ChainingValue) -> Option<(u64, ChainingValue)> {
        let (mut offset, mut length, mut value) = (offset, length, value);
        let block = block_of(self.size);
        while length < block {
            let beside = offset ^ length;
            let Some((_, other)) = self.values.get(&beside).filter(|(other, _)| *other == length) else { break };
            let (left, right) = if beside < offset { (other, &value) } else { (&value, other) };
            value = merge_subtrees_non_root(left, right, Mode::Hash);
            self.values.remove(&beside);
            offset = offset.min(beside);
            length *= 2;
        }
        self.values.insert(offset, (length, value));
        (length == block).then_some((offset / block, value))
    }

    /// The tree, once every piece is there.
    pub(crate) fn tree(self) -> Option<Tree> {
        let block = block_of(self.size);
        let mut expected = 0;
        let mut values = Vec::new();
        let mut rest = Vec::new();
        for (offset, (length, value)) in self.values {
            if offset != expected {
                return None;
            }
            expected += length;
            if length == block {
                values.push(value);
            } else {
                rest.push(value);
            }
        }
        // What is left of the last block: each is longer than all that follow it together.
        if let Some(last) =
            rest.into_iter().rev().reduce(|right, left| merge_subtrees_non_root(&left, &right, Mode::Hash))
        {
            values.push(last);
        }
        (self.size > block && expected >= self.size).then_some(Tree { size: self.size, values })
    }
}

/// The value of neighbouring pieces together. Only the last piece may be shorter than the others.
fn merge(values: &[ChainingValue]) -> ChainingValue {
    if let [only] = values {
        *only
    } else {
        let (left, right) = split(values);
        merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
    }
}

/// BLAKE3's rule for two pieces and more: the left side is the largest power of two that leaves something to the right.
fn split(values: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    values.split_at(values.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::of;
    use crate::pattern::pattern;

    fn values(bytes: &[u8], piece: usize) -> Vec<ChainingValue> {
        let one = |(index, bytes): (usize, &[u8])| {
            let mut hashed = Piece::at((index * piece) as u64);
            // In two updates, as a short read would give them.
            let (front, back) = bytes.split_at(bytes.len() / 3);
            hashed.update(front);
            hashed.update(back);
            hashed.finish()
        };
        bytes.chunks(piece).enumerate().map(one).collect()
    }

    fn check(size: usize, piece: usize) {
        let bytes = pattern(size);

        let tree = Tree::of(size as u64, piece as u64, &values(&bytes, piece)).unwrap();

        assert_eq!(tree.root(), of(&bytes), "{size} bytes in pieces of {piece}");
        assert_eq!(tree.values().len() as u64, (size as u64).div_ceil(BLOCK));
        assert_eq!(tree.values(), values(&bytes, 1 << 20), "{size} bytes in pieces of {piece}");
    }

    #[test]
    fn around_every_boundary_the_root_is_the_standard_hash() {
        const MIB: usize = 1 << 20;
        for blocks in [1, 2, 3, 4, 5, 7, 8, 9] {
            for around in [-1025, -1024, -1023, -65, -64, -1, 0, 1, 63, 64, 1023, 1024, 1025] {
                let size = (blocks * MIB).checked_add_signed(around).unwrap();
                if size > MIB {
                    check(size, MIB);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn pieces_in_any_order_make_the_same_tree(
            size in (1_usize << 20) + 1..12 << 20,
            power in 14_u32..=20,
            shuffle in any::<u64>(),
        ) {
            let bytes = pattern(size);
            let piece = 1_usize << power;
            let mut order: Vec<_> = values(&bytes, piece).into_iter().enumerate().collect();
            order.sort_by_key(|(index, _)| (*index as u64 ^ shuffle).wrapping_mul(0x9E37_79B9_7F4A_7C15));

            let mut gathered = Gathered::new(size as u64);
            for (index, value) in order {
                gathered.add((index * piece) as u64, piece as u64, value);
            }

            let tree = gathered.tree().unwrap();
            prop_assert_eq!(tree.root(), of(&bytes));
            prop_assert_eq!(tree.values(), values(&bytes, 1 << 20));
        }

        #[test]
        fn any_size_and_any_split_give_the_standard_hash(size in (1_usize << 20) + 1..12 << 20, power in 10_u32..=20) {
            check(size, 1 << power);
        }
    }

    #[test]
    fn blocks_double_so_that_a_file_has_at_most_65_536() {
        const GIB: u64 = 1 << 30;
        assert_eq!((block_of(0), block_of(64 * GIB)), (BLOCK, BLOCK));
        assert_eq!((block_of(64 * GIB + 1), block_of(128 * GIB)), (2 * BLOCK, 2 * BLOCK));
        assert!(u64::MAX.div_ceil(block_of(u64::MAX)) <= BLOCKS_MAX);
    }

    #[test]
    fn a_file_of_which_a_piece_is_missing_has_no_tree() {
        let bytes = vec![7; 3 << 20];
        for missing in 0..3 {
            let mut gathered = Gathered::new(bytes.len() as u64);
            for (index, value) in values(&bytes, 1 << 20).into_iter().enumerate().filter(|(index, _)| *index != missing)
            {
                gathered.add((index as u64) << 20, BLOCK, value);
            }
            assert_eq!(gathered.tree(), None, "without piece {missing}");
        }
    }

    #[test]
    fn what_is_held_does_not_grow_with_the_file() {
        // 4 TiB in pieces of 1 MiB: blocks of 64 MiB.
        let size = 4 << 40;
        let mut gathered = Gathered::new(size);
        for index in 0..200_000_u64 {
            gathered.add(index << 20, 1 << 20, [1; 32]);
            assert!(gathered.values.len() as u64 <= (index >> 6) + 7);
        }
    }

    #[test]
    fn numbers_that_do_not_fit_together_make_no_tree() {
        let value = [0; 32];
        assert_eq!(Tree::of(BLOCK, BLOCK, &[value]), None, "a single block has no tree");
        assert_eq!(Tree::of(BLOCK + 1, BLOCK, &[value]), None, "a value is missing");
        assert_eq!(Tree::of(BLOCK + 1, 3 << 18, &[value; 2]), None, "no power of two");
        assert_eq!(Tree::of(BLOCK + 1, 2 * BLOCK, &[value]), None, "a piece larger than a block");
    }
}
