//! Phase one of a part: each file is read once, hashed, and written to every root.

use std::sync::Arc;

use crate::behind::Behind;
use crate::content::Content;
use crate::devices;
use crate::error::{Error, Kind, Result};
use crate::flush::Copy;
use crate::place::Place;
use crate::pump::pump;
use crate::resume::Attempt;
use crate::sink::{Sink, SMALL};
use crate::source::Source;
use crate::spread::{spread, Task, LEAST};
use crate::stage::Work;
use crate::start::Start;
use crate::trail::{self, Trail};
use crate::transfer::{now, Staged, Transfer};
use crate::volume::Coldness;

/// Small files that are opened and asked for before their turn, so that the device works on several at once: 20,000 of
/// 16 KiB, cold, were copied and proven in 3.0 s with it and in 4.2 s without (ext4 on a virtual disk, two workers).
pub(crate) const AHEAD: usize = 16;

/// A transfer whose bytes were read, and written wherever that was possible.
pub(crate) struct Copied {
    pub(crate) staged: Staged,
    pub(crate) copies: Vec<Result<Copy>>,
}

impl Work<'_> {
    /// Reads a file once, hashes it and writes it to every root.
    pub(crate) fn copy(
        &mut self,
        transfer: &Transfer<'_>,
        source: Result<Source>,
        staging: &[&[u8]],
        closes: &[bool],
    ) -> Copied {
        self.page.item(0, Some(transfer.item));
        self.page.operation();
        let mut staged = Staged {
            content: None,
            bytes_read: 0,
            resumed: 0,
            unshown: Vec::new(),
            warm: false,
            started_ns: now(),
            copied_ns: 0,
            fault: None,
            copies: Vec::with_capacity(staging.len()),
        };
        let sinks = source.and_then(|mut source| {
            let (mut sinks, mut start) = self.begin(transfer, &mut source, staging, &mut staged.bytes_read)?;
            staged.unshown = std::mem::take(&mut start.unshown);
            let trail = start.trail.clone();
            let moved = Trail::kept(trail.as_deref(), self.page, || {
                let content = self.pump(transfer, &mut source, &mut sinks, &mut start, &mut staged.bytes_read)?;
                start.agrees(source.path()).map(|()| content)
            });
            match moved.and_then(|content| content.is_some().then(|| source.finish()).transpose().map(|_| content)) {
                Ok(content) => {
                    staged.content = content;
                    Ok(sinks)
                }
                Err(error) => {
                    // A source that is only away may come back: what was made of it so far is gone on with.
                    let away = matches!(error.kind, Kind::Io | Kind::Cancelled);
                    let end = |sink: Sink| if away { sink.leave(error.clone()) } else { sink.condemn(error.clone()) };
                    sinks.iter().flatten().for_each(Sink::abandon);
                    sinks.into_iter().flatten().for_each(|sink| drop(end(sink)));
                    Err(error)
                }
            }
        });
        if staged.content.is_some() {
            staged.copied_ns = now();
        }
        // Small copies wait for the flush of their file system without a descriptor.
        let page = self.page;
        let written = |root: usize, sink: Sink| {
            if closes[root] && transfer.size < SMALL {
                sink.close(transfer.mtime_ns).map(Copy::Closed)
            } else {
                sink.complete(&page.at(root)).map(Copy::Open)
            }
        };
        let copies = match sinks {
            Ok(sinks) => sinks.into_iter().enumerate().map(|(root, slot)| written(root, slot?)).collect(),
            Err(error) => {
                staged.fault = Some(error.clone());
                staging.iter().map(|_| Err(error.clone())).collect()
            }
        };
        Copied { staged, copies }
    }

    /// Opens a source, and sees that it is what the scan saw.
    pub(crate) fn open(&mut self, transfer: &Transfer<'_>) -> Result<Source> {
        let path = self.source.absolute(transfer.path);
        // It may be opened ahead of its turn: should that hang, it is this one that is to blame.
        self.page.item(0, Some(transfer.item));
        if self.page.cancelled() {
            return Err(Error::cancelled("open", path));
        }
        let (dir, name) = self.sources.of(transfer.path)?;
        let mut source = Source::open(dir, name, path, self.options.mode)?;
        source.expect(transfer.size, transfer.mtime_ns)?;
        source.prepare(self.options.buffer, self.options.keep_cache, transfer.size < SMALL);
        Ok(source)
    }

    /// The sinks of a file, and where it is begun: at its start, but for a big one of which parts can be gone on with.
    fn begin(
        &mut self,
        transfer: &Transfer<'_>,
        source: &mut Source,
        staging: &[&[u8]],
        bytes_read: &mut u64,
    ) -> Result<(Vec<Result<Sink>>, Start)> {
        let places: Vec<_> = staging.iter().enumerate().map(|(root, path)| self.place(root, path)).collect();
        self.buffers(self.disks.len().max(1));
        let disks = &self.disks;
        let behind = |root: usize| devices::behind(disks, root);
        let Some(trails) = self.trails.as_ref().filter(|_| transfer.size >= trail::LEAST) else {
            let sharing = &mut self.sharing;
            let (page, source, roots) = (self.page, &*source, self.roots);
            let mut begin = |(root, place): (usize, Result<Place>)| {
                let place = place?;
                match sharing.make(source, root, &place, roots[root].coldness(), page)? {
                    Some(file) => Ok(Sink::shared(place, file, sharing.strategy())),
                    None => create(place, transfer.size, behind(root), roots[root].coldness()),
                }
            };
            return Ok((places.into_iter().enumerate().map(&mut begin).collect(), Start::default()));
        };
        let shared: Vec<Vec<usize>> = disks.iter().map(|disk| disk.roots().collect()).collect();
        let attempt = Attempt { trails, transfer, roots: self.roots, staging, disks: &shared, page: self.page };
        attempt.begin(source, places, &mut self.buffers, bytes_read, behind)
    }

    fn place(&mut self, root: usize, staging: &[u8]) -> Result<Place> {
        let targets = &mut self.targets[root];
        let (dir, name) = targets.of_new(staging)?;
        if let Some(error) = targets.sync().into_values().next() {
            return Err(error);
        }
        Ok(Place { dir, name: name.to_vec(), path: self.roots[root].absolute(staging), mark: None })
    }

    fn pump(
        &mut self,
        transfer: &Transfer<'_>,
        source: &mut Source,
        sinks: &mut [Result<Sink>],
        start: &mut Start,
        bytes_read: &mut u64,
    ) -> Result<Option<Content>> {
        let page = self.page;
        let count = if transfer.size >= LEAST { self.options.threads } else { 1 };
        self.buffers(count);
        let buffers = &mut self.buffers[..count];
        let mut summing = self.lanes.begin(transfer.size);
        // A digest that is no tree takes every byte in turn, those included that are not read from the source again.
        let whole =
            summing.is_empty() || start.hand_on(sinks, &mut buffers[0], page, &mut |bytes| summing.update(bytes))?;
        if !whole {
            start.anew(sinks);
            drop(summing);
            summing = self.lanes.begin(transfer.size);
        }
        source.start_at(start.offset)?;
        if count > 1 {
            return spread(source, sinks, buffers, Task { item: transfer.item, start, summing }, bytes_read, page);
        }
        pump(source, sinks, &mut buffers[0][..self.options.buffer], summing, start, bytes_read, page)
    }
}

/// A new file. One that would lie among its file system's records gets blocks of its own, so that it can be read back
/// from the device.
fn create(place: Place, size: u64, behind: Option<&Arc<Behind>>, coldness: Coldness) -> Result<Sink> {
    let sink = Sink::create(place, size, behind)?;
    if coldness.would_embed(size) {
        if let Err(error) = sink.reserve(size) {
            return Err(sink.condemn(error));
        }
    }
    Ok(sink)
}
