//! The trail of a big file: what was read of its source and where its half-made copies are, told to a file beside the
//! journal while they are made, so that the next attempt can go on from there.
//!
//! A trail holds the chaining values of the source's blocks ([`crate::tree`]) and, for each root, the staging names of
//! the part that was begun there. It promises nothing about the parts: whoever goes on proves them from the device
//! against the values (`resume.rs`). So a trail may be late, or ahead of what was written, and do no harm; what it has
//! to be certain of is that a part of which a write, a flush or a close failed is *condemned* in it, durably, before
//! that part is removed.
//!
//! The file begins with 8 bytes of name, 4 of version; then records: 1 byte of kind, 4 of length, the payload, and 16 of
//! the BLAKE3 of the record before's check, the kind, the length and the payload. Numbers are little-endian. What follows
//! the first record that does not check is not believed, nor a file of another version. The first record says what is
//! being copied. Whoever writes to a trail holds its lock (flock), until its process has ended altogether: a worker that
//! hangs in the kernel can so never share a part with its successor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::digest;
use crate::error::{Error, Result};
use crate::platform::{self, Dir};
use crate::progress::Page;
use crate::root::folder_of;
use crate::sink;
use crate::transfer::Transfer;
use crate::tree::{block_of, ChainingValue};

/// Files from this size on leave a trail. A smaller one is copied again within a second on any disk that footage comes
/// from (it is read at 90 MB/s from a slow card), while going on costs two flushes, a proof of its part and 18 blocks
/// read again.
pub const LEAST: u64 = 64 << 20;

/// A part with fewer finished blocks than this is made again: 18 of them would be read again only to be sure.
pub(crate) const WORTH: u64 = 32;

/// Values wait in memory for no longer than this (they are written by whoever finishes a block), and go to the disk
/// within [`SYNC`]: together, and with a flush that takes a second, within the five seconds that are promised.
const APPEND: Duration = Duration::from_secs(1);
const SYNC: Duration = Duration::from_secs(2);

/// A trail is 2 MiB at most, and as much again for each attempt that read other bytes: what is longer is no trail.
const LONGEST: u64 = 64 << 20;

const NAME: &[u8; 8] = b"ingtrail";
const VERSION: u32 = 1;

const HEAD: u8 = 1;
const CREATED: u8 = 2;
const RENAMED: u8 = 3;
const VALUES: u8 = 4;
const CONDEMNED: u8 = 5;

/// Kind and length of a record, and its check.
const FRONT: usize = 5;
const CHECK: usize = 16;

type Check = [u8; CHECK];

/// What is being copied. A trail that has another head tells nothing about this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    mtime_ns: i64,
    /// Length of a block.
    pub(crate) block: u64,
    /// BLAKE3 of the path beneath the source.
    path: digest::Digest,
    /// What the source is stored on, in the caller's words.
    volume: Vec<u8>,
}

impl Head {
    pub(crate) fn of(transfer: &Transfer<'_>, volume: &[u8]) -> Self {
        Self {
            size: transfer.size,
            mtime_ns: transfer.mtime_ns,
            block: block_of(transfer.size),
            path: digest::of(transfer.path),
            volume: volume.to_vec(),
        }
    }

    /// Blocks that have a value here: whole ones.
    fn blocks(&self) -> usize {
        usize::try_from(self.size / self.block).unwrap_or(0)
    }

    fn encode(&self) -> Vec<u8> {
        let numbers = [self.size.to_le_bytes(), self.mtime_ns.to_le_bytes(), self.block.to_le_bytes()];
        [numbers.as_flattened(), &self.path, &self.volume].concat()
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (size, rest) = payload.split_first_chunk()?;
        let (mtime_ns, rest) = rest.split_first_chunk()?;
        let (block, rest) = rest.split_first_chunk()?;
        let (path, volume) = rest.split_first_chunk()?;
        let (size, block) = (u64::from_le_bytes(*size), u64::from_le_bytes(*block));
        // The length of a block decides how much is believed to come.
        (block == block_of(size)).then(|| Self {
            size,
            mtime_ns: i64::from_le_bytes(*mtime_ns),
            block,
            path: *path,
            volume: volume.to_vec(),
        })
    }
}

/// What a trail tells, as far as it can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) head: Head,
    /// The value of each whole block of the source, where it is known; the one that was told last counts.
    values: Vec<Option<ChainingValue>>,
    /// By root, the staging names that a part was made under, the last one last: a rename is told before it is made.
    pub(crate) parts: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Where what is believed ends, and the check of its last record.
    end: u64,
    check: Check,
}

impl Story {
    /// Reads a trail; none if not even its head can be believed.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(front().as_slice())?;
        let (kind, payload, check, mut rest) = record(&first_check(), rest)?;
        let head = Head::decode(payload).filter(|_| kind == HEAD)?;
        let values = vec![None; head.blocks()];
        let mut story = Self { head, values, parts: BTreeMap::new(), end: 0, check };
        while let Some((kind, payload, check, later)) = record(&story.check, rest) {
            if story.take(kind, payload).is_none() {
                break;
            }
            story.check = check;
            rest = later;
        }
        story.end = (bytes.len() - rest.len()) as u64;
        Some(story)
    }

    /// One more record; none if it makes no sense.
    fn take(&mut self, kind: u8, payload: &[u8]) -> Option<()> {
        match kind {
            CREATED | RENAMED => {
                let (length, rest) = payload.split_first_chunk()?;
                let (key, name) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
                let names = self.parts.entry(key.to_vec()).or_default();
                if kind == CREATED {
                    names.clear();
                }
                names.push(name.to_vec());
            }
            VALUES => {
                let (index, values) = payload.split_first_chunk()?;
                let values = values_of(values)?;
                let from = usize::try_from(u64::from_le_bytes(*index)).ok()?;
                let places = self.values.get_mut(from..from.checked_add(values.len())?)?;
                places.iter_mut().zip(values).for_each(|(place, value)| *place = Some(value));
            }
            CONDEMNED => drop(self.parts.remove(payload)),
            _ => return None,
        }
        Some(())
    }

    /// The values from the first block on, up to the first that is not known.
    pub(crate) fn finished(&self) -> Vec<ChainingValue> {
        self.values.iter().map_while(|value| *value).collect()
    }
}

/// Bytes as values; none if they are no whole ones.
fn values_of(bytes: &[u8]) -> Option<Vec<ChainingValue>> {
    let values = bytes.chunks_exact(size_of::<ChainingValue>());
    values.remainder().is_empty().then(|| values.filter_map(|value| value.try_into().ok()).collect())
}

fn front() -> Vec<u8> {
    [&NAME[..], &VERSION.to_le_bytes()].concat()
}

fn first_check() -> Check {
    check_of(&[&front()])
}

fn check_of(pieces: &[&[u8]]) -> Check {
    let mut check = [0; CHECK];
    check.copy_from_slice(&digest::of(&pieces.concat())[..CHECK]);
    check
}

/// The first record of what is left: kind, payload, its check, and what follows. None at the end, and where a record is
/// not whole or does not follow the one before.
fn record<'b>(before: &Check, bytes: &'b [u8]) -> Option<(u8, &'b [u8], Check, &'b [u8])> {
    let (front, rest) = bytes.split_at_checked(FRONT)?;
    let (&kind, length) = front.split_first()?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    let (check, rest) = rest.split_first_chunk()?;
    (*check == check_of(&[before, front, payload])).then_some((kind, payload, *check, rest))
}

/// A record that follows another one, and its check.
fn encoded(before: &Check, kind: u8, payload: &[u8]) -> (Vec<u8>, Check) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let front = [&[kind][..], &length.to_le_bytes()].concat();
    let check = check_of(&[before, &front, payload]);
    ([&front, payload, &check].concat(), check)
}

/// A name on a root.
fn named(key: &[u8], name: &[u8]) -> Vec<u8> {
    let (length, key) = u16::try_from(key.len()).map_or((0, &key[..0]), |length| (length, key));
    [&length.to_le_bytes(), key, name].concat()
}

/// A trail that is being written, by whoever holds this.
pub(crate) struct Trail {
    dir: Arc<Dir>,
    name: Vec<u8>,
    path: Vec<u8>,
    /// Locked.
    file: File,
    /// Its own name is on the disk.
    settled: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    check: Check,
    values: Vec<Option<ChainingValue>>,
    /// Blocks whose values are not in the file yet.
    pending: Vec<u64>,
    appended: Instant,
    /// Blocks below this are in a part that is being gone on with: the source must not read otherwise now.
    relied: u64,
    disagrees: bool,
    /// It could not be written: nothing more is told, and nothing is to be left because of it.
    broken: bool,
    ended: bool,
}

/// What stands where a trail should be.
pub(crate) enum Found {
    /// A trail of this very file, to be gone on with.
    Ours(Trail, Story),
    /// One of what this file was before, or one that is damaged from its head on. Nobody works with it.
    Other(Option<Story>),
    /// Somebody works with it, if only in the kernel.
    Held,
    Nothing,
}

impl Trail {
    /// Opens a trail, if there is one that nobody else holds.
    pub(crate) fn open(dir: &Arc<Dir>, name: &[u8], path: &[u8], head: &Head) -> io::Result<Found> {
        let file = match dir.open_existing(name) {
            Err(error) if platform::errno(&error) == libc::ENOENT => return Ok(Found::Nothing),
            other => other?,
        };
        if !platform::lock(&file)? || !is_at(&file, dir, name) {
            return Ok(Found::Held);
        }
        let Some(story) = read(dir, name)? else { return Ok(Found::Other(None)) };
        if story.head != *head {
            return Ok(Found::Other(Some(story)));
        }
        // What is not believed goes: it would stand behind what is told next.
        file.set_len(story.end)?;
        (&file).seek(SeekFrom::Start(story.end))?;
        let trail = Self::new(dir, name, path, file, story.check, story.values.clone());
        Ok(Found::Ours(trail, story))
    }

    /// Begins a new trail in the place of whatever is there.
    pub(crate) fn begin(dir: &Arc<Dir>, name: &[u8], path: &[u8], head: &Head) -> io::Result<Self> {
        sink::remove(dir, name)?;
        let file = dir.create_new(name)?;
        if !platform::lock(&file)? || !is_at(&file, dir, name) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (record, check) = encoded(&first_check(), HEAD, &head.encode());
        (&file).write_all(&[front(), record].concat())?;
        Ok(Self::new(dir, name, path, file, check, vec![None; head.blocks()]))
    }

    fn new(
        dir: &Arc<Dir>,
        name: &[u8],
        path: &[u8],
        file: File,
        check: Check,
        values: Vec<Option<ChainingValue>>,
    ) -> Self {
        let state = State {
            check,
            values,
            pending: Vec::new(),
            appended: Instant::now(),
            relied: 0,
            disagrees: false,
            broken: false,
            ended: false,
        };
        let (dir, name, path) = (Arc::clone(dir), name.to_vec(), path.to_vec());
        Self {
            dir,
            name,
            path,
            file,
            settled: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// A part was created on a root; what was there before is no more.
    pub(crate) fn created(&self, key: &[u8], name: &[u8]) {
        self.tell(&mut self.lock(), CREATED, &named(key, name));
    }

    /// A part will be renamed.
    pub(crate) fn renamed(&self, key: &[u8], name: &[u8]) {
        self.tell(&mut self.lock(), RENAMED, &named(key, name));
    }

    /// A part must never be gone on with. Fails if that could not be made durable in any way.
    pub(crate) fn condemn(&self, key: &[u8]) -> Result<()> {
        let mut state = self.lock();
        self.tell(&mut state, CONDEMNED, key);
        if !state.broken && self.file.sync_data().is_ok() && self.settle().is_ok() {
            return Ok(());
        }
        // Without its trail no part is gone on with.
        state.broken = true;
        let gone = sink::remove(&self.dir, &self.name).and_then(|()| self.dir.sync());
        gone.map_err(|error| Error::io("unlink", self.path.clone(), &error))
    }

    /// So many blocks are in parts that are gone on with.
    pub(crate) fn rely(&self, blocks: u64) {
        self.lock().relied = blocks;
    }

    /// The values of the first so many blocks, as far as they are known.
    pub(crate) fn values(&self, blocks: u64) -> Vec<ChainingValue> {
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
        self.lock().values.iter().take(blocks).map_while(|value| *value).collect()
    }

    /// A block of the source was read, and this is its value.
    pub(crate) fn note(&self, index: u64, value: ChainingValue) {
        let mut state = self.lock();
        let relied = index < state.relied;
        let Some(place) = usize::try_from(index).ok().and_then(|at| state.values.get_mut(at)) else { return };
        match place {
            Some(known) if *known == value => return,
            Some(_) if relied => {
                state.disagrees = true;
                return;
            }
            _ => *place = Some(value),
        }
        state.pending.push(index);
        if state.appended.elapsed() >= APPEND {
            self.append(&mut state);
        }
    }

    /// The source read otherwise than when a part was made of it that is being gone on with.
    pub(crate) fn disagrees(&self) -> bool {
        self.lock().disagrees
    }

    /// Whether it tells enough of the source for its parts to be worth leaving, and did so in writing.
    pub(crate) fn worth(&self) -> bool {
        let mut state = self.lock();
        self.append(&mut state);
        let enough = usize::try_from(WORTH).unwrap_or(usize::MAX);
        !state.broken && state.values.len() >= enough && state.values.iter().take(enough).all(Option::is_some)
    }

    /// Does some work, while a thread sees to it that what is told reaches the disk.
    pub(crate) fn kept<T>(trail: Option<&Self>, page: &Page, work: impl FnOnce() -> T) -> T {
        let Some(trail) = trail else { return work() };
        std::thread::scope(|scope| {
            let _end = End(trail);
            scope.spawn(|| trail.keep(page));
            work()
        })
    }

    fn keep(&self, page: &Page) {
        let mut state = self.lock();
        loop {
            let began = Instant::now();
            while let Some(left) = SYNC.checked_sub(began.elapsed()).filter(|_| !state.ended) {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            self.append(&mut state);
            let last = state.ended;
            if state.broken || last && page.cancelled() {
                return;
            }
            // Without the lock: whoever finishes a block must not wait for the disk.
            drop(state);
            let synced = self.file.sync_data().and_then(|()| self.settle());
            state = self.lock();
            state.broken |= synced.is_err();
            if last {
                return;
            }
        }
    }

    /// Makes its own name durable, once.
    fn settle(&self) -> io::Result<()> {
        if !self.settled.load(Ordering::Relaxed) {
            self.dir.sync()?;
            self.settled.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes down what waits, in runs.
    fn append(&self, state: &mut State) {
        state.appended = Instant::now();
        let mut pending = std::mem::take(&mut state.pending);
        pending.sort_unstable();
        for run in pending.chunk_by(|one, next| *next == one + 1) {
            let known = |index: &u64| usize::try_from(*index).ok().and_then(|at| *state.values.get(at)?);
            let values: Vec<ChainingValue> = run.iter().filter_map(known).collect();
            let payload = [&run[0].to_le_bytes(), values.as_flattened()].concat();
            self.tell(state, VALUES, &payload);
        }
    }

    /// Writes one record. After a failure nothing follows: it would not be believed.
    fn tell(&self, state: &mut State, kind: u8, payload: &[u8]) {
        if state.broken {
            return;
        }
        let (record, check) = encoded(&state.check, kind, payload);
        match (&self.file).write_all(&record) {
            Ok(()) => state.check = check,
            Err(_) => state.broken = true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the thread end that keeps a trail, whatever ends the work.
struct End<'a>(&'a Trail);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

/// Whether a name still leads to an open file: whoever held it before may have put another one in its place.
fn is_at(file: &File, dir: &Dir, name: &[u8]) -> bool {
    match (platform::stat_file(file), dir.stat(name)) {
        (Ok(file), Ok(there)) => file.same_file(&there),
        _ => false,
    }
}

fn read(dir: &Dir, name: &[u8]) -> io::Result<Option<Story>> {
    let mut bytes = Vec::new();
    dir.open_file(name)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(Story::read(&bytes))
}

/// The parts that a trail speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Bytes of the file that is being copied.
    pub size: u64,
    /// Each `(key of a root, staging name)`; a part that is being renamed has two names, of which one is there.
    pub names: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The parts that a trail speaks of, by its absolute path; none where no trail is that can be believed.
pub fn parts(path: &[u8]) -> Result<Option<Parts>> {
    let fault = |op, error: &io::Error| Error::io(op, path.to_vec(), error);
    let folder = folder_of(path);
    let name = &path[folder.len()..];
    let dir = Dir::open_root(folder, false).map_err(|error| fault("open", &error))?;
    let story = match read(&dir, name.strip_prefix(b"/").unwrap_or(name)) {
        Err(error) if platform::errno(&error) == libc::ENOENT => None,
        other => other.map_err(|error| fault("read", &error))?,
    };
    Ok(story.map(|Story { head, parts, .. }| Parts {
        size: head.size,
        names: parts
            .into_iter()
            .flat_map(|(key, names)| names.into_iter().map(move |name| (key.clone(), name)))
            .collect(),
    }))
}
