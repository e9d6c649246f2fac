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
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::platform::{self, Dir};
use crate::progress::Page;
use crate::root::folder_of;
use crate::sink;
use crate::story::{encoded, first_check, front, named, Check, Head, Story, CONDEMNED, CREATED, HEAD, RENAMED, VALUES};
use crate::tree::ChainingValue;

/// Files from this size on leave a trail. A smaller one is copied again within a second on any disk that footage comes
/// from (it is read at 90 MB/s from a slow card), while going on costs two flushes, a proof of its part and 18 blocks
/// read again.
pub const LEAST: u64 = 64 << 20;

/// A part with fewer finished blocks than this is made again: 18 of them would be read again only to be sure.
pub(crate) const WORTH: u64 = 32;

/// So many values wait in memory at most, and for no longer than this; then whoever finishes a block writes them down,
/// which costs next to nothing. They go to the disk within [`SYNC`]: together, and with a flush that takes a second or
/// two, within the five seconds that are promised.
const PENDING: usize = 16;
const APPEND: Duration = Duration::from_millis(250);
const SYNC: Duration = Duration::from_secs(2);

/// A file has 2 MiB of values at most, which take 4 MiB when each is told by itself, and as much again for each attempt
/// that read other bytes. What is longer is no trail; nor is its beginning believed, since at its end may stand what was
/// condemned.
const LONGEST: u64 = 64 << 20;

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
            Ok(there) if platform::stat_file(&self.file)?.same_file(&there) => sink::remove(&self.dir, &self.name)?,
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

    /// Does some work, while a thread sees to it that what is told reaches the disk.
    pub(crate) fn kept<T>(trail: Option<&Self>, page: &Page, work: impl FnOnce() -> T) -> T {
        let Some(trail) = trail else { return work() };
        std::thread::scope(|scope| {
            let _end = End(trail);
            // Where no thread is to be had what is told is written all the same, and flushed when it has to be.
            let keeper = std::thread::Builder::new().name("trail".to_owned());
            let _kept = keeper.spawn_scoped(scope, || trail.keep(page));
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
            // Without the state: whoever finishes a block must not wait for the disk.
            drop(state);
            let mut settled = self.settled();
            let flushed = self.flush(&mut settled);
            state = self.lock();
            // Before anybody else may flush.
            state.broken |= flushed.is_err();
            drop(settled);
            if last {
                return;
            }
        }
    }

    /// Makes what was told durable, and once its own name.
    fn flush(&self, settled: &mut bool) -> io::Result<()> {
        self.file.sync_data()?;
        if !*settled {
            self.dir.sync()?;
            *settled = true;
        }
        Ok(())
    }

    fn settled(&self) -> MutexGuard<'_, bool> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
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
    dir.open_file(name)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(Story::read(&bytes).filter(|_| bytes.len() as u64 <= LONGEST))
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

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use std::collections::BTreeMap;

    use super::*;
    use crate::digest;
    use crate::transfer::Transfer;

    const BLOCK: u64 = 1 << 20;

    fn head(size: u64) -> Head {
        let transfer = Transfer { item: 3, path: b"A/clip.mov", size, mtime_ns: -7 };
        Head::of(&transfer, b"uuid 1234")
    }

    fn value(seed: u64) -> ChainingValue {
        digest::of(&seed.to_le_bytes())
    }

    struct Folder {
        folder: tempfile::TempDir,
        dir: Arc<Dir>,
    }

    impl Folder {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let dir = Arc::new(Dir::open_root(folder.path().as_os_str().as_encoded_bytes(), false).unwrap());
            Self { folder, dir }
        }

        fn begin(&self, head: &Head) -> Trail {
            Trail::begin(&self.dir, b"3.trail", b"/3.trail", head).unwrap()
        }

        fn open(&self, head: &Head) -> Found {
            Trail::open(&self.dir, b"3.trail", b"/3.trail", head).unwrap()
        }

        fn bytes(&self) -> Vec<u8> {
            std::fs::read(self.folder.path().join("3.trail")).unwrap()
        }

        fn write(&self, bytes: &[u8]) {
            std::fs::write(self.folder.path().join("3.trail"), bytes).unwrap();
        }
    }

    /// A trail with every kind of record, and what it tells after each byte of it: the steps at which it tells more.
    fn written(folder: &Folder) -> Vec<(usize, Story)> {
        let trail = folder.begin(&head(100 * BLOCK + 5));
        let mut steps = vec![];
        let mut step = |told: &dyn Fn()| {
            told();
            trail.append(&mut trail.lock());
            let bytes = folder.bytes();
            steps.push((bytes.len(), Story::read(&bytes).unwrap()));
        };
        step(&|| ());
        step(&|| trail.created(b"one", b"s/1.part"));
        step(&|| trail.created(b"two", b"s/1.part"));
        // One by one: told at once they are written in several records.
        for index in 0..40 {
            step(&|| trail.note(index, value(index)));
        }
        step(&|| trail.renamed(b"one", b"s/2.part"));
        step(&|| trail.condemn(b"two").unwrap());
        step(&|| trail.note(99, value(99)));
        steps
    }

    #[test]
    fn what_was_told_is_read_again() {
        let folder = Folder::new();

        let (_, story) = written(&folder).pop().unwrap();

        assert_eq!(story.head, head(100 * BLOCK + 5));
        assert_eq!(story.finished(), (0..40).map(value).collect::<Vec<_>>());
        assert_eq!((story.values[99], story.values.len()), (Some(value(99)), 100));
        assert_eq!(story.parts, BTreeMap::from([(b"one".to_vec(), vec![b"s/1.part".to_vec(), b"s/2.part".to_vec()])]));
        assert_eq!(story.end, folder.bytes().len() as u64);
    }

    #[test]
    fn torn_at_any_byte_it_tells_what_stood_whole_before() {
        let folder = Folder::new();
        let steps = written(&folder);
        let bytes = folder.bytes();

        for length in 0..bytes.len() {
            let whole = steps.iter().rev().find(|(end, _)| *end <= length).map(|(_, story)| story.clone());
            assert_eq!(Story::read(&bytes[..length]), whole, "torn after {length} bytes");
        }
    }

    #[test]
    fn with_any_bit_flipped_it_tells_what_stood_before_the_record() {
        let folder = Folder::new();
        let steps = written(&folder);
        let bytes = folder.bytes();

        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let whole = steps.iter().rev().find(|(end, _)| *end <= at).map(|(_, story)| story.clone());
            assert_eq!(Story::read(&flipped), whole, "flipped in byte {at}");
        }
    }

    #[test]
    fn what_stood_behind_a_torn_record_is_never_believed_again() {
        let folder = Folder::new();
        let head = head(100 * BLOCK);
        let trail = folder.begin(&head);
        trail.created(b"one", b"s/1.part");
        let kept = folder.bytes().len();
        trail.created(b"one", b"s/2.part");
        let torn = folder.bytes().len();
        trail.condemn(b"one").unwrap();
        drop(trail);
        let mut bytes = folder.bytes();
        let condemned = bytes[torn..].to_vec();
        bytes[kept + 5] ^= 1;
        folder.write(&bytes);

        let Found::Ours(trail, story) = folder.open(&head) else { panic!("it is not gone on with") };
        assert_eq!(story.end, kept as u64);
        trail.created(b"one", b"s/3.part");
        let after = [folder.bytes(), condemned].concat();

        assert_eq!(folder.bytes().len(), torn, "as long as what was torn");
        assert_eq!(Story::read(&after).unwrap().parts[&b"one"[..]], [b"s/3.part"]);
    }

    #[test]
    fn another_version_and_other_files_tell_nothing() {
        let folder = Folder::new();
        written(&folder);
        let bytes = folder.bytes();

        let mut newer = bytes.clone();
        newer[8] += 1;
        for other in [newer, b"ingtrail".to_vec(), b"something else altogether".to_vec(), Vec::new()] {
            assert_eq!(Story::read(&other), None);
        }
    }

    #[test]
    fn a_trail_of_what_the_file_was_before_is_another_one() {
        let folder = Folder::new();
        let head = head(100 * BLOCK);
        drop(folder.begin(&head));
        let others = [
            Head { size: 101 * BLOCK, ..head.clone() },
            Head { mtime_ns: -8, ..head.clone() },
            Head { path: [1; 32], ..head.clone() },
            Head { volume: b"uuid 12345".to_vec(), ..head.clone() },
        ];

        for other in others {
            assert!(matches!(folder.open(&other), Found::Other(Some(story)) if story.head == head));
        }
        assert!(matches!(folder.open(&head), Found::Ours(..)));
    }

    #[test]
    fn while_one_holds_it_nobody_else_does() {
        let folder = Folder::new();
        let head = head(100 * BLOCK);
        let first = folder.begin(&head);
        first.created(b"one", b"s/1.part");
        assert!(matches!(folder.open(&head), Found::Held));

        // Whoever came second has begun another one; the first writes to what nobody reads any more.
        let second = folder.begin(&head);
        first.created(b"one", b"s/late.part");
        second.created(b"one", b"s/2.part");

        assert!(matches!(folder.open(&head), Found::Held));
        drop(first);
        assert!(matches!(folder.open(&head), Found::Held));
        drop(second);
        let Found::Ours(_, story) = folder.open(&head) else { panic!("nobody holds it") };
        assert_eq!(story.parts[&b"one"[..]], [b"s/2.part"]);
    }

    #[test]
    fn what_cannot_be_condemned_loses_its_trail() {
        let folder = Folder::new();
        let head = head(100 * BLOCK);
        let trail = folder.begin(&head);
        trail.created(b"one", b"s/1.part");
        // As after an append that failed.
        trail.lock().broken = true;

        trail.condemn(b"one").unwrap();

        assert!(matches!(folder.open(&head), Found::Nothing));
        assert!(!trail.worth());
    }

    #[test]
    fn what_cannot_be_condemned_spares_the_trail_that_took_its_place() {
        let folder = Folder::new();
        let head = head(100 * BLOCK);
        let first = folder.begin(&head);
        first.created(b"one", b"s/1.part");
        let second = folder.begin(&head);
        second.created(b"one", b"s/2.part");
        first.lock().broken = true;

        first.condemn(b"one").unwrap();

        assert_eq!(Story::read(&folder.bytes()).unwrap().parts[&b"one"[..]], [b"s/2.part"]);
    }

    #[test]
    fn a_flush_that_failed_while_a_part_is_condemned_is_not_believed_the_second_time() {
        let folder = Folder::new();
        let head = head(100 * BLOCK);
        let trail = folder.begin(&head);
        trail.created(b"one", b"s/1.part");
        // As the thread that keeps the trail does: its flush fails, and the next one will find everything clean.
        let under_way = trail.settled();
        thread::scope(|scope| {
            let condemned = scope.spawn(|| trail.condemn(b"one"));
            thread::sleep(Duration::from_millis(100));
            assert!(!condemned.is_finished(), "it does not wait for the flush that is under way");
            trail.lock().broken = true;
            drop(under_way);
            condemned.join().unwrap().unwrap();
        });

        assert!(matches!(folder.open(&head), Found::Nothing), "the trail still tells of the part");
    }

    #[test]
    fn a_part_that_was_condemned_stays_so_whatever_its_keeper_writes_later() {
        let folder = Folder::new();
        let head = head(100 * BLOCK);
        let trail = folder.begin(&head);
        trail.created(b"one", b"s/1.part");

        Trail::kept(Some(&trail), &Page::private(), || {
            (0..40).for_each(|index| trail.note(index, value(index)));
            trail.condemn(b"one").unwrap();
            trail.renamed(b"one", b"s/2.part");
            trail.note(40, value(40));
        });

        let story = Story::read(&folder.bytes()).unwrap();
        assert_eq!((story.parts, story.values[40]), (BTreeMap::new(), Some(value(40))));
        trail.created(b"one", b"s/3.part");
        assert_eq!(Story::read(&folder.bytes()).unwrap().parts[&b"one"[..]], [b"s/3.part"], "another part");
    }

    #[test]
    fn a_trail_that_is_too_long_is_not_believed_in_part() {
        let folder = Folder::new();
        let head = head(100 * BLOCK);
        drop(folder.begin(&head));
        let file = std::fs::OpenOptions::new().write(true).open(folder.folder.path().join("3.trail")).unwrap();
        file.set_len(LONGEST).unwrap();
        assert!(read(&folder.dir, b"3.trail").unwrap().is_some());
        file.set_len(LONGEST + 1).unwrap();

        assert!(matches!(folder.open(&head), Found::Other(None)));
    }

    #[test]
    fn a_key_that_fits_in_no_record_breaks_the_trail() {
        let folder = Folder::new();
        let trail = folder.begin(&head(100 * BLOCK));
        (0..40).for_each(|index| trail.note(index, value(index)));
        trail.created(&vec![7; 65_535], b"s/1.part");
        assert!(trail.worth());

        trail.created(&vec![7; 65_536], b"s/1.part");

        assert!(!trail.worth());
        assert_eq!(Story::read(&folder.bytes()).unwrap().parts.keys().map(Vec::len).collect::<Vec<_>>(), [65_535]);
    }

    #[test]
    fn values_reach_the_file_soon_by_whoever_notes_them_and_the_rest_by_its_keeper() {
        let folder = Folder::new();
        let trail = folder.begin(&head(100 * BLOCK));
        let known = || Story::read(&folder.bytes()).unwrap().finished().len();
        trail.note(0, value(0));
        assert_eq!(known(), 0);
        thread::sleep(APPEND);
        trail.note(1, value(1));
        assert_eq!(known(), 2);

        Trail::kept(Some(&trail), &Page::private(), || {
            trail.note(2, value(2));
            let began = Instant::now();
            while known() < 3 {
                assert!(began.elapsed() < Duration::from_secs(5), "nobody wrote it down");
                thread::sleep(Duration::from_millis(10));
            }
            trail.note(3, value(3));
        });

        assert_eq!(known(), 4, "the end of the work is told");
    }

    #[test]
    fn a_source_that_reads_otherwise_is_noticed_where_a_part_relies_on_it_and_believed_elsewhere() {
        let folder = Folder::new();
        let trail = folder.begin(&head(100 * BLOCK));
        (0..50).for_each(|index| trail.note(index, value(index)));
        trail.rely(40);

        trail.note(39, value(39));
        trail.note(40, value(1000));
        assert!(!trail.disagrees());
        assert!(trail.worth());
        assert_eq!(Story::read(&folder.bytes()).unwrap().values[40], Some(value(1000)), "what was read last counts");

        trail.note(39, value(1000));
        assert!(trail.disagrees());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn in_whatever_order_blocks_are_finished_all_are_told(
            blocks in 64_usize..300, shuffle in any::<u64>(), flushes in prop::collection::vec(0_usize..300, 0..5),
        ) {
            let folder = Folder::new();
            let trail = folder.begin(&head(blocks as u64 * BLOCK + 1));
            let mut order: Vec<u64> = (0..blocks as u64).collect();
            order.sort_by_key(|index| (index ^ shuffle).wrapping_mul(0x9E37_79B9_7F4A_7C15));

            for (turn, index) in order.into_iter().enumerate() {
                trail.note(index, value(index));
                if flushes.contains(&turn) {
                    trail.append(&mut trail.lock());
                }
            }

            prop_assert!(trail.worth());
            let story = Story::read(&folder.bytes()).unwrap();
            prop_assert_eq!(story.finished(), (0..blocks as u64).map(value).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
            let folder = Folder::new();
            written(&folder);
            let good = folder.bytes();
            let mixed = [&good[..cut.min(good.len())], &bytes].concat();

            if let Some(story) = Story::read(&mixed) {
                prop_assert!(story.end <= mixed.len() as u64);
            }
            prop_assert_eq!(Story::read(&bytes), None);
        }
    }
}
