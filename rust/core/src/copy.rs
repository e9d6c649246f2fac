//! A batch of files on its way: copied, flushed and read back part by part.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::behind::Behind;
use crate::buffer::{buffer_is_valid, Buffer};
use crate::clone::{Sharing, Strategy};
use crate::content::Content;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::flush::{flush, Column, Copy};
use crate::lanes::{self, Lanes};
use crate::mismatch::Blame;
use crate::platform::Dir;
use crate::progress::Page;
use crate::pump::pump;
use crate::readback::{Outcome, Proofs};
use crate::resume::{Attempt, Trails};
use crate::root::{Parents, Root};
use crate::sink::{Place, Sink, Written, SMALL};
use crate::source::Source;
use crate::spread::{spread, Task, LEAST, TURN};
use crate::start::Start;
use crate::threads::side_by_side;
use crate::trail::{self, Trail};
use crate::transfer::{now, Batch, Spent, StageOptions, Staged, Transfer, Verdict, THREADS_MAX};
use crate::volume;

/// Most copies that are open at once. Each may hold a descriptor of its own and one of its folder, and a process
/// has 1,024 by default.
const OPEN: usize = 128;

/// Most files of a part whose copies are closed as soon as they are written: enough that one flush of the file system
/// is nothing to each of them, and few enough that proof follows soon.
const CLOSED: usize = 1000;

/// Small files that are opened and asked for before their turn, so that the device works on several at once: 20,000 of
/// 16 KiB, cold, were copied and proven in 3.0 s with it and in 4.2 s without (ext4 on a virtual disk, two workers).
pub(crate) const AHEAD: usize = 16;

/// Fewer small files than this in a part are flushed one by one: a flush of the file system waits for what everybody
/// has written there, and a card of clips with a sidecar each has a handful per part.
const FEW: usize = 32;

/// A part of a batch ends after this many bytes, so that proof follows the copy soon, and a failing device is
/// noticed before much is written to it in vain.
const BYTES: u64 = 1 << 30;

/// Copies a batch of files into staging files on every root, and proves them.
///
/// `staging[r][i]` is where file `i` goes on `roots[r]`. Within a part of the batch all files are written first,
/// then sent to the device together, then flushed, then read back: a flush per small file right after its write
/// costs 2 to 3.5 times as much. Devices are waited for side by side, one thread for each; what one device holds is
/// read back by `threads`, or their share of them.
///
/// Fails as a whole only for arguments that do not fit together (`EINVAL`); everything else is said per file.
pub fn stage(
    source: &Root,
    roots: &[&Root],
    transfers: &[Transfer<'_>],
    staging: &[Vec<&[u8]>],
    options: StageOptions<'_>,
    page: &Page,
) -> Result<Batch> {
    let fits = staging.len() == roots.len()
        && staging.iter().all(|paths| paths.len() == transfers.len())
        && options.partial.is_none_or(|partial| partial.keys.len() == roots.len());
    if !fits || !buffer_is_valid(options.buffer) || !(1..=THREADS_MAX).contains(&options.threads) {
        let detail = "columns of different length, or a bad buffer size or number of threads";
        return Err(Error::refused("stage", source.path().to_vec(), libc::EINVAL, detail));
    }
    let big = transfers.iter().any(|transfer| transfer.size >= SMALL);
    let mut devices = devices(roots, options.together, big);
    // Parts of clones and links are no parts: who shares its source's bytes has all of them at once.
    let written = options.strategy == Strategy::Copy;
    let large = transfers.iter().any(|transfer| transfer.size >= trail::LEAST);
    let trails = options.partial.filter(|_| written && large);
    let mut batch = Batch { staged: Vec::with_capacity(transfers.len()), spent: Spent::default() };
    thread::scope(|scope| {
        let mut end = End(Vec::new());
        for device in &mut devices {
            let Some(behind) = device.behind.clone() else { continue };
            end.0.push(Arc::clone(&behind));
            let writes = move || behind.run(page);
            if thread::Builder::new().name("behind".to_owned()).spawn_scoped(scope, writes).is_err() {
                // No thread is to be had: pages go as the system pleases.
                device.behind = None;
            }
        }
        let beside = transfers.iter().any(|transfer| transfer.size >= lanes::LEAST);
        let step = length(options);
        // Made in here: its lanes end with it, and the scope waits for them.
        let mut work = Work {
            source,
            roots,
            sources: Parents::new(source),
            targets: roots.iter().map(|root| Parents::new(root)).collect(),
            devices,
            sharing: Sharing::new(options.strategy),
            trails: trails.and_then(Trails::open),
            buffers: Vec::new(),
            lanes: Lanes::start(options.hashes, beside, step, scope),
            options,
            page,
        };
        while batch.staged.len() < transfers.len() {
            let from = batch.staged.len();
            let part = &transfers[from..from + work.part_length(&transfers[from..])];
            work.part(part, &mut batch, |root, index| staging[root][from + index]);
        }
    });
    Ok(batch)
}

/// Lets the threads end that write behind, whatever ends the work.
struct End(Vec<Arc<Behind>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.iter().for_each(|behind| behind.end());
    }
}

/// Roots that share a device, and are worked on in turn.
struct Device {
    roots: Vec<usize>,
    /// Small files here may be flushed by one request for the file system.
    together: bool,
    /// Where big files go while they are written; none where pages cannot be dropped, or none are big.
    behind: Option<Arc<Behind>>,
}

fn devices(roots: &[&Root], together: bool, big: bool) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for (index, root) in roots.iter().enumerate() {
        let together = together && volume::flushes_together(root.magic());
        let behind = (big && root.coldness().evictable).then(Arc::default);
        match devices.iter_mut().find(|device| roots[device.roots[0]].dev() == root.dev()) {
            Some(device) => device.roots.push(index),
            None => devices.push(Device { roots: vec![index], together, behind }),
        }
    }
    devices
}

struct Work<'a> {
    source: &'a Root,
    roots: &'a [&'a Root],
    trails: Option<Trails<'a>>,
    sources: Parents<'a>,
    targets: Vec<Parents<'a>>,
    devices: Vec<Device>,
    sharing: Sharing,
    /// As many as there are threads, made when they are needed.
    buffers: Vec<Buffer>,
    lanes: Lanes,
    options: StageOptions<'a>,
    page: &'a Page,
}

/// A transfer whose bytes were read, and written wherever that was possible.
struct Copied {
    staged: Staged,
    copies: Vec<Result<Copy>>,
}

impl Work<'_> {
    /// How many of these transfers are worked on together, at least one.
    fn part_length(&self, transfers: &[Transfer<'_>]) -> usize {
        let together = self.devices.iter().all(|device| device.together);
        let most = (OPEN / self.roots.len().max(1)).max(1);
        let (mut bytes, mut open) = (0_u64, 0);
        let fits = |transfer: &&Transfer<'_>| {
            open += usize::from(!together || transfer.size >= SMALL);
            let fits = bytes < BYTES && open <= most;
            bytes = bytes.saturating_add(transfer.size);
            fits
        };
        transfers.iter().take(CLOSED).take_while(fits).count().max(1)
    }

    /// Copies, flushes and proves some files together.
    fn part<'p>(&mut self, part: &[Transfer<'_>], batch: &mut Batch, place: impl Fn(usize, usize) -> &'p [u8]) {
        let mut clock = Instant::now();
        // Opened before anything is written: only then do they tell of every write that fails.
        let many = part.iter().filter(|transfer| transfer.size < SMALL).count() >= FEW;
        let barrier = |device: &Device| {
            let together = many && device.together;
            together.then(|| self.roots[device.roots[0]].open_beneath(b"").ok().map(Arc::new)).flatten()
        };
        let barriers: Vec<Option<Arc<Dir>>> = self.devices.iter().map(barrier).collect();
        let mut closes = vec![false; self.roots.len()];
        for (device, barrier) in self.devices.iter().zip(&barriers) {
            device.roots.iter().for_each(|&root| closes[root] = barrier.is_some());
        }
        let mut staged = Vec::with_capacity(part.len());
        let mut columns: Vec<Column<Copy>> = self.roots.iter().map(|_| Vec::with_capacity(part.len())).collect();
        let mut ahead = VecDeque::with_capacity(AHEAD);
        for (index, transfer) in part.iter().enumerate() {
            let next = part[index..].iter().enumerate().skip(ahead.len());
            let early = next.take(AHEAD - ahead.len()).take_while(|(turn, next)| *turn == 0 || next.size < SMALL);
            ahead.extend(early.map(|(_, next)| self.open(next)));
            let staging: Vec<&[u8]> = (0..self.roots.len()).map(|root| place(root, index)).collect();
            let source = ahead.pop_front().unwrap_or_else(|| self.open(transfer));
            let copied = self.copy(transfer, source, &staging, &closes);
            staged.push(copied.staged);
            for (column, copy) in columns.iter_mut().zip(copied.copies) {
                column.push(copy);
            }
        }
        self.page.item(0, None);
        batch.spent.copying += lap(&mut clock);
        let columns = self.flush(part, columns, &barriers);
        batch.spent.flushing += lap(&mut clock);
        let digests: Vec<Option<Digest>> = staged.iter().map(Staged::digest).collect();
        let outcomes = self.read_back(part, &digests, &columns);
        conclude(&mut staged, columns, outcomes);
        batch.staged.append(&mut staged);
        batch.spent.reading_back += lap(&mut clock);
    }

    /// Phase one: reads a file once, hashes it and writes it to every root.
    fn copy(&mut self, transfer: &Transfer<'_>, source: Result<Source>, staging: &[&[u8]], closes: &[bool]) -> Copied {
        self.page.item(0, Some(transfer.item));
        self.page.operation();
        let mut staged = Staged {
            content: None,
            bytes_read: 0,
            resumed: 0,
            unshown: Vec::new(),
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
        let written = |(sink, closes): (Sink, &bool)| match closes {
            true if transfer.size < SMALL => sink.close(transfer.mtime_ns).map(Copy::Closed),
            _ => sink.complete(page).map(Copy::Open),
        };
        let copies = match sinks {
            Ok(sinks) => sinks.into_iter().zip(closes).map(|(slot, closes)| written((slot?, closes))).collect(),
            Err(error) => {
                staged.fault = Some(error.clone());
                staging.iter().map(|_| Err(error.clone())).collect()
            }
        };
        Copied { staged, copies }
    }

    fn open(&mut self, transfer: &Transfer<'_>) -> Result<Source> {
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
        self.buffers(self.devices.len().max(1));
        let devices = &self.devices;
        let behind = |root: usize| {
            let device = devices.iter().find(|device| device.roots.contains(&root));
            device.and_then(|device| device.behind.as_ref())
        };
        let Some(trails) = self.trails.as_ref().filter(|_| transfer.size >= trail::LEAST) else {
            let sharing = &mut self.sharing;
            let (page, source) = (self.page, &*source);
            let mut create = |(root, place): (usize, Result<Place>)| {
                let place = place?;
                match sharing.make(source, root, &place, page)? {
                    Some(file) => Ok(Sink::shared(place, file, sharing.strategy())),
                    None => Sink::create(place, transfer.size, behind(root)),
                }
            };
            return Ok((places.into_iter().enumerate().map(&mut create).collect(), Start::default()));
        };
        let shared: Vec<&[usize]> = self.devices.iter().map(|device| device.roots.as_slice()).collect();
        let attempt = Attempt { trails, transfer, roots: self.roots, staging, devices: &shared, page: self.page };
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

    /// Phase two: one thread per device waits for it.
    fn flush(
        &self,
        part: &[Transfer<'_>],
        columns: Vec<Column<Copy>>,
        barriers: &[Option<Arc<Dir>>],
    ) -> Vec<Column<Written>> {
        let mut columns: Vec<_> = columns.into_iter().map(Some).collect();
        let take = |device: &Device| device.roots.iter().filter_map(|&root| columns[root].take()).collect::<Vec<_>>();
        let work: Vec<_> = self.devices.iter().map(take).collect();
        let flushed =
            side_by_side(work, |device, columns| flush(part, columns, barriers[device].clone(), device, self.page));
        let mut flushed: Vec<_> = flushed.into_iter().map(Vec::into_iter).collect();
        let device_of = |root| self.devices.iter().position(|device| device.roots.contains(&root));
        // Each device gives its columns back in the order of its roots.
        (0..self.roots.len()).filter_map(|root| flushed[device_of(root)?].next()).collect()
    }

    /// Phase three: every copy is read back, each device by threads of its own.
    fn read_back(
        &mut self,
        part: &[Transfer<'_>],
        digests: &[Option<Digest>],
        columns: &[Column<Written>],
    ) -> Vec<Outcome> {
        if self.devices.is_empty() {
            return Vec::new();
        }
        let share = (self.options.threads / self.devices.len()).max(1);
        let (source, roots, page) = (self.source, self.roots, self.page);
        let count = share * self.devices.len();
        self.buffers(count);
        let proofs = Proofs { source, roots, part, digests, step: self.options.buffer, page };
        let work: Vec<_> = self.devices.iter().zip(self.buffers.chunks_mut(share)).collect();
        let outcomes = side_by_side(work, |index, (device, buffers)| {
            let columns: Vec<_> = device.roots.iter().map(|&root| (root, &columns[root])).collect();
            proofs.prove(&columns, buffers, index * share)
        });
        outcomes.into_iter().flatten().collect()
    }

    /// So many buffers, each long enough for reading in steps and in pieces.
    fn buffers(&mut self, count: usize) -> &mut [Buffer] {
        let length = length(self.options);
        while self.buffers.len() < count {
            self.buffers.push(Buffer::new(length));
        }
        &mut self.buffers[..count]
    }
}

/// Bytes of a buffer that is long enough for both ways.
fn length(options: StageOptions) -> usize {
    let turn = if options.threads > 1 { TURN } else { 0 };
    usize::try_from(turn).map_or(options.buffer, |turn| turn.max(options.buffer))
}

/// Puts together what is known of each transfer. A source that gave other bytes the second time takes all its copies
/// with it, proven or not.
fn conclude(staged: &mut [Staged], columns: Vec<Column<Written>>, outcomes: Vec<Outcome>) {
    let mut table: Vec<Vec<Option<_>>> = columns.iter().map(|column| column.iter().map(|_| None).collect()).collect();
    for ((root, index), outcome) in outcomes {
        if let Err(Blame::Source(error)) = &outcome {
            let one = &mut staged[index];
            one.content = None;
            one.fault.get_or_insert_with(|| error.clone());
        }
        table[root][index] = Some(outcome);
    }
    for (column, outcomes) in columns.into_iter().zip(table) {
        for ((one, copy), outcome) in staged.iter_mut().zip(column).zip(outcomes) {
            let verdict = match (copy, &one.fault, outcome) {
                (Ok(copy), Some(fault), _) => Err(copy.place.remove(fault.clone())),
                (Err(_), Some(fault), _) => Err(fault.clone()),
                (Ok(copy), None, Some(Ok(proven))) => {
                    one.resumed += copy.had;
                    Ok((proven, copy.strategy))
                }
                (Ok(copy), None, Some(Err(Blame::Copy(error) | Blame::Source(error)))) => {
                    Err(copy.place.give_up(error))
                }
                (Ok(copy), None, None) => Err(copy.place.give_up(copy.place.cancelled())),
                (Err(error), None, _) => Err(error),
            };
            one.copies.push(match verdict {
                Ok((proven, strategy)) => Verdict {
                    outcome: Ok(proven.method),
                    validated_ns: proven.at_ns,
                    mtime_ns: proven.mtime_ns,
                    strategy: Some(strategy),
                },
                Err(error) => Verdict::failed(error),
            });
        }
    }
}

/// Nanoseconds since the last lap.
fn lap(clock: &mut Instant) -> u64 {
    let now = Instant::now();
    let since = now.duration_since(std::mem::replace(clock, now));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
