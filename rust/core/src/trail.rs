//! The trail of a big file: what was read of its source and where its half-made copies are, told to a file beside the
//! journal while they are made, so that the next attempt can go on from there.
//!
//! A trail holds the chaining values of the source's blocks ([`crate::tree`]) and, for each root, the staging names of
//! the part that was begun there. It promises nothing about the parts: whoever goes on proves them from the device
//! against the values (`resume.rs`). So a trail may be late, or ahead of what was written, and do no harm; what it has
//! to be certain of is that a part of which a write, a flush or a close failed is *condemned* in it, durably, before
//! that part is removed.
//!
//! Whoever writes to a trail (its bytes are `story.rs`'s) holds its lock (flock), until its process has ended altogether:
//! a worker that hangs in the kernel can so never share a part with its successor.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::place;
use crate::platform::{self, Dir};
use crate::story::{encoded, first_check, front, named, Check, Head, Story, CONDEMNED, CREATED, HEAD, RENAMED, VALUES};
use crate::told;
use crate::tree::ChainingValue;

mod keeper;

/// Files from this size on leave a trail. A smaller one is copied again within a second on any disk that footage comes
/// from (it is read at 90 MB/s from a slow card), while going on costs two flushes, a proof of its part and 18 blocks
/// read again.
pub const LEAST: u64 = 64 << 20;

/// A part with fewer finished blocks than this is made again: 18 of them would be read again only to be sure.
pub(crate) const WORTH: u64 = 32;

/// So many values wait in memory at most, and for no longer than this; then whoever finishes a block writes them down,
/// which costs next to nothing. They go to the disk within [`keeper::SYNC`]: together, and with a flush that takes a
/// second or two, within the five seconds that are promised.
const PENDING: usize = 16;
const APPEND: Duration = Duration::from_millis(250);

/// A trail that is being written, by whoever holds this.
pub(crate) struct Trail {
    dir: Arc<Dir>,
    name: Vec<u8>,
    path: Vec<u8>,
    /// Locked.
    file: File,
    /// Whether its own name is on the disk. Held while the trail is flushed, and taken before the state: the kernel tells
    /// each failed flush once, and whoever asks next must know of it from whoever heard.
    settled: Mutex<bool>,
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
        let Some(story) = told::read(dir, name)? else { return Ok(Found::Other(None)) };
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
        place::remove(dir, name)?;
        let file = dir.create_new(name)?;
        if !platform::lock(&file)? || !is_at(&file, dir, name) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (record, check) = encoded(&first_check(), HEAD, &head.encode()).ok_or(io::ErrorKind::InvalidInput)?;
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
        Self { dir, name, path, file, settled: Mutex::new(false), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A part was created on a root; what was there before is no more.
    pub(crate) fn created(&self, key: &[u8], name: &[u8]) {
        self.tell_of(CREATED, key, name);
    }

    /// A part will be renamed.
    pub(crate) fn renamed(&self, key: &[u8], name: &[u8]) {
        self.tell_of(RENAMED, key, name);
    }

    /// A part must never be gone on with. Fails if that could not be made durable in any way.
    pub(crate) fn condemn(&self, key: &[u8]) -> Result<()> {
        // A flush under way may be the one that hears of a failure: what it heard is known after this.
        let mut settled = self.settled();
        let mut state = self.lock();
        self.tell(&mut state, CONDEMNED, key);
        if !state.broken && self.flush(&mut settled).is_ok() {
            return Ok(());
        }
        // Without its trail no part is gone on with.
        state.broken = true;
        self.withdraw().map_err(|error| Error::io("unlink", self.path.clone(), &error))
    }

    /// Takes the trail from its name, durably. Another one that has taken its place stays.
    fn withdraw(&self) -> io::Result<()> {
        match self.dir.stat(&self.name) {
            Ok(there) if platform::stat_file(&self.file)?.same_file(&there) => place::remove(&self.dir, &self.name)?,
            Err(error) if platform::errno(&error) != libc::ENOENT => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.dir.sync()
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
        if state.pending.len() >= PENDING || state.appended.elapsed() >= APPEND {
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

    /// Writes one record of a part. A key that is too long for a record is no key of a root: nothing is left for it.
    fn tell_of(&self, kind: u8, key: &[u8], name: &[u8]) {
        let mut state = self.lock();
        match named(key, name) {
            Some(payload) => self.tell(&mut state, kind, &payload),
            None => state.broken = true,
        }
    }

    /// Writes one record. After a failure nothing follows: it would not be believed.
    fn tell(&self, state: &mut State, kind: u8, payload: &[u8]) {
        if state.broken {
            return;
        }
        let record = encoded(&state.check, kind, payload);
        match record.map(|(record, check)| (&self.file).write_all(&record).map(|()| check)) {
            Some(Ok(check)) => state.check = check,
            Some(Err(_)) | None => state.broken = true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a name still leads to an open file: whoever held it before may have put another one in its place.
fn is_at(file: &File, dir: &Dir, name: &[u8]) -> bool {
    match (platform::stat_file(file), dir.stat(name)) {
        (Ok(file), Ok(there)) => file.same_file(&there),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
