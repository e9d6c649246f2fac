//! Mending a damaged file: a new one is built beside it, of the blocks that are right and of those that another place
//! has right, and proven like any copy. The damaged file is only read.
//!
//! Nothing is believed for its name, size or time: a block is right if it has its chaining value, a file without kept
//! values if it has its digest. So any file may be offered, the damaged one among them, and each block is taken from
//! whoever has it.

use crate::buffer::Buffer;
use crate::clone::Strategy;
use crate::content::PIECE;
use crate::digest::{Digest, Hasher};
use crate::direct::Reads;
use crate::error::{Error, Kind, Result};
use crate::parents::Parents;
use crate::platform::{self, Stat};
use crate::progress::Page;
use crate::root::Root;
use crate::sink::{self, Sink};
use crate::source::{Mode, Source, STEP};
use crate::tree::{block_of, ChainingValue, Piece, Tree};
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
    let mut mender = Mender {
        wanted,
        page,
        buffer: Buffer::new(usize::try_from(PIECE).unwrap_or(usize::MAX)),
        own: None,
        others: Vec::new(),
        stood: None,
        ranges: Vec::new(),
        fetched: 0,
        trouble: None,
    };
    let outcome = mender.open(root, other, paths).and_then(|()| mender.build(root, staging));
    Mended { stood: mender.stood, ranges: mender.ranges, fetched: mender.fetched, outcome }
}

struct Mender<'a> {
    wanted: &'a Wanted<'a>,
    page: &'a Page,
    buffer: Buffer,
    own: Option<Place>,
    others: Vec<Place>,
    stood: Option<Stat>,
    ranges: Vec<(u64, u64)>,
    fetched: u64,
    /// Why the other place could not be read, the last time.
    trouble: Option<Error>,
}

/// An open file that may have what is wanted.
struct Place {
    source: Source,
    /// The damaged file itself; else it belongs to the other place.
    own: bool,
}

/// A range of the file that can be proven by itself.
#[derive(Clone, Copy)]
struct Part {
    from: u64,
    to: u64,
    proof: Proof,
}

#[derive(Clone, Copy)]
enum Proof {
    Value(ChainingValue),
    Digest(Digest),
}

enum Check {
    Value(Piece, ChainingValue),
    Digest(Hasher, Digest),
}

impl Check {
    fn of(part: &Part) -> Self {
        match part.proof {
            Proof::Value(value) => Self::Value(Piece::at(part.from), value),
            Proof::Digest(digest) => Self::Digest(Hasher::new(), digest),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Value(piece, _) => piece.update(bytes),
            Self::Digest(hasher, _) => hasher.update(bytes),
        }
    }

    fn passed(&self) -> bool {
        match self {
            Self::Value(piece, value) => piece.finish() == *value,
            Self::Digest(hasher, digest) => hasher.finish() == *digest,
        }
    }
}

impl Mender<'_> {
    /// Opens what there is. A file of the other place that cannot be opened is passed over.
    fn open<P: AsRef<[u8]>>(&mut self, root: &Root, other: &Root, paths: &[P]) -> Result<()> {
        let nothing = |error: &Error| error.errno == libc::ENOENT || error.errno == libc::ENOTDIR;
        match open(root, self.wanted.path) {
            Ok(source) => {
                verify::make_cold(source.file(), source.path(), root.coldness())?;
                self.stood = Some(source.stat());
                self.own = Some(Place { source, own: true });
            }
            Err(error) if nothing(&error) => {}
            Err(error) => return Err(error),
        }
        for path in paths {
            match open(other, path.as_ref()) {
                Ok(source) => {
                    // A few blocks of a file: whatever else the kernel would fetch with them is moved in vain.
                    if self.own.is_some() {
                        platform::random(source.file());
                    } else {
                        platform::sequential(source.file());
                    }
                    self.others.push(Place { source, own: false });
                }
                Err(error) if nothing(&error) => {}
                Err(error) => self.trouble = Some(error),
            }
        }
        Ok(())
    }

    fn build(&mut self, root: &Root, staging: Option<&[u8]>) -> Result<Option<Build>> {
        let Some(staging) = staging else { return self.look().map(|()| None) };
        let (dir, name) = Parents::new(root).of_new(staging)?;
        let place = sink::Place { dir, name: name.to_vec(), path: root.absolute(staging), mark: None };
        // Blocks are reserved only where they will be needed.
        let sink = Sink::create(place, 0, None)?;
        let shared = self.own.as_ref().is_some_and(|own| sink.share(own.source.file()));
        let filled = if shared { Ok(()) } else { sink.reserve(self.wanted.size) };
        if let Err(error) = filled.and_then(|()| self.fill(Some(&sink), shared)) {
            return Err(sink.condemn(error));
        }
        if self.ranges.is_empty() && self.stood.is_some() {
            return sink.discard().map(|()| None);
        }
        let size = self.wanted.size;
        let ready = sink.cut(size).and_then(|()| sink.start_flush(self.wanted.mtime_ns));
        if let Err(error) = ready.and_then(|()| sink.drain(size, self.page)) {
            return Err(sink.condemn(error));
        }
        let strategy = if shared { Strategy::Reflink } else { Strategy::Copy };
        self.prove(root, &sink.finish()?).map(|method| Some(Build { strategy, method }))
    }

    fn look(&mut self) -> Result<()> {
        self.fill(None, false)
    }

    /// Goes through the file once, in order, and takes each part from whoever has it. After the first part that nobody
    /// has, nothing is written any more: the others are only looked for, so that all that is lost can be named.
    fn fill(&mut self, sink: Option<&Sink>, shared: bool) -> Result<()> {
        let mut lacking = Vec::new();
        for part in parts(self.wanted) {
            let sink = sink.filter(|_| lacking.is_empty());
            if self.take_own(&part, sink.filter(|_| !shared))? {
                continue;
            }
            join(&mut self.ranges, (part.from, part.to));
            if !self.take_other(&part, sink)? {
                join(&mut lacking, (part.from, part.to));
            }
        }
        if let Some(beyond) = self.stood.map(|stood| stood.size).filter(|&size| size > self.wanted.size) {
            join(&mut self.ranges, (self.wanted.size, beyond));
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let mut detail = match (self.others.is_empty(), &self.own) {
            (true, _) => "the other place has no such file".to_owned(),
            (false, None) => "the other place does not have it right".to_owned(),
            (false, Some(_)) => "neither it nor the other place has these bytes right".to_owned(),
        };
        if let Some(trouble) = &self.trouble {
            detail = format!("{detail} ({trouble})");
        }
        let path = self.own.as_ref().map_or_else(|| self.wanted.path.to_vec(), |own| own.source.path().to_vec());
        Err(Error { ranges: lacking, ..Error::found(Kind::Mismatch, "mend", path, detail) })
    }

    fn take_own(&mut self, part: &Part, sink: Option<&Sink>) -> Result<bool> {
        let Some(own) = self.own.take() else { return Ok(false) };
        let taken = self.take(&own, part, sink);
        self.own = Some(own);
        taken
    }

    fn take_other(&mut self, part: &Part, sink: Option<&Sink>) -> Result<bool> {
        if part.to == part.from {
            // Nothing has to be fetched of an empty file.
            return Ok(Check::of(part).passed());
        }
        let others = std::mem::take(&mut self.others);
        let mut taken = Ok(false);
        for other in &others {
            taken = self.take(other, part, sink);
            if !matches!(taken, Ok(false)) {
                break;
            }
        }
        self.others = others;
        taken
    }

    /// Reads one part from one place, into the new file if there is one, and says whether it is right.
    fn take(&mut self, place: &Place, part: &Part, sink: Option<&Sink>) -> Result<bool> {
        let file = place.source.file();
        if place.source.stat().size < part.to {
            return Ok(false);
        }
        let mut check = Check::of(part);
        let mut reads = Reads::new(file, place.own);
        let (mut offset, mut dropped) = (part.from, part.from);
        while offset < part.to {
            if self.page.cancelled() {
                return Err(Error::cancelled("read", place.source.path().to_vec()));
            }
            let left = usize::try_from(part.to - offset).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
            // Direct reads want whole buffers; of the other place no byte is read that was not asked for.
            let room = if place.own { self.buffer.len() } else { left };
            match reads.at(&mut self.buffer[..room], offset) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    let bytes = &self.buffer[..read.min(left)];
                    if place.own {
                        self.page.verified(bytes.len());
                    } else {
                        self.page.read(bytes.len());
                        self.fetched += bytes.len() as u64;
                    }
                    check.update(bytes);
                    if let Some(sink) = sink {
                        sink.write_at(bytes, offset)?;
                        self.page.written(bytes.len());
                    }
                    offset += bytes.len() as u64;
                    if offset - dropped >= STEP || offset == part.to {
                        platform::evict_range(file, dropped, offset - dropped);
                        dropped = offset;
                    }
                }
                // A sector that cannot be read is damage like any other.
                Err(error) => {
                    if !place.own {
                        self.trouble = Some(Error::io("read", place.source.path().to_vec(), &error));
                    }
                    return Ok(false);
                }
            }
        }
        Ok(check.passed())
    }

    /// Reads the new file back from its device; one that is not what was wanted is removed.
    fn prove(&mut self, root: &Root, written: &sink::Written) -> Result<Method> {
        let read = verify::open_cold(written, root.coldness(), false).and_then(|file| {
            let step = self.buffer.len();
            verify::read_back(written, &file, std::slice::from_mut(&mut self.buffer), step, self.page)
        });
        let wrong = || {
            let detail = "what was built does not read back as it was written";
            Error::found(Kind::Mismatch, "verify", written.place.path.clone(), detail)
        };
        match read {
            Ok(verify::ReadBack { digest, bytes, method: Some(method) })
                if digest == self.wanted.digest && bytes == self.wanted.size =>
            {
                Ok(method)
            }
            Ok(_) => Err(written.place.remove(wrong())),
            Err(error) => Err(written.place.remove(error)),
        }
    }
}

fn open(root: &Root, path: &[u8]) -> Result<Source> {
    let (dir, name) = Parents::new(root).of(path)?;
    Source::open(dir, name, root.absolute(path), Mode::Read)
}

/// The file's blocks if their values are known, else all of it as one.
fn parts(wanted: &Wanted<'_>) -> Vec<Part> {
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
fn join(ranges: &mut Vec<(u64, u64)>, (start, end): (u64, u64)) {
    match ranges.last_mut() {
        _ if start == end => {}
        Some(last) if last.1 == start => last.1 = end,
        _ => ranges.push((start, end)),
    }
}
