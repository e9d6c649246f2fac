//! Where the copying of a file begins: at its first byte, or behind what every root holds of it already.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::inspect;
use crate::platform;
use crate::progress::Page;
use crate::sink::Sink;
use crate::trail::Trail;
use crate::tree::Gathered;

/// Where a file is begun, and who is told of it.
#[derive(Default)]
pub(crate) struct Start {
    /// A multiple of the file's block. Every sink has what comes before.
    pub(crate) offset: u64,
    pub(crate) block: u64,
    pub(crate) trail: Option<Arc<Trail>>,
    /// Roots on which a part was not gone on with because nothing shows what its device holds.
    pub(crate) unshown: Vec<usize>,
}

impl Start {
    /// The values of what comes before.
    pub(crate) fn gathered(&self, size: u64) -> Gathered {
        let block = crate::tree::block_of(size);
        let known = self.trail.as_ref().map(|trail| trail.values(self.offset / block));
        Gathered::with(size, known.unwrap_or_default())
    }

    /// Hands on what comes before to whoever takes a file's bytes in order: read from a copy that holds it, and looked
    /// at once more. False if it does not read as it should any more; what was handed on is void then.
    pub(crate) fn hand_on(
        &self,
        sinks: &[Result<Sink>],
        buffer: &mut [u8],
        page: &Page,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        let mut whole = sinks.iter().enumerate().filter_map(|(root, sink)| Some((root, sink.as_ref().ok()?)));
        let (Some(trail), Some((root, sink))) = (&self.trail, whole.next()) else { return Ok(true) };
        let (place, page) = (sink.place(), &page.at(root));
        let Ok(file) = place.dir.open_file(&place.name) else { return Ok(false) };
        platform::sequential(&file);
        for (index, value) in (0..).zip(trail.values(self.offset.checked_div(self.block).unwrap_or(0))) {
            let range = (index * self.block, (index + 1) * self.block);
            match inspect::handed_on(&file, &place.path, range, buffer, page, take) {
                Ok(found) if found == value => {}
                Err(error) if error.kind == Kind::Cancelled => return Err(error),
                Ok(_) | Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The source is read from its first byte after all; every sink keeps what it has.
    pub(crate) fn anew(&mut self, sinks: &mut [Result<Sink>]) {
        self.offset = 0;
        sinks.iter_mut().flatten().for_each(|sink| sink.expect(0));
    }

    /// Fails if the source read otherwise than when a part was made of it that was gone on with.
    pub(crate) fn agrees(&self, source: &[u8]) -> Result<()> {
        if self.trail.as_ref().is_some_and(|trail| trail.disagrees()) {
            let detail = "it gave different bytes when it was read again";
            return Err(Error::found(Kind::Unstable, "read", source.to_vec(), detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
