//! A copy did not read back as written: whose fault is it, and where do they differ?

use std::io;

use crate::buffer::Buffer;
use crate::digest::{Digest, Hasher};
use crate::direct::Reads;
use crate::error::{Error, Kind, Result};
use crate::place::Place;
use crate::progress::Page;
use crate::source::Source;
use crate::verify;
use crate::volume::Coldness;

/// At most this many ranges are named; the last one then reaches to the last difference that was seen.
const RANGES: usize = 16;

/// Bytes compared at a time: the block of the manifest's chaining values, so that a range names few of them.
const BLOCK: usize = 1 << 20;

/// Who is to blame.
pub(crate) enum Blame {
    /// The source: no copy of this transfer is worth anything.
    Source(Error),
    /// This copy alone.
    Copy(Error),
}

/// Reads the source once more, from the device as far as possible, beside the copy.
///
/// A source that is not what it was is `changed`; one that hashes differently now is `unstable`; otherwise the
/// copy is wrong, and the error names where. A source that cannot be read again (a card that was pulled) speaks
/// against nobody: the other copies of this transfer keep what they have proven.
pub(crate) fn examine(source: Result<Source>, digest: &Digest, copy: &Place, coldness: Coldness, page: &Page) -> Blame {
    let mismatch = |detail: String, ranges| {
        let error = Error::found(Kind::Mismatch, "verify", copy.path.clone(), detail);
        Blame::Copy(Error { ranges, ..error })
    };
    match compare(source, digest, copy, coldness, page) {
        Ok(ranges) if ranges.is_empty() => {
            let detail = "the copy read back differently from what was written, and equal when it was read again";
            mismatch(detail.to_owned(), ranges)
        }
        Ok(ranges) => mismatch("the copy does not read back as it was written".to_owned(), ranges),
        Err(Blame::Source(error)) if matches!(error.kind, Kind::Io | Kind::Cancelled) => {
            let why = "the copy does not read back as it was written, and its source cannot be read again";
            mismatch(format!("{why}: {}", error.detail), Vec::new())
        }
        // That it did not read back as written was seen, whatever there was no time for.
        Err(Blame::Copy(error)) if error.kind == Kind::Cancelled => {
            mismatch("the copy does not read back as it was written".to_owned(), Vec::new())
        }
        Err(blame) => blame,
    }
}

fn compare(
    source: Result<Source>,
    digest: &Digest,
    copy: &Place,
    coldness: Coldness,
    page: &Page,
) -> std::result::Result<Vec<(u64, u64)>, Blame> {
    let mut source = source.map_err(Blame::Source)?;
    source.rewind_cold().map_err(Blame::Source)?;
    let fault = |op, error: &io::Error| Blame::Copy(copy.fault(op, error));
    let file = copy.dir.open_file(&copy.name).map_err(|error| fault("open", &error))?;
    verify::chill(&file, coldness);
    let (mut ours, mut theirs) = (Buffer::new(BLOCK), Buffer::new(BLOCK));
    let mut reads = Reads::new(&file, true);
    let mut hasher = Hasher::new();
    let mut ranges = Ranges::default();
    let mut offset = 0_u64;
    loop {
        if page.cancelled() {
            return Err(Blame::Copy(Error::cancelled("verify", copy.path.clone())));
        }
        let truth = source.next(&mut ours).map_err(Blame::Source)?;
        let have = fill(&mut reads, &mut theirs).map_err(|error| fault("read", &error))?;
        if truth.is_empty() && have == 0 {
            break;
        }
        hasher.update(truth);
        page.verified(truth.len() + have);
        ranges.block(offset, truth, &theirs[..have]);
        offset += truth.len().max(have) as u64;
    }
    source.finish().map_err(Blame::Source)?;
    if hasher.finish() == *digest {
        return Ok(ranges.found);
    }
    let detail = "it gave different bytes when it was read again";
    Err(Blame::Source(Error::found(Kind::Unstable, "verify", source.path().to_vec(), detail)))
}

fn fill(reads: &mut Reads<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match reads.next(&mut buffer[have..])? {
            0 => break,
            bytes => have += bytes,
        }
    }
    Ok(have)
}

#[derive(Default)]
struct Ranges {
    found: Vec<(u64, u64)>,
}

impl Ranges {
    /// Notes from the first to the last differing byte of a block; what touches the range before joins it.
    fn block(&mut self, offset: u64, one: &[u8], other: &[u8]) {
        let common = one.len().min(other.len());
        let longest = one.len().max(other.len());
        let differs = |at: &usize| one[*at] != other[*at];
        let first = (0..common).find(differs).unwrap_or(common);
        if first == longest {
            return;
        }
        let last = if common < longest { longest } else { (0..common).rfind(differs).map_or(longest, |at| at + 1) };
        let (start, end) = (offset + first as u64, offset + last as u64);
        let full = self.found.len() == RANGES;
        match self.found.last_mut() {
            Some(before) if before.1 == start || full => before.1 = end,
            _ => self.found.push((start, end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::platform::Dir;

    #[test]
    fn a_source_that_cannot_be_read_again_speaks_against_the_copy_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open_root(folder.path().as_os_str().as_encoded_bytes(), false).unwrap());
        let copy = Place { dir, name: b"part".to_vec(), path: b"/archive/part".to_vec(), mark: None };
        let pulled = Error::refused("open", b"/card/clip.mov".to_vec(), libc::ENODEV, "no such device");
        let coldness = Coldness { evictable: false, direct: false, embeds: crate::volume::Embeds::Never };

        let blame = examine(Err(pulled), &[0; 32], &copy, coldness, &Page::private());

        let Blame::Copy(error) = blame else { panic!("the source was blamed") };
        assert_eq!((error.kind, error.path.as_slice()), (Kind::Mismatch, &b"/archive/part"[..]));
        assert!(error.detail.ends_with("no such device"));
    }

    #[test]
    fn ranges_are_exact_within_a_block_and_join_across_blocks() {
        let mut ranges = Ranges::default();

        ranges.block(0, b"abcdefgh", b"abXdeXgh");
        ranges.block(8, b"abcd", b"abcd");
        ranges.block(12, b"abcd", b"abcX");
        ranges.block(16, b"abcd", b"Xb");

        assert_eq!(ranges.found, [(2, 6), (15, 20)]);
    }

    #[test]
    fn no_more_than_sixteen_ranges_are_named_and_the_last_reaches_to_the_end() {
        let mut ranges = Ranges::default();

        for block in 0..40 {
            ranges.block(block * 4, b"aaaa", b"aXaa");
        }

        assert_eq!(ranges.found.len(), RANGES);
        assert_eq!(ranges.found.last(), Some(&(61, 158)));
    }
}
