//! Reading back from the device: what was written is hashed again, and not from memory.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::buffer::Buffer;
use crate::content::PIECE;
use crate::digest::{Digest, Hasher};
use crate::direct::Reads;
use crate::error::{Error, Kind, Result};
use crate::platform;
use crate::progress::Page;
use crate::sink::Written;
use crate::source::STEP;
use crate::spread::LEAST;
use crate::threads::side_by_side;
use crate::tree::{ChainingValue, Gathered, Piece};
use crate::volume::{Coldness, Embeds, Method};

/// How often eviction is tried: pages that were just written may still sit in a per-CPU list.
const EVICTIONS: usize = 3;

/// What a file reads as.
pub(crate) struct ReadBack {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) method: Option<Method>,
}

/// How a file is to be read.
#[derive(Clone, Copy)]
pub(crate) enum Warmth {
    /// As it comes.
    Any,
    /// From the device; someone else may have written it, and its pages may still be dirty.
    Found(Coldness),
}

/// Takes a file out of this machine's memory, as far as its file system allows, and says how it will now be
/// read. In order: evict and see that nothing is left, read around the cache, or merely read again. What lies among the
/// file system's own records is beyond both.
pub(crate) fn chill(file: &File, coldness: Coldness) -> Method {
    if embedded(file, coldness) {
        return Method::Reread;
    }
    for _ in 0..EVICTIONS {
        platform::evict(file);
        if !coldness.evictable || !platform::knows_cached() {
            break;
        }
        if platform::cached(file).is_some_and(platform::Cached::none) {
            return Method::Evicted;
        }
    }
    // An older kernel does not tell whether direct reads are real for this file: then the table decides.
    let real = coldness.direct && platform::direct_is_real(file).unwrap_or(true);
    if real && platform::set_direct(file, true).is_ok() {
        Method::Direct
    } else {
        Method::Reread
    }
}

/// Whether the file's bytes are not in blocks of their own; where that is not told, a small one's are not.
pub(crate) fn embedded(file: &File, coldness: Coldness) -> bool {
    let small = || file.metadata().map_or(true, |facts| coldness.may_embed(facts.len()));
    coldness.embeds != Embeds::Never && small() && platform::embedded(file).unwrap_or(true)
}

/// Dirty pages cannot be evicted; they are flushed only where they stand in the way, because a flush of a clean
/// file can still cost the device's own.
fn flush_dirty(file: &File, path: &[u8], coldness: Coldness) -> Result<()> {
    platform::evict(file);
    if !coldness.evictable || platform::cached(file).is_none_or(platform::Cached::none) {
        return Ok(());
    }
    match platform::sync_file(file) {
        // Read-only file systems have nothing to flush, and some say so by errno.
        Err(error) if matches!(platform::errno(&error), libc::EINVAL | libc::EROFS | libc::EBADF) => Ok(()),
        other => other.map_err(|error| Error::io("fsync", path.to_vec(), &error)),
    }
}

/// Takes a file that someone else may have written out of memory, its dirty pages included, and says how it will now
/// be read.
pub(crate) fn make_cold(file: &File, path: &[u8], coldness: Coldness) -> Result<Method> {
    flush_dirty(file, path, coldness)?;
    Ok(chill(file, coldness))
}

/// Hashes an open file from where it stands to its end, and counts the bytes on the page. `size` is what it should
/// have: it saves the look behind the end where the last read had room for more.
pub(crate) fn hash(
    file: &File,
    path: &[u8],
    size: u64,
    warmth: Warmth,
    buffer: &mut [u8],
    page: &Page,
) -> Result<ReadBack> {
    let method = match warmth {
        Warmth::Any => None,
        Warmth::Found(coldness) => Some(make_cold(file, path, coldness)?),
    };
    let count = if method.is_some() { Page::verified } else { Page::hashed };
    in_order(file, path, size, method, buffer, (page, count))
}

/// The same, of a file of which it was said already how it is read; `count` says as what its bytes are counted.
pub(crate) fn in_order(
    file: &File,
    path: &[u8],
    size: u64,
    method: Option<Method>,
    buffer: &mut [u8],
    (page, count): (&Page, fn(&Page, usize)),
) -> Result<ReadBack> {
    if method != Some(Method::Direct) && size > buffer.len() as u64 {
        platform::sequential(file);
    }
    let (mut hasher, mut bytes, mut dropped) = (Hasher::new(), 0, 0);
    let mut reads = Reads::new(file, method == Some(Method::Direct));
    loop {
        if page.cancelled() {
            return Err(Error::cancelled("verify", path.to_vec()));
        }
        match reads.next(buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
                count(page, read);
                if bytes == size && read < buffer.len() {
                    break;
                }
                if method.is_some() && !reads.direct() && bytes - dropped >= STEP {
                    platform::evict_range(file, dropped, bytes - dropped);
                    dropped = bytes;
                }
            }
            Err(error) => return Err(Error::io("read", path.to_vec(), &error)),
        }
    }
    Ok(ReadBack { digest: hasher.finish(), bytes, method: method.map(|method| reads.claim(method)) })
}

/// A copy that was opened to be read back, and is out of memory.
pub(crate) struct Chilled {
    file: File,
    size: u64,
    method: Method,
}

/// Opens a flushed copy. The name must still lead to the very file that was written. One that is opened `ahead` of its
/// turn is asked for, now that nothing but its device can answer.
pub(crate) fn open_cold(copy: &Written, coldness: Coldness, ahead: bool) -> Result<Chilled> {
    let place = &copy.place;
    let file = place.dir.open_file(&place.name).map_err(|error| place.fault("open", &error))?;
    let stat = platform::stat_file(&file).map_err(|error| place.fault("fstat", &error))?;
    if (stat.dev, stat.ino) != (copy.stat.dev, copy.stat.ino) {
        let detail = "another file has taken the place of the staging file";
        return Err(Error::found(Kind::Mismatch, "verify", place.path.clone(), detail));
    }
    let method = chill(&file, coldness);
    if ahead && method == Method::Evicted {
        platform::will_need(&file);
    }
    Ok(Chilled { file, size: stat.size, method })
}

/// Reads a flushed copy back, with one thread per buffer if it is big.
/// `step` is how many bytes one thread reads at a time.
pub(crate) fn read_back(
    copy: &Written,
    chilled: &Chilled,
    buffers: &mut [Buffer],
    step: usize,
    page: &Page,
) -> Result<ReadBack> {
    let (place, &Chilled { ref file, size, method }) = (&copy.place, chilled);
    // Direct reads stay in order: they need nobody's help to keep a device busy that is read around the cache, and
    // where they end is for one reader to say.
    if buffers.len() > 1 && size >= LEAST && method != Method::Direct {
        return side(file, &place.path, size, method, buffers, page);
    }
    in_order(file, &place.path, size, Some(method), &mut buffers[0][..step], (page, Page::verified))
}

/// Hashes a file of a known size with several threads, each a step at a time.
fn side(file: &File, path: &[u8], size: u64, method: Method, buffers: &mut [Buffer], page: &Page) -> Result<ReadBack> {
    platform::sequential(file);
    let (next, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let gathered = Mutex::new(Gathered::new(size));
    let share = |_, buffer: &mut Buffer| -> Result<()> {
        while !ended.load(Ordering::Relaxed) {
            let from = next.fetch_add(STEP, Ordering::Relaxed);
            if from >= size {
                break;
            }
            let to = size.min(from + STEP);
            let mut offset = from;
            while offset < to {
                let want = PIECE.min(to - offset);
                let value = piece(file, path, offset, want, buffer, page).inspect_err(|_| {
                    ended.store(true, Ordering::Relaxed);
                })?;
                let Some(value) = value else {
                    ended.store(true, Ordering::Relaxed);
                    return Ok(());
                };
                gathered.lock().unwrap_or_else(PoisonError::into_inner).add(offset, PIECE, value);
                offset += want;
            }
            platform::evict_range(file, from, to - from);
        }
        Ok(())
    };
    for share in side_by_side(buffers.iter_mut().collect(), share) {
        share?;
    }
    let more = || platform::retry(|| platform::read_at(file, &mut [0], size));
    let beyond = more().map_err(|error| Error::io("read", path.to_vec(), &error))? as u64;
    // A file that is shorter now has no digest that anything could equal, and neither has one that is longer.
    let digest = gathered.into_inner().unwrap_or_else(PoisonError::into_inner).tree().map(|tree| tree.root());
    Ok(ReadBack {
        digest: digest.unwrap_or_default(),
        bytes: digest.map_or(0, |_| size + beyond),
        method: Some(method),
    })
}

/// The chaining value of one piece; none if the file ends within it.
fn piece(
    file: &File,
    path: &[u8],
    offset: u64,
    want: u64,
    buffer: &mut [u8],
    page: &Page,
) -> Result<Option<ChainingValue>> {
    let mut piece = Piece::at(offset);
    let mut have = 0;
    while have < want {
        if page.cancelled() {
            return Err(Error::cancelled("verify", path.to_vec()));
        }
        let room = usize::try_from(want - have).map_or(buffer.len(), |left| left.min(buffer.len()));
        match platform::read_at(file, &mut buffer[..room], offset + have) {
            Ok(0) => return Ok(None),
            Ok(read) => {
                piece.update(&buffer[..read]);
                have += read as u64;
                page.verified(read);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path.to_vec(), &error)),
        }
    }
    Ok(Some(piece.finish()))
}
