//! Right bytes, wherever they are: each part of a file is taken from the damaged file itself, or else from the first of
//! the other place's files that has it.

use std::fs::File;

use crate::buffer::Buffer;
use crate::checks::{join, parts, Check, Part};
use crate::content::PIECE;
use crate::direct::Reads;
use crate::error::{Error, Kind, Result};
use crate::mend::Wanted;
use crate::parents::Parents;
use crate::platform::{self, Stat};
use crate::progress::Page;
use crate::root::Root;
use crate::sink::Sink;
use crate::source::{Mode, Source, STEP};
use crate::verify;

/// The files that may have what is wanted, and what was found in them.
pub(crate) struct Gathering<'a> {
    pub(crate) wanted: &'a Wanted<'a>,
    pub(crate) page: &'a Page,
    pub(crate) buffer: Buffer,
    pub(crate) own: Option<Candidate>,
    others: Vec<Candidate>,
    /// What stands under the name.
    pub(crate) stood: Option<Stat>,
    /// What of it is wrong.
    pub(crate) ranges: Vec<(u64, u64)>,
    /// Bytes read from the other place.
    pub(crate) fetched: u64,
    /// Why the other place could not be read, the last time.
    trouble: Option<Error>,
}

/// An open file that may have what is wanted.
pub(crate) struct Candidate {
    source: Source,
    /// The damaged file itself; else it belongs to the other place.
    own: bool,
}

impl Candidate {
    pub(crate) fn file(&self) -> &File {
        self.source.file()
    }
}

impl<'a> Gathering<'a> {
    pub(crate) fn new(wanted: &'a Wanted<'a>, page: &'a Page) -> Self {
        Self {
            wanted,
            page,
            buffer: Buffer::new(usize::try_from(PIECE).unwrap_or(usize::MAX)),
            own: None,
            others: Vec::new(),
            stood: None,
            ranges: Vec::new(),
            fetched: 0,
            trouble: None,
        }
    }

    /// Opens what there is. A file of the other place that cannot be opened is passed over.
    pub(crate) fn open<P: AsRef<[u8]>>(&mut self, root: &Root, other: &Root, paths: &[P]) -> Result<()> {
        let nothing = |error: &Error| error.errno == libc::ENOENT || error.errno == libc::ENOTDIR;
        match open(root, self.wanted.path) {
            Ok(source) => {
                verify::make_cold(source.file(), source.path(), root.coldness())?;
                self.stood = Some(source.stat());
                self.own = Some(Candidate { source, own: true });
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
                    self.others.push(Candidate { source, own: false });
                }
                Err(error) if nothing(&error) => {}
                Err(error) => self.trouble = Some(error),
            }
        }
        Ok(())
    }

    /// Goes through the file once, in order, and takes each part from whoever has it. After the first part that nobody
    /// has, nothing is written any more: the others are only looked for, so that all that is lost can be named.
    pub(crate) fn fill(&mut self, sink: Option<&Sink>, shared: bool) -> Result<()> {
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
    fn take(&mut self, place: &Candidate, part: &Part, sink: Option<&Sink>) -> Result<bool> {
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
}

fn open(root: &Root, path: &[u8]) -> Result<Source> {
    let (dir, name) = Parents::new(root).of(path)?;
    Source::open(dir, name, root.absolute(path), Mode::Read)
}
