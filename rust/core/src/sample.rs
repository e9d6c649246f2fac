//! Whether a source still reads as it did when half of it was copied: some of its finished blocks, read again.

use std::collections::hash_map::RandomState;
use std::collections::BTreeSet;
use std::hash::BuildHasher;

use crate::content::PIECE;
use crate::error::{Error, Result};
use crate::progress::Page;
use crate::source::Source;
use crate::tree::{ChainingValue, Piece};

/// Finished blocks that are read again from the source besides the first and the last. A tenth of a file that was
/// changed without a change of size and time is met with 16 in four cases of five; what is not met arrives as it was
/// when it was first read.
const SAMPLES: u64 = 16;

/// Whether the first and the last of some blocks, at least [`crate::trail::WORTH`], and some others have these values.
pub(crate) fn same(
    source: &Source,
    values: &[ChainingValue],
    block: u64,
    buffer: &mut [u8],
    bytes_read: &mut u64,
    page: &Page,
) -> Result<bool> {
    for index in chosen(values.len() as u64) {
        let (from, to) = (index * block, (index + 1) * block);
        source.drop_range(from, to);
        let mut piece = Piece::at(from);
        let mut offset = from;
        while offset < to {
            if page.cancelled() {
                return Err(Error::cancelled("read", source.path().to_vec()));
            }
            let want = usize::try_from((to - offset).min(PIECE)).map_or(buffer.len(), |left| left.min(buffer.len()));
            source.read_at(&mut buffer[..want], want, offset)?;
            piece.update(&buffer[..want]);
            *bytes_read += want as u64;
            page.read(want);
            offset += want as u64;
        }
        source.drop_range(from, to);
        if usize::try_from(index).is_ok_and(|index| values[index] != piece.finish()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Which of so many blocks, two at least, are read again: the first, the last and some between, in order.
fn chosen(blocks: u64) -> BTreeSet<u64> {
    let mut chosen = BTreeSet::from([0, blocks - 1]);
    // Seeded anew by the system: nobody can know which.
    let seed = RandomState::new();
    let mut turn = 0_u64;
    while (chosen.len() as u64) < (SAMPLES + 2).min(blocks) {
        chosen.insert(seed.hash_one(turn) % blocks);
        turn += 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::WORTH;

    #[test]
    fn blocks_to_be_read_again_are_the_first_the_last_and_others_each_once() {
        for blocks in [WORTH, 33, 1000, 65_536] {
            let some = chosen(blocks);
            assert_eq!(some.len(), 18);
            assert!(some.contains(&0) && some.contains(&(blocks - 1)) && some.iter().all(|&index| index < blocks));
        }
        assert_ne!(chosen(65_536), chosen(65_536), "nobody can know which");
    }
}
