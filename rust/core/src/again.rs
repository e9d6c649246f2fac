//! The sources of a part, read a second time: for who does not trust the way from the card.
//!
//! A bit that flips between the card and this machine's memory is hashed as it came, and every copy is proven against
//! that hash. Only another read can tell. It takes the files out of memory first, as far as their file system allows,
//! and says where it could not; it writes nothing, and flushes nothing.

use crate::buffer::Buffer;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::parents::Parents;
use crate::progress::Page;
use crate::root::Root;
use crate::source::{Mode, Source};
use crate::transfer::{Staged, Transfer};
use crate::verify;
use crate::volume::Method;

/// What is read again, and what it has to be.
pub(crate) struct Again<'a> {
    pub(crate) source: &'a Root,
    pub(crate) part: &'a [Transfer<'a>],
    /// What each was read as; none where nothing is left that was made of it.
    pub(crate) digests: Vec<Option<Digest>>,
    /// Bytes read at a time.
    pub(crate) step: usize,
    /// The word of the page that names what is being read.
    pub(crate) word: usize,
    pub(crate) page: &'a Page,
}

/// A second reading that was equal to the first.
pub(crate) struct Reading {
    bytes: u64,
    method: Method,
}

impl Again<'_> {
    /// Reads them, in their order; none of what nobody asked for.
    pub(crate) fn read(&self) -> Vec<Option<Result<Reading>>> {
        let mut buffer = Buffer::new(self.step);
        let mut parents = Parents::new(self.source);
        let mut one = |(transfer, digest): (&Transfer<'_>, &Option<Digest>)| {
            Some(self.one(transfer, (*digest)?, &mut parents, &mut buffer))
        };
        let readings = self.part.iter().zip(&self.digests).map(&mut one).collect();
        self.page.item(self.word, None);
        readings
    }

    fn one(
        &self,
        transfer: &Transfer<'_>,
        digest: Digest,
        parents: &mut Parents<'_>,
        buffer: &mut Buffer,
    ) -> Result<Reading> {
        let path = self.source.absolute(transfer.path);
        self.page.item(self.word, Some(transfer.item));
        self.page.operation();
        if self.page.cancelled() {
            return Err(Error::cancelled("open", path));
        }
        let (dir, name) = parents.of(transfer.path)?;
        let source = Source::open(dir, name, path, Mode::Read)?;
        source.expect(transfer.size, transfer.mtime_ns)?;
        let method = verify::chill(source.file(), self.source.coldness());
        // It says nothing of how a copy is proven, and of no root that anything moves there.
        let count = (self.page, Page::hashed as fn(&Page, usize));
        let read = verify::in_order(source.file(), source.path(), transfer.size, Some(method), buffer, count)?;
        source.finish()?;
        let wrong = |kind, detail| Err(Error::found(kind, "verify", source.path().to_vec(), detail));
        if read.bytes != transfer.size {
            return wrong(Kind::Changed, "it did not give as many bytes as it has when it was read again");
        }
        if read.digest != digest {
            return wrong(Kind::Unstable, "it gave different bytes when it was read again");
        }
        Ok(Reading { bytes: read.bytes, method: read.method.unwrap_or(method) })
    }
}

/// Notes what came of the second readings. A file that read otherwise has no content that could be believed.
pub(crate) fn note(staged: &mut [Staged], readings: Vec<Option<Result<Reading>>>) {
    for (one, reading) in staged.iter_mut().zip(readings) {
        match reading {
            None => {}
            Some(Ok(reading)) => {
                one.bytes_read += reading.bytes;
                one.warm = reading.method == Method::Reread;
            }
            Some(Err(error)) => {
                one.content = None;
                one.fault.get_or_insert(error);
            }
        }
    }
}
