//! A batch of files on its way: copied, flushed and read back part by part.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::again::{self, Again, Reading};
use crate::behind::Behind;
use crate::buffer::{buffer_is_valid, Buffer};
use crate::clone::{Sharing, Strategy};
use crate::conclude::conclude;
use crate::copy::AHEAD;
use crate::devices::{disks, Device, Disk};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::flush::{flush, Column, Copy};
use crate::lanes::{self, Lanes};
use crate::parents::Parents;
use crate::platform::Dir;
use crate::progress::Page;
use crate::readback::{Outcome, Proofs};
use crate::resume::Trails;
use crate::root::Root;
use crate::sink::{Written, SMALL};
use crate::spread::TURN;
use crate::threads::{side_by_side, start};
use crate::trail;
use crate::transfer::{Batch, Spent, StageOptions, Staged, Transfer, THREADS_MAX};

/// Most copies that are open at once. Each may hold a descriptor of its own and one of its folder, and a process
/// has 1,024 by default.
const OPEN: usize = 128;

/// Most files of a part whose copies are closed as soon as they are written: enough that one flush of the file system
/// is nothing to each of them, and few enough that proof follows soon.
const CLOSED: usize = 1000;

/// Fewer small files than this in a part are flushed one by one: a flush of the file system waits for what everybody
/// has written there, and a card of clips with a sidecar each has a handful per part.
pub const FEW: usize = 32;

/// A part of a batch ends after this many bytes, so that proof follows the copy soon, and a failing device is
/// noticed before much is written to it in vain.
const BYTES: u64 = 1 << 30;

/// Copies a batch of files into staging files on every root, and proves them.
///
/// `staging[r][i]` is where file `i` goes on `roots[r]`. Within a part of the batch all files are written first,
/// then sent to the device together, then flushed, then read back: a flush per small file right after its write
/// costs 2 to 3.5 times as much. Disks are waited for side by side, one thread for each; what one disk holds is
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
        && options.partial.is_none_or(|partial| partial.keys.len() == roots.len())
        && (options.disks.is_empty() || options.disks.len() == roots.len());
    if !fits || !buffer_is_valid(options.buffer) || !(1..=THREADS_MAX).contains(&options.threads) {
        let detail = "columns of different length, or a bad buffer size or number of threads";
        return Err(Error::refused("stage", source.path().to_vec(), libc::EINVAL, detail));
    }
    let big = transfers.iter().any(|transfer| transfer.size >= SMALL);
    let mut disks = disks(roots, options.disks, options.together, big);
    // Parts of clones and links are no parts: who shares its source's bytes has all of them at once.
    let written = options.strategy == Strategy::Copy;
    let large = transfers.iter().any(|transfer| transfer.size >= trail::LEAST);
    let trails = options.partial.filter(|_| written && large);
    let mut batch = Batch { staged: Vec::with_capacity(transfers.len()), spent: Spent::default() };
    thread::scope(|scope| {
        let mut end = End(Vec::new());
        for disk in &mut disks {
            let Some(behind) = disk.behind.clone() else { continue };
            end.0.push(Arc::clone(&behind));
            if start(scope, "behind", move || behind.run(page)).is_none() {
                // Pages go as the system pleases.
                disk.behind = None;
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
            disks,
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

/// A call on its way: what it has open, and holds in memory.
pub(crate) struct Work<'a> {
    pub(crate) source: &'a Root,
    pub(crate) roots: &'a [&'a Root],
    pub(crate) trails: Option<Trails<'a>>,
    pub(crate) sources: Parents<'a>,
    pub(crate) targets: Vec<Parents<'a>>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) sharing: Sharing,
    /// As many as there are threads, made when they are needed.
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) lanes: Lanes,
    pub(crate) options: StageOptions<'a>,
    pub(crate) page: &'a Page,
}

impl Work<'_> {
    fn devices(&self) -> impl Iterator<Item = &Device> {
        self.disks.iter().flat_map(|disk| &disk.devices)
    }

    /// How many of these transfers are worked on together, at least one.
    fn part_length(&self, transfers: &[Transfer<'_>]) -> usize {
        let together = self.devices().all(|device| device.together);
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
        let barriers: Vec<Option<Arc<Dir>>> = self.devices().map(barrier).collect();
        let mut closes = vec![false; self.roots.len()];
        for (device, barrier) in self.devices().zip(&barriers) {
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
        let (readings, outcomes) = self.prove(part, &digests, &columns);
        again::note(&mut staged, readings);
        conclude(self.roots, &mut staged, columns, outcomes);
        batch.staged.append(&mut staged);
        batch.spent.reading_back += lap(&mut clock);
    }

    /// Phase two: one thread per disk waits for it, for one file system after the other.
    fn flush(
        &self,
        part: &[Transfer<'_>],
        columns: Vec<Column<Copy>>,
        barriers: &[Option<Arc<Dir>>],
    ) -> Vec<Column<Written>> {
        let mut columns: Vec<_> = columns.into_iter().map(Some).collect();
        let mut barriers = barriers.iter().cloned();
        let mut work = Vec::with_capacity(self.disks.len());
        for disk in &self.disks {
            let mut devices = Vec::with_capacity(disk.devices.len());
            for device in &disk.devices {
                let own: Vec<_> = device.roots.iter().filter_map(|&root| columns[root].take()).collect();
                devices.push((&device.roots, own, barriers.next().flatten()));
            }
            work.push(devices);
        }
        let flushed = side_by_side(work, |thread, devices| {
            let mut flushed = Vec::new();
            for (roots, columns, barrier) in devices {
                let done = flush(part, columns, roots, barrier, thread, self.page);
                flushed.extend(roots.iter().copied().zip(done));
            }
            flushed
        });
        let mut flushed: Vec<_> = flushed.into_iter().flatten().collect();
        flushed.sort_unstable_by_key(|(root, _)| *root);
        flushed.into_iter().map(|(_, column)| column).collect()
    }

    /// Phase three: every copy is read back and, if that is asked for, every source read again: beside it, unless one
    /// of the roots is on the source's own device.
    fn prove(
        &mut self,
        part: &[Transfer<'_>],
        digests: &[Option<Digest>],
        columns: &[Column<Written>],
    ) -> (Vec<Option<Result<Reading>>>, Vec<Outcome>) {
        if !self.options.verify_source {
            return (Vec::new(), self.read_back(part, digests, columns));
        }
        let (source, page, step) = (self.source, self.page, self.options.buffer);
        // Of what has no copy left nobody has to know.
        let wanted = |index: usize| columns.iter().any(|column| column.get(index).is_some_and(Result::is_ok));
        let digests: Vec<_> =
            digests.iter().enumerate().map(|(index, digest)| digest.filter(|_| wanted(index))).collect();
        let word = (self.options.threads / self.disks.len().max(1)).max(1) * self.disks.len();
        let again = Again { source, part, digests: digests.clone(), step, word, page };
        if self.roots.iter().any(|root| root.dev() == source.dev()) {
            let outcomes = self.read_back(part, &digests, columns);
            return (again.read(), outcomes);
        }
        thread::scope(|scope| {
            let beside = start(scope, "again", || again.read());
            let outcomes = self.read_back(part, &digests, columns);
            let readings = match beside {
                Some(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                None => again.read(),
            };
            (readings, outcomes)
        })
    }

    /// Every copy is read back, each disk by threads of its own.
    fn read_back(
        &mut self,
        part: &[Transfer<'_>],
        digests: &[Option<Digest>],
        columns: &[Column<Written>],
    ) -> Vec<Outcome> {
        if self.disks.is_empty() {
            return Vec::new();
        }
        let share = (self.options.threads / self.disks.len()).max(1);
        let (source, roots, page) = (self.source, self.roots, self.page);
        let count = share * self.disks.len();
        self.buffers(count);
        let proofs = Proofs { source, roots, part, digests, step: self.options.buffer, page };
        let work: Vec<_> = self.disks.iter().zip(self.buffers.chunks_mut(share)).collect();
        let outcomes = side_by_side(work, |index, (disk, buffers)| {
            let columns: Vec<_> = disk.roots().map(|root| (root, &columns[root])).collect();
            proofs.prove(&columns, buffers, index * share)
        });
        outcomes.into_iter().flatten().collect()
    }

    /// So many buffers, each long enough for reading in steps and in pieces.
    pub(crate) fn buffers(&mut self, count: usize) -> &mut [Buffer] {
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

/// Nanoseconds since the last lap.
fn lap(clock: &mut Instant) -> u64 {
    let now = Instant::now();
    let since = now.duration_since(std::mem::replace(clock, now));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
