//! What goes into a batch, and what comes out of it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::algorithms::Algorithms;
use crate::clone::Strategy;
use crate::content::Content;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::Mode;
use crate::volume::Method;

/// One file to copy.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// The item's number, for the page.
    pub item: u64,
    /// Path beneath the source root.
    pub path: &'a [u8],
    /// Bytes, as the scan saw them.
    pub size: u64,
    /// Modification time, as the scan saw it, in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
}

/// Where half-made copies of big files leave their trails, so that the next attempt goes on from them.
#[derive(Clone, Copy, Debug)]
pub struct Partial<'a> {
    /// A folder on a disk of this machine, absolute: `<item>.trail` is the trail of an item.
    pub folder: &'a [u8],
    /// How each root is known in a trail, wherever it is mounted.
    pub keys: &'a [&'a [u8]],
    /// What the source is stored on: a trail of another volume tells nothing.
    pub volume: &'a [u8],
}

/// How a batch is copied.
#[derive(Clone, Copy, Debug)]
pub struct StageOptions<'a> {
    /// How source bytes are fetched.
    pub mode: Mode,
    /// Bytes moved at a time: a power of two from [`crate::BUFFER_MIN`] to [`crate::BUFFER_MAX`].
    pub buffer: usize,
    /// Threads that share big files and reading back, from 1 to [`THREADS_MAX`]; waiting for several disks takes one
    /// for each besides.
    pub threads: usize,
    /// A number for each root, equal for those on one disk that seeks: they take turns. Empty: only roots of one file
    /// system do.
    pub disks: &'a [usize],
    /// Small files of a part are flushed together, by one request for the whole file system.
    pub together: bool,
    /// What is read from the source may stay in the page cache.
    pub keep_cache: bool,
    /// Digests to make in the same read, beside BLAKE3. Each of the slower ones takes a thread besides, if there are
    /// files of 1 MiB and more.
    pub hashes: Algorithms,
    /// How copies come to be on roots of the source's own file system; elsewhere, and where the kernel refuses it, their
    /// bytes are written.
    pub strategy: Strategy,
    /// Each source is read once more, from its device as far as its file system allows, and must read as before.
    pub verify_source: bool,
    /// Parts of files of at least [`crate::TRAIL_LEAST`] bytes are left and gone on with; none: each attempt starts anew.
    pub partial: Option<Partial<'a>>,
}

/// Most threads of one call: each has a word of the page to say what it works on.
pub const THREADS_MAX: usize = 32;

impl Default for StageOptions<'_> {
    fn default() -> Self {
        Self {
            mode: Mode::Read,
            buffer: 1 << 20,
            threads: 1,
            disks: &[],
            together: false,
            keep_cache: false,
            hashes: Algorithms::NONE,
            strategy: Strategy::Copy,
            verify_source: false,
            partial: None,
        }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// One answer per transfer, in their order.
    pub staged: Vec<Staged>,
    /// Where the time of the call went.
    pub spent: Spent,
}

/// Time that one call took, by phase, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Reading, hashing and writing.
    pub copying: u64,
    /// Waiting for the device.
    pub flushing: u64,
    /// Reading back.
    pub reading_back: u64,
}

/// What became of one transfer.
#[derive(Clone, Debug)]
pub struct Staged {
    /// What was read from the source; none if it was not read to its end.
    pub content: Option<Content>,
    /// Bytes read from the source, those included that were read again to know it.
    pub bytes_read: u64,
    /// Bytes of half-made copies that were proven and not written again, summed over the copies that arrived.
    pub resumed: u64,
    /// Roots, by their index in the call, on which a half-made copy was made anew because nothing shows what its device
    /// holds: it could not be read past this machine's memory.
    pub unshown: Vec<usize>,
    /// It was read a second time and equal, but perhaps from memory: nothing shows that it came from its device.
    pub warm: bool,
    /// When work on this file began, in nanoseconds since the Unix epoch.
    pub started_ns: i64,
    /// When its last byte was hashed and written (and not yet flushed); 0 if that did not happen.
    pub copied_ns: i64,
    /// What was wrong with the source; every copy then has the same fault.
    pub fault: Option<Error>,
    /// One verdict per root.
    pub copies: Vec<Verdict>,
}

impl Staged {
    /// The digest of what was read from the source; none if it was not read to its end.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.content.as_ref().map(|content| content.digest)
    }
}

/// What became of one copy. A copy that failed keeps no times.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How it was read back, or why it is gone.
    pub outcome: Result<Method>,
    /// When it was proven, in nanoseconds since the Unix epoch; 0 if it was not.
    pub validated_ns: i64,
    /// The modification time that the copy has, as its file system keeps it; 0 if it was not proven.
    pub mtime_ns: i64,
    /// How it came to be; none if it was not proven.
    pub strategy: Option<Strategy>,
}

impl Verdict {
    pub(crate) fn failed(error: Error) -> Self {
        Self { outcome: Err(error), validated_ns: 0, mtime_ns: 0, strategy: None }
    }
}

/// The time of day, in nanoseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
