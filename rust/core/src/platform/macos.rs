//! What differs on macOS. Written from the system's documentation; type-checked, but never run there by us.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{self, OFlags};

use super::unix::{walk, Dir};
use super::{retry, Cached};

/// There is no openat2(2): one component at a time.
pub(crate) fn open_at(from: BorrowedFd<'_>, path: &[u8], flags: OFlags, cross: bool) -> io::Result<OwnedFd> {
    walk(from, path, flags, cross)
}

/// Mounts have no number of their own here; the device stands for it.
#[allow(clippy::cast_sign_loss)]
pub(crate) fn mount(fd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let stat = retry(|| Ok(fs::fstat(fd)?))?;
    Ok(Some(stat.st_dev as u64))
}

/// Which mount a folder is on.
pub(crate) fn mount_of(dir: &Dir) -> io::Result<Option<u64>> {
    mount(dir.fd())
}

/// Type numbers of this system's statfs mean something else than those of Linux: unknown.
pub(crate) fn magic(_dir: &Dir) -> u64 {
    0
}

/// As above.
pub(crate) fn magic_at(_path: &[u8]) -> u64 {
    0
}

/// `F_FULLFSYNC` asks the drive to empty its own cache, which fsync(2) does not do here. Where a file system
/// does not know it (network shares), fsync is all there is.
pub(crate) fn sync_fd(fd: BorrowedFd<'_>) -> io::Result<()> {
    match fs::fcntl_fullfsync(fd) {
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::INVAL | rustix::io::Errno::NOTTY) => Ok(fs::fsync(fd)?),
        other => Ok(other?),
    }
}

/// There is no such call that reports errors.
pub(crate) fn sync_all_tells() -> bool {
    false
}

/// Never asked for, since it tells nothing.
pub(crate) fn sync_all(_dir: &Dir) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not told here.
pub(crate) fn pages_written() -> Option<u64> {
    None
}

/// Not done: `F_PREALLOCATE` saves nothing that the safety of a copy rests on.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn preallocate(_file: &File, _size: u64) -> io::Result<()> {
    Ok(())
}

/// Not done: this system clones into new names only, which is nothing that we could try here.
pub(crate) fn clone_file(_from: &File, _to: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// No such request.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn write_back(_file: &File, _offset: u64, _length: u64) -> io::Result<()> {
    Ok(())
}

#[allow(clippy::unnecessary_wraps)]
pub(crate) fn wait_back(_file: &File, _offset: u64, _length: u64) -> io::Result<()> {
    Ok(())
}

/// Readahead notices by itself.
pub(crate) fn sequential(_file: &File) {}

/// No such request.
pub(crate) fn random(_file: &File) {}

/// Cached pages cannot be dropped by their file; `F_NOCACHE` at least keeps the read from using them where it
/// can. Nothing tells whether it did, so the result counts as `reread`.
pub(crate) fn evict(file: &File) {
    let _hint = fs::fcntl_nocache(file, true);
}

/// Short files come with the first read.
pub(crate) fn will_need(_file: &File) {}

/// Nor a part of them.
pub(crate) fn evict_range(_file: &File, _offset: u64, _length: u64) {}

/// `F_NOCACHE`, as near to `O_DIRECT` as this system gets.
pub(crate) fn set_direct(file: &File, on: bool) -> io::Result<()> {
    Ok(fs::fcntl_nocache(file, on)?)
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

/// Never known to be.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn direct_is_real(_file: &File) -> Option<bool> {
    Some(false)
}

/// No call tells.
pub(crate) fn cached(_file: &File) -> Option<Cached> {
    None
}

/// No call tells.
pub(crate) fn knows_cached() -> bool {
    false
}
