//! The copies of a part, read back from their device and compared with what was read from the source.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::buffer::Buffer;
use crate::clone::Strategy;
use crate::copy::AHEAD;
use crate::digest::Digest;
use crate::error::Result;
use crate::flush::Column;
use crate::mismatch::{self, Blame};
use crate::parents::Parents;
use crate::progress::Page;
use crate::root::Root;
use crate::sink::{Written, SMALL};
use crate::source::{Mode, Source};
use crate::spread::LEAST;
use crate::threads::side_by_side;
use crate::transfer::{now, Transfer};
use crate::verify::{self, Chilled};
use crate::volume::Method;

/// A copy that read back as it should.
pub(crate) struct Proven {
    pub(crate) method: Method,
    pub(crate) mtime_ns: i64,
    pub(crate) at_ns: i64,
}

/// What came of one copy, and which: `(root, index in the part)`.
pub(crate) type Outcome = ((usize, usize), std::result::Result<Proven, Blame>);

/// What is to be proven, and against what.
pub(crate) struct Proofs<'a> {
    pub(crate) source: &'a Root,
    pub(crate) roots: &'a [&'a Root],
    pub(crate) part: &'a [Transfer<'a>],
    /// What the source read as; none where it was not read to its end, and then there is no copy.
    pub(crate) digests: &'a [Option<Digest>],
    /// Bytes read at a time by a thread that has a file to itself.
    pub(crate) step: usize,
    pub(crate) page: &'a Page,
}

impl Proofs<'_> {
    /// Proves the copies on some roots that share a device: each big file with all threads, the small ones side by
    /// side (3,000 of 16 KiB on ext4: 0.17 s with two threads, 0.26 s with one). There is one thread per buffer, and
    /// `word` is the first of their words of the page.
    pub(crate) fn prove(
        &self,
        columns: &[(usize, &Column<Written>)],
        buffers: &mut [Buffer],
        word: usize,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut small = Vec::new();
        let names = names(columns);
        for (root, column) in columns {
            for (index, copy) in column.iter().enumerate() {
                let (Ok(copy), Some(digest)) = (copy, self.digests[index]) else { continue };
                let unit = Unit { root: *root, index, copy, digest };
                // Links to one file go one after the other: each must find what the last one read out of memory.
                let single = names.get(&(copy.stat.dev, copy.stat.ino)).is_none_or(|names| *names == 1);
                if self.part[index].size < LEAST && single {
                    small.push(unit);
                } else {
                    outcomes.push(self.one(&unit, self.open(&unit, word), buffers, word));
                }
            }
        }
        let next = AtomicUsize::new(0);
        // No thread takes what another could have begun with.
        let most = AHEAD.min(small.len() / buffers.len().max(1)).max(1);
        let share = |thread: usize, buffer: &mut Buffer| {
            let word = word + thread;
            let take = || small.get(next.fetch_add(1, Ordering::Relaxed)).map(|unit| (unit, self.open(unit, word)));
            let mut ahead: VecDeque<(&Unit<'_>, Result<Chilled>)> = VecDeque::new();
            let mut outcomes = Vec::new();
            loop {
                while ahead.len() < most && ahead.back().is_none_or(|(unit, _)| self.is_small(unit)) {
                    let Some(taken) = take() else { break };
                    ahead.push_back(taken);
                }
                let Some((unit, opened)) = ahead.pop_front() else { return outcomes };
                outcomes.push(self.one(unit, opened, std::slice::from_mut(buffer), word));
            }
        };
        if !small.is_empty() {
            outcomes.extend(side_by_side(buffers.iter_mut().collect(), share).into_iter().flatten());
        }
        (0..buffers.len()).for_each(|thread| self.page.item(word + thread, None));
        outcomes
    }

    fn open(&self, unit: &Unit<'_>, word: usize) -> Result<Chilled> {
        self.page.item(word, Some(self.part[unit.index].item));
        verify::open_cold(unit.copy, self.roots[unit.root].coldness(), self.is_small(unit))
    }

    /// Those that are opened ahead of their turn: of larger ones the device has enough with one.
    fn is_small(&self, unit: &Unit<'_>) -> bool {
        self.part[unit.index].size < SMALL
    }

    fn one(&self, unit: &Unit<'_>, opened: Result<Chilled>, buffers: &mut [Buffer], word: usize) -> Outcome {
        let transfer = &self.part[unit.index];
        let page = self.page.at(unit.root);
        page.item(word, Some(transfer.item));
        page.operation();
        let coldness = self.roots[unit.root].coldness();
        let read = opened.and_then(|file| verify::read_back(unit.copy, &file, buffers, self.step, &page));
        let outcome = match read {
            Err(error) => Err(Blame::Copy(error)),
            Ok(verify::ReadBack { digest, bytes, method: Some(method) })
                if digest == unit.digest && bytes == transfer.size =>
            {
                Ok(Proven { method, mtime_ns: unit.copy.stat.mtime_ns, at_ns: now() })
            }
            Ok(_) => Err(mismatch::examine(self.again(transfer), &unit.digest, &unit.copy.place, coldness, &page)),
        };
        ((unit.root, unit.index), outcome)
    }

    /// The source, opened once more.
    fn again(&self, transfer: &Transfer<'_>) -> Result<Source> {
        let (dir, name) = Parents::new(self.source).of(transfer.path)?;
        let source = Source::open(dir, name, self.source.absolute(transfer.path), Mode::Read)?;
        source.expect(transfer.size, transfer.mtime_ns)?;
        Ok(source)
    }
}

/// How many names each hard-linked file has among these copies.
fn names(columns: &[(usize, &Column<Written>)]) -> HashMap<(u64, u64), usize> {
    let mut names = HashMap::new();
    let copies = columns.iter().flat_map(|(_, column)| column.iter().flatten());
    for copy in copies.filter(|copy| copy.strategy == Strategy::Hardlink) {
        *names.entry((copy.stat.dev, copy.stat.ino)).or_default() += 1;
    }
    names
}

struct Unit<'a> {
    root: usize,
    index: usize,
    copy: &'a Written,
    digest: Digest,
}
