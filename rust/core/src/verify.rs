//! Reading back from the device: what was written is hashed again, and not from memory.

use std::fs::File;
use std::io::{self, Read};

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Kind, Result};
use crate::platform;
use crate::progress::Page;
use crate::sink::Written;
use crate::volume::{Coldness, Method};

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
    /// From the device; it was flushed by us a moment ago.
    Flushed(Coldness),
    /// From the device; someone else may have written it, and its pages may still be dirty.
    Found(Coldness),
}

/// Takes a file out of this machine's memory, as far as its file system allows, and says how it will now be
/// read. In order: evict and see that nothing is left, read around the cache, or merely read again.
pub(crate) fn chill(file: &File, coldness: Coldness) -> Method {
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

/// Hashes an open file from where it stands to its end, and counts the bytes on the page.
pub(crate) fn hash(file: &File, path: &[u8], warmth: Warmth, buffer: &mut [u8], page: &Page) -> Result<ReadBack> {
    let mut method = match warmth {
        Warmth::Any => None,
        Warmth::Flushed(coldness) => Some(chill(file, coldness)),
        Warmth::Found(coldness) => {
            flush_dirty(file, path, coldness)?;
            Some(chill(file, coldness))
        }
    };
    let fault = |op, error: &io::Error| Error::io(op, path.to_vec(), error);
    if method != Some(Method::Direct) {
        platform::sequential(file);
    }
    let (mut hasher, mut bytes) = (Hasher::new(), 0);
    let mut reader = file;
    loop {
        if page.cancelled() {
            return Err(Error::cancelled("verify", path.to_vec()));
        }
        match reader.read(buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
                if method.is_some() {
                    page.verified(read);
                } else {
                    page.read(read);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if method == Some(Method::Direct) && platform::errno(&error) == libc::EINVAL => {
                platform::set_direct(file, false).map_err(|error| fault("read", &error))?;
                // An unaligned end of the file is no loss of proof; anything before it is: the rest then comes
                // through the cache.
                if platform::stat_file(file).map_err(|error| fault("fstat", &error))?.size != bytes {
                    method = Some(Method::Reread);
                }
            }
            Err(error) => return Err(fault("read", &error)),
        }
    }
    Ok(ReadBack { digest: hasher.finish(), bytes, method })
}

/// Reads a flushed copy back. The name must still lead to the very file that was written.
pub(crate) fn read_back(copy: &Written, coldness: Coldness, buffer: &mut [u8], page: &Page) -> Result<ReadBack> {
    let place = &copy.place;
    let file = place.dir.open_file(&place.name).map_err(|error| place.fault("open", &error))?;
    let stat = platform::stat_file(&file).map_err(|error| place.fault("fstat", &error))?;
    if (stat.dev, stat.ino) != (copy.stat.dev, copy.stat.ino) {
        let detail = "another file has taken the place of the staging file";
        return Err(Error::found(Kind::Mismatch, "verify", place.path.clone(), detail));
    }
    hash(&file, &place.path, Warmth::Flushed(coldness), buffer, page)
}
