//! Mending a damaged file: a new one is built beside it, of the blocks that are right and of those that another place
//! has right, and proven like any copy. The damaged file is only read.
//!
//! Nothing is believed for its name, size or time: a block is right if it has its chaining value, a file without kept
//! values if it has its digest. So any file may be offered, the damaged one among them, and each block is taken from
//! whoever has it.

use crate::clone::Strategy;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::gather::Gathering;
use crate::parents::Parents;
use crate::place::Place;
use crate::platform::Stat;
use crate::progress::Page;
use crate::root::Root;
use crate::sink::{Sink, Written, SMALL};
use crate::tree::ChainingValue;
use crate::verify;
use crate::volume::Method;

/// What a file should be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where it belongs, beneath its root.
    pub path: &'a [u8],
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// The digest of all its bytes.
    pub digest: Digest,
    /// The chaining values of its blocks, in order; none where they were not kept, or the file is one block or less.
    /// Values that do not make the digest count as none.
    pub values: &'a [ChainingValue],
}

/// A file that was built and proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Whether it shares the bytes that were right with the damaged file, or has copies of them.
    pub strategy: Strategy,
    /// How it was read back.
    pub method: Method,
}

/// What was found, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// What stands under the name, as it was when it was opened; none where nothing does.
    pub stood: Option<Stat>,
    /// What of it is wrong, each `(start, end)`: whole blocks, what is missing at its end, what follows its end.
    pub ranges: Vec<(u64, u64)>,
    /// Bytes that were read from the other place, right and wrong ones.
    pub fetched: u64,
    /// The new file; none where nothing is wrong, or nothing was to be built. A fault of kind `mismatch` with ranges
    /// says that nobody has those bytes right.
    pub outcome: Result<Option<Build>>,
}

/// Builds the file that is wanted at `staging`, from the file that stands under its name and from the files at `paths`
/// beneath `other`, in that order. Without a place for it, it is only looked whether that could be done: everything is
/// read as it would be, and nothing written.
///
/// The new file is flushed, read back from the device as far as the file system allows and compared with the digest;
/// after any fault it is removed. What cannot be read counts as wrong. The damaged file is read once, from the device;
/// of the other place only blocks are read that the damaged file does not have right.
#[must_use]
pub fn mend<P: AsRef<[u8]>>(
    root: &Root,
    wanted: &Wanted<'_>,
    other: &Root,
    paths: &[P],
    staging: Option<&[u8]>,
    page: &Page,
) -> Mended {
    let mut found = Gathering::new(wanted, page);
    let outcome = found.open(root, other, paths).and_then(|()| match staging {
        Some(staging) => build(&mut found, root, staging),
        None => found.fill(None, false).map(|()| None),
    });
    Mended { stood: found.stood, ranges: found.ranges, fetched: found.fetched, outcome }
}

/// Builds the new file and proves it; none where the one that stands is right.
fn build(found: &mut Gathering<'_>, root: &Root, staging: &[u8]) -> Result<Option<Build>> {
    let (size, page) = (found.wanted.size, found.page);
    let (dir, name) = Parents::new(root).of_new(staging)?;
    let place = Place { dir, name: name.to_vec(), path: root.absolute(staging), mark: None };
    // Blocks are reserved only where they will be needed.
    let sink = Sink::create(place, 0, None)?;
    let shared = found.own.as_ref().is_some_and(|own| sink.share(own.file()));
    let reserves = !shared && (size >= SMALL || root.coldness().would_embed(size));
    let filled = if reserves { sink.reserve(size) } else { Ok(()) };
    if let Err(error) = filled.and_then(|()| found.fill(Some(&sink), shared)) {
        return Err(sink.condemn(error));
    }
    if found.ranges.is_empty() && found.stood.is_some() {
        return sink.discard().map(|()| None);
    }
    let ready = sink.cut(size).and_then(|()| sink.start_flush(found.wanted.mtime_ns));
    if let Err(error) = ready.and_then(|()| sink.drain(size, page)) {
        return Err(sink.condemn(error));
    }
    let strategy = if shared { Strategy::Reflink } else { Strategy::Copy };
    prove(found, root, &sink.finish()?).map(|method| Some(Build { strategy, method }))
}

/// Reads the new file back from its device; one that is not what was wanted is removed.
fn prove(found: &mut Gathering<'_>, root: &Root, written: &Written) -> Result<Method> {
    let read = verify::open_cold(written, root.coldness(), false).and_then(|file| {
        let step = found.buffer.len();
        verify::read_back(written, &file, std::slice::from_mut(&mut found.buffer), step, found.page)
    });
    match read {
        Ok(verify::ReadBack { digest, bytes, method: Some(method) })
            if digest == found.wanted.digest && bytes == found.wanted.size =>
        {
            Ok(method)
        }
        Ok(_) => {
            let detail = "what was built does not read back as it was written";
            let wrong = Error::found(Kind::Mismatch, "verify", written.place.path.clone(), detail);
            Err(written.place.remove(wrong))
        }
        Err(error) => Err(written.place.remove(error)),
    }
}
