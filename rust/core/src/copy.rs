//! One read, one hash, N copies, each flushed and read back before it counts.

use std::time::Instant;

use crate::buffer::{buffer_is_valid, Buffer};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::mismatch::{self, Blame};
use crate::progress::Page;
use crate::root::{Parents, Root};
use crate::sink::{Place, Sink, Written};
use crate::source::{Mode, Source};
use crate::transfer::{now, Batch, Spent, StageOptions, Staged, Transfer, Verdict, THREADS_MAX};
use crate::verify;
use crate::volume::Method;

/// Most copies that are open at once. Each may hold a descriptor of its own and one of its folder, and a process
/// has 1,024 by default.
const OPEN: usize = 128;

/// A part of a batch ends after this many bytes, so that proof follows the copy soon, and a failing device is
/// noticed before much is written to it in vain.
const BYTES: u64 = 1 << 30;

/// Copies a batch of files into staging files on every root, and proves them.
///
/// `staging[r][i]` is where file `i` goes on `roots[r]`. Within a part of the batch all files are written first,
/// then sent to the device together, then flushed one by one, then read back: a flush per small file right after
/// its write costs 2 to 3.5 times as much.
///
/// Fails as a whole only for arguments that do not fit together (`EINVAL`); everything else is said per file.
pub fn stage(
    source: &Root,
    roots: &[&Root],
    transfers: &[Transfer<'_>],
    staging: &[Vec<&[u8]>],
    options: StageOptions,
    page: &Page,
) -> Result<Batch> {
    let fits = staging.len() == roots.len() && staging.iter().all(|paths| paths.len() == transfers.len());
    if !fits || !buffer_is_valid(options.buffer) || !(1..=THREADS_MAX).contains(&options.threads) {
        let detail = "columns of different length, or a bad buffer size or number of threads";
        return Err(Error::refused("stage", source.path().to_vec(), libc::EINVAL, detail));
    }
    let mut work = Work {
        source,
        roots,
        sources: Parents::new(source),
        targets: roots.iter().map(|root| Parents::new(root)).collect(),
        buffer: Buffer::new(options.buffer),
        mode: options.mode,
        page,
        spent: Spent::default(),
    };
    let mut staged = Vec::with_capacity(transfers.len());
    while staged.len() < transfers.len() {
        let from = staged.len();
        let part = &transfers[from..from + part_length(&transfers[from..], roots.len())];
        work.part(part, &mut staged, |root, index| staging[root][from + index]);
    }
    page.item(0, None);
    Ok(Batch { staged, spent: work.spent })
}

/// How many of these transfers are worked on together, at least one.
fn part_length(transfers: &[Transfer<'_>], roots: usize) -> usize {
    let mut bytes = 0_u64;
    let most = (OPEN / roots.max(1)).max(1);
    let fitting = transfers.iter().take(most).take_while(|transfer| {
        let fits = bytes < BYTES;
        bytes = bytes.saturating_add(transfer.size);
        fits
    });
    fitting.count().max(1)
}

struct Work<'a> {
    source: &'a Root,
    roots: &'a [&'a Root],
    sources: Parents<'a>,
    targets: Vec<Parents<'a>>,
    buffer: Buffer,
    mode: Mode,
    page: &'a Page,
    spent: Spent,
}

/// A transfer whose bytes are written, or that failed at its source.
struct Copied {
    started_ns: i64,
    ended_ns: i64,
    bytes_read: u64,
    digest: Option<Digest>,
    sinks: Result<Vec<Result<Sink>>>,
}

/// A transfer whose copies are flushed, or failed one by one.
struct Flushed {
    staged: Staged,
    copies: Vec<Result<Written>>,
}

impl Work<'_> {
    /// Copies, flushes and proves some files together.
    fn part<'p>(&mut self, part: &[Transfer<'_>], staged: &mut Vec<Staged>, place: impl Fn(usize, usize) -> &'p [u8]) {
        let mut clock = Instant::now();
        let mut copied = Vec::with_capacity(part.len());
        for (index, transfer) in part.iter().enumerate() {
            let staging: Vec<&[u8]> = (0..self.roots.len()).map(|root| place(root, index)).collect();
            copied.push(self.copy(transfer, &staging));
        }
        self.spent.copying += lap(&mut clock);
        for (transfer, copied) in part.iter().zip(&mut copied) {
            self.start_flush(transfer, copied);
        }
        let mut flushed = Vec::with_capacity(part.len());
        for (transfer, copied) in part.iter().zip(copied) {
            flushed.push(self.flush(transfer, copied));
        }
        self.spent.flushing += lap(&mut clock);
        for (transfer, flushed) in part.iter().zip(flushed) {
            staged.push(self.validate(transfer, flushed));
        }
        self.spent.reading_back += lap(&mut clock);
    }

    /// Phase one: reads a file once, hashes it and writes it to every root.
    fn copy(&mut self, transfer: &Transfer<'_>, staging: &[&[u8]]) -> Copied {
        self.page.item(0, Some(transfer.item));
        self.page.operation();
        let started_ns = now();
        let (mut bytes_read, mut digest) = (0, None);
        let sinks = self.open(transfer).and_then(|mut source| {
            let mut sinks: Vec<_> =
                (0..staging.len()).map(|root| self.create(root, staging[root], transfer.size)).collect();
            match self.pump(&mut source, &mut sinks, &mut bytes_read) {
                Ok(found) => {
                    digest = found;
                    Ok(sinks)
                }
                Err(error) => {
                    sinks.into_iter().flatten().for_each(|sink| drop(sink.condemn(error.clone())));
                    Err(error)
                }
            }
        });
        let ended_ns = if digest.is_some() { now() } else { 0 };
        Copied { started_ns, ended_ns, bytes_read, digest, sinks }
    }

    fn open(&mut self, transfer: &Transfer<'_>) -> Result<Source> {
        let path = self.source.absolute(transfer.path);
        if self.page.cancelled() {
            return Err(Error::cancelled("open", path));
        }
        let (dir, name) = self.sources.of(transfer.path)?;
        let source = Source::open(dir, name, path, self.mode)?;
        source.expect(transfer.size, transfer.mtime_ns)?;
        Ok(source)
    }

    fn create(&mut self, root: usize, staging: &[u8], size: u64) -> Result<Sink> {
        let targets = &mut self.targets[root];
        let (dir, name) = targets.of_new(staging)?;
        if let Some(error) = targets.sync().into_values().next() {
            return Err(error);
        }
        let path = self.roots[root].absolute(staging);
        Sink::create(Place { dir, name: name.to_vec(), path }, size)
    }

    /// Moves the bytes; no digest if no copy was left to write to.
    fn pump(
        &mut self,
        source: &mut Source,
        sinks: &mut [Result<Sink>],
        bytes_read: &mut u64,
    ) -> Result<Option<Digest>> {
        let mut hasher = Hasher::new();
        loop {
            if self.page.cancelled() {
                return Err(Error::cancelled("read", source.path().to_vec()));
            }
            if !sinks.is_empty() && sinks.iter().all(Result::is_err) {
                return Ok(None);
            }
            let bytes = source.next(&mut self.buffer)?;
            if bytes.is_empty() {
                break;
            }
            *bytes_read += bytes.len() as u64;
            self.page.read(bytes.len());
            hasher.update(bytes);
            for slot in sinks.iter_mut() {
                self.page.written(write(slot, bytes));
            }
        }
        source.finish()?;
        Ok(Some(hasher.finish()))
    }

    /// Phase two, first half: every file starts on its way to the device before any is waited for.
    fn start_flush(&self, transfer: &Transfer<'_>, copied: &mut Copied) {
        for slot in copied.sinks.iter_mut().flatten() {
            if self.page.cancelled() {
                return;
            }
            let Ok(sink) = slot else { continue };
            self.page.operation();
            if let Err(error) = sink.start_flush(transfer.mtime_ns) {
                condemn(slot, error);
            }
        }
    }

    /// Phase two, second half: one fsync per file.
    fn flush(&self, transfer: &Transfer<'_>, copied: Copied) -> Flushed {
        self.page.item(0, Some(transfer.item));
        let mut staged = Staged {
            digest: copied.digest,
            bytes_read: copied.bytes_read,
            started_ns: copied.started_ns,
            copied_ns: copied.ended_ns,
            fault: None,
            copies: Vec::new(),
        };
        let sinks = copied.sinks.unwrap_or_else(|error| {
            staged.fault = Some(error.clone());
            self.roots.iter().map(|_| Err(error.clone())).collect()
        });
        let finish = |sink: Sink| {
            self.page.operation();
            if self.page.cancelled() {
                let error = sink.cancelled();
                return Err(sink.condemn(error));
            }
            match sink.drain(transfer.size, self.page) {
                Ok(()) => sink.finish(),
                Err(error) => Err(sink.condemn(error)),
            }
        };
        Flushed { staged, copies: sinks.into_iter().map(|slot| slot.and_then(finish)).collect() }
    }

    /// Phase three: reads every copy of a file back.
    fn validate(&mut self, transfer: &Transfer<'_>, flushed: Flushed) -> Staged {
        self.page.item(0, Some(transfer.item));
        let Flushed { mut staged, copies } = flushed;
        let mut blame = None;
        for (root, copy) in copies.iter().enumerate() {
            staged.copies.push(match (copy, &blame, staged.digest) {
                (Err(error), _, _) => Verdict::failed(error.clone()),
                // The digest is known whenever a copy was written to its end.
                (Ok(_), Some(_), _) | (Ok(_), None, None) => continue,
                (Ok(copy), None, Some(digest)) => match self.prove(transfer, root, copy, &digest) {
                    Ok(method) => Verdict { outcome: Ok(method), validated_ns: now(), mtime_ns: copy.stat.mtime_ns },
                    Err(Blame::Copy(error)) => Verdict::failed(copy.place.remove(error)),
                    Err(Blame::Source(error)) => {
                        blame = Some(error);
                        continue;
                    }
                },
            });
        }
        if let Some(error) = blame {
            copies.iter().flatten().for_each(|copy| drop(copy.place.remove(error.clone())));
            staged.copies = vec![Verdict::failed(error.clone()); copies.len()];
            staged.digest = None;
            staged.fault = Some(error);
        }
        staged
    }

    fn prove(
        &mut self,
        transfer: &Transfer<'_>,
        root: usize,
        copy: &Written,
        digest: &Digest,
    ) -> std::result::Result<Method, Blame> {
        self.page.operation();
        let coldness = self.roots[root].coldness();
        let back = verify::read_back(copy, coldness, &mut self.buffer, self.page).map_err(Blame::Copy)?;
        match back.method {
            Some(method) if back.digest == *digest && back.bytes == transfer.size => Ok(method),
            _ => Err(mismatch::examine(self.open(transfer), digest, &copy.place, coldness, self.page)),
        }
    }
}

/// Writes to a copy that is still alive and says how many bytes went; a failure ends that copy alone.
fn write(slot: &mut Result<Sink>, bytes: &[u8]) -> usize {
    let Ok(sink) = slot else { return 0 };
    match sink.write(bytes) {
        Ok(()) => bytes.len(),
        Err(error) => {
            condemn(slot, error);
            0
        }
    }
}

/// Nanoseconds since the last lap.
fn lap(clock: &mut Instant) -> u64 {
    let now = Instant::now();
    let since = now.duration_since(std::mem::replace(clock, now));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn condemn(slot: &mut Result<Sink>, error: Error) {
    if let Ok(sink) = std::mem::replace(slot, Err(error.clone())) {
        *slot = Err(sink.condemn(error));
    }
}
