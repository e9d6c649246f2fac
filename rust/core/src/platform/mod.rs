//! What differs between operating systems, behind one small interface.
//!
//! Above this line a place is always (open folder, single name). `unix` does that with `*at` calls, with what
//! only Linux or only macOS has beside it; `fallback` does it with paths, for every other system, and promises
//! less: it cannot pin a folder against being replaced. The feature `portable` builds `fallback` on any system.

use std::fs::File;
use std::io;

#[cfg(all(any(target_os = "linux", target_os = "macos"), not(feature = "portable")))]
mod unix;
#[cfg(all(any(target_os = "linux", target_os = "macos"), not(feature = "portable")))]
pub(crate) use unix::*;

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod linux;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub(crate) use linux::*;

#[cfg(all(target_os = "macos", not(feature = "portable")))]
mod macos;
#[cfg(all(target_os = "macos", not(feature = "portable")))]
pub(crate) use macos::*;

#[cfg(any(not(any(target_os = "linux", target_os = "macos")), feature = "portable"))]
mod fallback;
#[cfg(any(not(any(target_os = "linux", target_os = "macos")), feature = "portable"))]
pub(crate) use fallback::*;

/// The errno of a root whose path leads to another folder now.
#[cfg(unix)]
pub(crate) const STALE: i32 = libc::ESTALE;
/// Other systems have no number for it; the folder that was pinned is not found.
#[cfg(not(unix))]
pub(crate) const STALE: i32 = libc::ENOENT;

/// What one path is, as far as the engine cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Type and permission bits, as stat(2) gives them.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// Device.
    pub dev: u64,
    /// Inode; FAT makes them up, but keeps them while the file is known to the kernel.
    pub ino: u64,
    /// Number of hard links.
    pub nlink: u64,
}

impl Stat {
    /// A regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// A folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Proof that both are one inode of one device; never given where inodes are not known (0).
    #[must_use]
    pub fn same_file(&self, other: &Self) -> bool {
        self.ino != 0 && self.ino == other.ino && self.dev == other.dev
    }

    /// Nothing speaks against both being one file that nobody wrote to in between: inode (where known), size
    /// and modification time are equal.
    #[must_use]
    pub fn unchanged(&self, other: &Self) -> bool {
        self.dev == other.dev && self.ino == other.ino && self.size == other.size && self.mtime_ns == other.mtime_ns
    }
}

/// How much of a file the page cache holds, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cached {
    pub present: u64,
    pub dirty: u64,
    pub writeback: u64,
}

impl Cached {
    pub(crate) fn none(self) -> bool {
        self.present == 0 && self.dirty == 0 && self.writeback == 0
    }
}

/// The POSIX number of an error, 0 where it has none.
#[must_use]
pub fn errno(error: &io::Error) -> i32 {
    #[cfg(unix)]
    if let Some(number) = error.raw_os_error() {
        return number;
    }
    match error.kind() {
        io::ErrorKind::NotFound => libc::ENOENT,
        io::ErrorKind::PermissionDenied => libc::EACCES,
        io::ErrorKind::AlreadyExists => libc::EEXIST,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => libc::EINVAL,
        io::ErrorKind::Unsupported => libc::ENOSYS,
        io::ErrorKind::StorageFull => libc::ENOSPC,
        io::ErrorKind::OutOfMemory => libc::ENOMEM,
        io::ErrorKind::NotADirectory => libc::ENOTDIR,
        io::ErrorKind::IsADirectory => libc::EISDIR,
        io::ErrorKind::CrossesDevices => libc::EXDEV,
        io::ErrorKind::TimedOut => libc::EAGAIN,
        _ => libc::EIO,
    }
}

/// Reads at an offset, whatever the file's own position.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

/// Reads at an offset; the file's own position is lost.
#[cfg(windows)]
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// Not known here.
#[cfg(not(any(unix, windows)))]
pub(crate) fn read_at(_file: &File, _buffer: &mut [u8], _offset: u64) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Writes at an offset, whatever the file's own position.
#[cfg(unix)]
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

/// Writes at an offset; the file's own position is lost.
#[cfg(windows)]
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

/// Not known here.
#[cfg(not(any(unix, windows)))]
pub(crate) fn write_at(_file: &File, _bytes: &[u8], _offset: u64) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Runs a call again as long as a signal interrupts it.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Splits a relative path at component borders into pieces of at most `limit` bytes (a longer component stays
/// whole), so that a path longer than the system's limit can be walked from folder to folder.
#[cfg_attr(any(not(any(target_os = "linux", target_os = "macos")), feature = "portable"), allow(dead_code))]
pub(crate) fn pieces(path: &[u8], limit: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = if rest.len() <= limit {
            rest.len()
        } else {
            let before = rest[..=limit].iter().rposition(|&byte| byte == b'/').filter(|&at| at > 0);
            let after = || rest.iter().skip(1).position(|&byte| byte == b'/').map(|at| at + 1);
            before.or_else(after).unwrap_or(rest.len())
        };
        let (piece, tail) = rest.split_at(cut);
        rest = tail.strip_prefix(b"/").unwrap_or(tail);
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn pieces_end_at_component_borders_and_lose_nothing() {
        let path = b"aaa/bb/cccccccc/d";

        let cut: Vec<&[u8]> = pieces(path, 6).collect();

        assert_eq!(cut, [&b"aaa/bb"[..], b"cccccccc", b"d"]);
    }

    #[test]
    fn the_leading_slash_of_an_absolute_path_stays() {
        assert_eq!(pieces(b"/aaaa/bbbb", 5).next(), Some(&b"/aaaa"[..]));
        assert_eq!(pieces(b"/aaaaaaaaa/b", 4).next(), Some(&b"/aaaaaaaaa"[..]));
    }
}
