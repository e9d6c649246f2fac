//! The same interface with nothing but the standard library, for systems without `*at` calls.
//!
//! A folder is its path here: one that is replaced while work goes on is not noticed before `Root::check`, and
//! between the look at a path and its use a link may take its place. No name is ever replaced all the same
//! (publishing goes by hard links), and no cold read is claimed.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Cached, Stat};

/// A folder, by its path.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
    dev: u64,
    cross: bool,
}

impl Dir {
    pub(crate) fn open_root(path: &[u8], cross: bool) -> io::Result<Self> {
        let path = Path::new(name_of(path)?).canonicalize()?;
        let stat = stat_of(&path.metadata()?);
        if !stat.is_folder() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path, dev: stat.dev, cross })
    }

    pub(crate) fn open_beneath(&self, path: &[u8]) -> io::Result<Self> {
        let mut at = self.path.clone();
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            at.push(name_of(name)?);
            let seen = at.symlink_metadata()?;
            if seen.is_symlink() {
                return Err(link_in_the_way());
            }
            if !seen.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            if !self.cross && stat_of(&seen).dev != self.dev {
                return Err(io::ErrorKind::CrossesDevices.into());
            }
        }
        Ok(Self { path: at, dev: self.dev, cross: self.cross })
    }

    pub(crate) fn open_file(&self, name: &[u8]) -> io::Result<File> {
        let path = self.path.join(name_of(name)?);
        // A look before the open: a FIFO would block it for ever.
        let seen = path.symlink_metadata()?;
        if seen.is_symlink() {
            return Err(link_in_the_way());
        }
        if seen.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !seen.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a regular file"));
        }
        File::open(path)
    }

    pub(crate) fn create_new(&self, name: &[u8]) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(self.path.join(name_of(name)?))
    }

    pub(crate) fn open_existing(&self, name: &[u8]) -> io::Result<File> {
        let path = self.path.join(name_of(name)?);
        if !path.symlink_metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a regular file"));
        }
        OpenOptions::new().write(true).open(path)
    }

    pub(crate) fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        Ok(stat_of(&self.path.join(name_of(name)?).symlink_metadata()?))
    }

    pub(crate) fn own_stat(&self) -> io::Result<Stat> {
        Ok(stat_of(&self.path.metadata()?))
    }

    /// Unknown here, so that publishing takes the next rung: hard links.
    #[allow(clippy::unused_self)]
    pub(crate) fn rename_noreplace(&self, _name: &[u8], _to: &Self, _new: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Unknown here, so that two renames take its place.
    #[allow(clippy::unused_self)]
    pub(crate) fn rename_exchange(&self, _name: &[u8], _to: &Self, _new: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> io::Result<()> {
        std::fs::rename(self.path.join(name_of(name)?), to.path.join(name_of(new)?))
    }

    pub(crate) fn link(&self, name: &[u8], to: &Self, new: &[u8]) -> io::Result<()> {
        std::fs::hard_link(self.path.join(name_of(name)?), to.path.join(name_of(new)?))
    }

    pub(crate) fn unlink(&self, name: &[u8]) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name_of(name)?))
    }

    pub(crate) fn mkdir(&self, name: &[u8]) -> io::Result<()> {
        std::fs::create_dir(self.path.join(name_of(name)?))
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        // Only Unix flushes folders; elsewhere the file system's own journal has to do.
        if cfg!(unix) {
            File::open(&self.path)?.sync_all()
        } else {
            Ok(())
        }
    }

    pub(crate) fn set_mtime(&self, mtime_ns: i64) -> io::Result<()> {
        set_mtime(&File::open(&self.path)?, mtime_ns)
    }

    #[cfg(unix)]
    pub(crate) fn into_descriptor(self) -> io::Result<i32> {
        Ok(std::os::fd::IntoRawFd::into_raw_fd(File::open(self.path)?))
    }

    #[cfg(not(unix))]
    #[allow(clippy::unused_self)]
    pub(crate) fn into_descriptor(self) -> io::Result<i32> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub(crate) fn stat_file(file: &File) -> io::Result<Stat> {
    Ok(stat_of(&file.metadata()?))
}

pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

#[cfg(unix)]
pub(crate) fn lock(file: &File) -> io::Result<bool> {
    use rustix::fs::{flock, FlockOperation};
    match super::retry(|| Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Not done: nothing is gone on with there.
#[cfg(not(unix))]
pub(crate) fn lock(_file: &File) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn set_mtime(file: &File, mtime_ns: i64) -> io::Result<()> {
    let distance = Duration::from_nanos(mtime_ns.unsigned_abs());
    let time = if mtime_ns < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    file.set_modified(time.ok_or(io::ErrorKind::InvalidInput)?)
}

/// The standard library closes on drop and tells nothing; the fsync before it was the last word.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn close(file: File) -> io::Result<()> {
    drop(file);
    Ok(())
}

#[allow(clippy::unnecessary_wraps)]
pub(crate) fn mount_of(_dir: &Dir) -> io::Result<Option<u64>> {
    Ok(None)
}

pub(crate) fn magic(_dir: &Dir) -> u64 {
    0
}

pub(crate) fn magic_at(_path: &[u8]) -> u64 {
    0
}

pub(crate) fn sync_all_tells() -> bool {
    false
}

pub(crate) fn sync_all(_dir: &Dir) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not told here.
pub(crate) fn pages_written() -> Option<u64> {
    None
}

#[allow(clippy::unnecessary_wraps)]
pub(crate) fn preallocate(_file: &File, _size: u64) -> io::Result<()> {
    Ok(())
}

pub(crate) fn clone_file(_from: &File, _to: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[allow(clippy::unnecessary_wraps)]
pub(crate) fn write_back(_file: &File, _offset: u64, _length: u64) -> io::Result<()> {
    Ok(())
}

#[allow(clippy::unnecessary_wraps)]
pub(crate) fn wait_back(_file: &File, _offset: u64, _length: u64) -> io::Result<()> {
    Ok(())
}

pub(crate) fn sequential(_file: &File) {}

pub(crate) fn will_need(_file: &File) {}

pub(crate) fn random(_file: &File) {}

pub(crate) fn evict(_file: &File) {}

pub(crate) fn evict_range(_file: &File, _offset: u64, _length: u64) {}

pub(crate) fn set_direct(_file: &File, on: bool) -> io::Result<()> {
    if on {
        Err(io::ErrorKind::InvalidInput.into())
    } else {
        Ok(())
    }
}

/// As much as any system's page has at least.
pub(crate) fn page_size() -> u64 {
    4096
}

/// Never asked: nothing is claimed of cold reads here.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn embedded(_file: &File) -> Option<bool> {
    None
}

/// Nothing is claimed of direct reads here.
pub(crate) fn is_direct(_file: &File) -> bool {
    false
}

#[allow(clippy::unnecessary_wraps)]
pub(crate) fn direct_is_real(_file: &File) -> Option<bool> {
    Some(false)
}

pub(crate) fn cached(_file: &File) -> Option<Cached> {
    None
}

pub(crate) fn knows_cached() -> bool {
    false
}

#[cfg(unix)]
fn link_in_the_way() -> io::Error {
    io::Error::from_raw_os_error(libc::ELOOP)
}

#[cfg(not(unix))]
fn link_in_the_way() -> io::Error {
    io::Error::other("a symbolic link stands in the way")
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)]
fn name_of(name: &[u8]) -> io::Result<&OsStr> {
    Ok(std::os::unix::ffi::OsStrExt::from_bytes(name))
}

#[cfg(not(unix))]
fn name_of(name: &[u8]) -> io::Result<&OsStr> {
    std::str::from_utf8(name).map(OsStr::new).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn stat_of(seen: &Metadata) -> Stat {
    Stat { size: seen.len(), mtime_ns: seen.modified().map_or(0, nanoseconds), ..identity(seen) }
}

fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

#[cfg(unix)]
fn identity(seen: &Metadata) -> Stat {
    use std::os::unix::fs::MetadataExt;
    Stat { mode: seen.mode(), size: 0, mtime_ns: 0, dev: seen.dev(), ino: seen.ino(), nlink: seen.nlink() }
}

/// Without inode numbers two files differ only in size and time; a check for the same inode then says yes.
#[cfg(not(unix))]
fn identity(seen: &Metadata) -> Stat {
    let mode = match () {
        () if seen.is_file() => 0o100_644,
        () if seen.is_dir() => 0o040_755,
        () if seen.is_symlink() => 0o120_777,
        () => 0,
    };
    Stat { mode, size: 0, mtime_ns: 0, dev: 0, ino: 0, nlink: 1 }
}
