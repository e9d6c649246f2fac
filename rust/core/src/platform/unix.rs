//! Folders as descriptors, and everything done relative to them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags, RenameFlags, Timespec, Timestamps};

use super::{pieces, retry, Stat};

/// Longest piece of a path given to one system call, well below `PATH_MAX` (4096 on Linux, 1024 on macOS).
const PIECE: usize = if cfg!(target_os = "macos") { 1000 } else { 4000 };

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open folder. Names given to its methods are single components.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    /// Whether paths beneath it may cross mount points.
    cross: bool,
}

impl Dir {
    /// Opens the folder at `path`; symbolic links on the way to it are the user's own choice, and followed.
    pub(crate) fn open_root(path: &[u8], cross: bool) -> io::Result<Self> {
        let mut at: Option<OwnedFd> = None;
        for piece in pieces(path, PIECE) {
            let from = at.as_ref().map_or(fs::CWD, AsFd::as_fd);
            at = Some(retry(|| Ok(fs::openat(from, piece, FOLDER, Mode::empty())?))?);
        }
        let fd = at.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        Ok(Self { fd, cross })
    }

    /// Opens a folder beneath this one, without following a link; an empty path is this folder again.
    pub(crate) fn open_beneath(&self, path: &[u8]) -> io::Result<Self> {
        // Without O_NOFOLLOW, which would answer ENOTDIR for a link: that links are not followed is said below.
        let mut at = None;
        for piece in pieces(if path.is_empty() { b"." } else { path }, PIECE) {
            let from = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            at = Some(super::open_at(from, piece, FOLDER, self.cross)?);
        }
        let fd = at.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        Ok(Self { fd, cross: self.cross })
    }

    /// Opens a file for reading. `O_NONBLOCK` keeps a FIFO or a device that took the file's place from blocking.
    pub(crate) fn open_file(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(super::open_at(self.fd.as_fd(), name, flags, self.cross)?.into())
    }

    /// Creates a file that must not exist yet.
    pub(crate) fn create_new(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The permissions of any new file: the umask decides.
        let fd = retry(|| Ok(fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o666))?))?;
        Ok(fd.into())
    }

    /// Opens a file that exists for writing into it.
    pub(crate) fn open_existing(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(super::open_at(self.fd.as_fd(), name, flags, self.cross)?.into())
    }

    /// What stands at a name: the link itself, if it is one.
    pub(crate) fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        retry(|| Ok(fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)).map(|stat| convert(&stat))
    }

    /// What the folder itself is.
    pub(crate) fn own_stat(&self) -> io::Result<Stat> {
        retry(|| Ok(fs::fstat(&self.fd)?)).map(|stat| convert(&stat))
    }

    /// Renames, unless the new name is taken.
    pub(crate) fn rename_noreplace(&self, name: &[u8], to: &Self, new: &[u8]) -> io::Result<()> {
        Ok(fs::renameat_with(&self.fd, name, &to.fd, new, RenameFlags::NOREPLACE)?)
    }

    /// Gives each of two names the file of the other, at one moment.
    pub(crate) fn rename_exchange(&self, name: &[u8], to: &Self, new: &[u8]) -> io::Result<()> {
        Ok(fs::renameat_with(&self.fd, name, &to.fd, new, RenameFlags::EXCHANGE)?)
    }

    /// Renames, replacing what is there: only for where nothing better is known.
    pub(crate) fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> io::Result<()> {
        Ok(fs::renameat(&self.fd, name, &to.fd, new)?)
    }

    /// Gives a file a second name, unless that is taken.
    pub(crate) fn link(&self, name: &[u8], to: &Self, new: &[u8]) -> io::Result<()> {
        Ok(fs::linkat(&self.fd, name, &to.fd, new, AtFlags::empty())?)
    }

    /// Removes a file's name.
    pub(crate) fn unlink(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Makes a folder with the permissions of any new one.
    pub(crate) fn mkdir(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o777))?)
    }

    /// Makes the names in this folder durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match super::sync_fd(self.fd.as_fd()) {
            // Some FUSE file systems know no fsync of folders and say EINVAL or EBADF: there is nothing that
            // could be asked of them. Any other error means that names may be lost.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBADF)) => Ok(()),
            other => other,
        }
    }

    /// Sets the folder's own modification time.
    pub(crate) fn set_mtime(&self, mtime_ns: i64) -> io::Result<()> {
        futimens(self.fd.as_fd(), mtime_ns)
    }

    /// The folder's descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The descriptor, whose closing is now the caller's.
    // Other platforms have none to give.
    #[allow(clippy::unnecessary_wraps)]
    pub(crate) fn into_descriptor(self) -> io::Result<RawFd> {
        Ok(self.fd.into_raw_fd())
    }
}

/// What an open file is.
pub(crate) fn stat_file(file: &File) -> io::Result<Stat> {
    retry(|| Ok(fs::fstat(file)?)).map(|stat| convert(&stat))
}

/// Makes a file's bytes and metadata durable.
pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    super::sync_fd(file.as_fd())
}

/// Locks a file for this process until it is closed; false if another one holds it.
pub(crate) fn lock(file: &File) -> io::Result<bool> {
    match retry(|| Ok(fs::flock(file, FlockOperation::NonBlockingLockExclusive)?)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets a file's modification time; its access time becomes now.
pub(crate) fn set_mtime(file: &File, mtime_ns: i64) -> io::Result<()> {
    futimens(file.as_fd(), mtime_ns)
}

/// Closes a file and says what came of it: NFS and others report lost writes only here.
pub(crate) fn close(file: File) -> io::Result<()> {
    // SAFETY: `into_raw_fd` gives up ownership of a valid descriptor, which is used here for the last time.
    match unsafe { rustix::io::try_close(file.into_raw_fd()) } {
        // The descriptor is closed even if a signal came in between (Linux and macOS alike): never close twice.
        Ok(()) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn futimens(fd: BorrowedFd<'_>, mtime_ns: i64) -> io::Result<()> {
    let times = Timestamps {
        // Drivers that are built on libfuse 2 (exFAT, NTFS) say yes to one time that comes alone, and drop it.
        last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW as _ },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000) as _,
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000) as _,
        },
    };
    Ok(fs::futimens(fd, &times)?)
}

// The widths of these fields differ between platforms; none of them loses anything here.
#[allow(clippy::cast_sign_loss, clippy::cast_lossless, clippy::unnecessary_cast, clippy::cast_possible_wrap)]
fn convert(stat: &fs::Stat) -> Stat {
    let seconds = i128::from(stat.st_mtime) * 1_000_000_000 + stat.st_mtime_nsec as i128;
    Stat {
        mode: stat.st_mode as u32,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        // Times beyond the year 2262 do not fit; the nearest that does stands for them.
        mtime_ns: i64::try_from(seconds).unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX }),
        dev: stat.st_dev as u64,
        ino: stat.st_ino,
        nlink: stat.st_nlink as u64,
    }
}

/// Opens a path beneath a folder one component at a time, for systems without openat2(2).
pub(super) fn walk(from: BorrowedFd<'_>, path: &[u8], last: OFlags, cross: bool) -> io::Result<OwnedFd> {
    let start = place(from)?;
    let mut at: Option<OwnedFd> = None;
    let mut names = path.split(|&byte| byte == b'/').peekable();
    while let Some(name) = names.next() {
        let folder = at.as_ref().map_or(from, AsFd::as_fd);
        let flags = if names.peek().is_some() { FOLDER } else { last } | OFlags::NOFOLLOW;
        let opened = retry(|| Ok(fs::openat(folder, name, flags, Mode::empty())?)).map_err(|error| {
            // O_DIRECTORY and O_NOFOLLOW together answer ENOTDIR for a link; openat2 says ELOOP.
            let link = error.raw_os_error() == Some(libc::ENOTDIR)
                && fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| convert(&stat).mode & 0o170_000 == 0o120_000);
            if link {
                io::Error::from_raw_os_error(libc::ELOOP)
            } else {
                error
            }
        })?;
        if !cross && place(opened.as_fd())? != start {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
        at = Some(opened);
    }
    at.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

/// Which mount a descriptor is on; where the kernel does not tell (before 5.8), which device: that misses bind mounts.
fn place(fd: BorrowedFd<'_>) -> io::Result<u64> {
    match super::mount(fd)? {
        Some(number) => Ok(number),
        None => Ok(convert(&retry(|| Ok(fs::fstat(fd)?))?).dev),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno_of(result: io::Result<OwnedFd>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn the_walk_opens_what_is_beneath_and_refuses_links() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/file"), b"x").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("b/file", folder.path().join("a/filelink")).unwrap();
        let root = Dir::open_root(folder.path().as_os_str().as_encoded_bytes(), false).unwrap();
        let file = OFlags::RDONLY | OFlags::CLOEXEC;

        assert!(walk(root.fd(), b"a/b", FOLDER, false).is_ok());
        assert!(walk(root.fd(), b"a/b/file", file, false).is_ok());
        assert_eq!(errno_of(walk(root.fd(), b"link/b", FOLDER, false)), Some(libc::ELOOP));
        assert_eq!(errno_of(walk(root.fd(), b"link", FOLDER, false)), Some(libc::ELOOP));
        assert_eq!(errno_of(walk(root.fd(), b"a/filelink", file, false)), Some(libc::ELOOP));
        assert_eq!(errno_of(walk(root.fd(), b"a/none", file, false)), Some(libc::ENOENT));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_walk_refuses_to_cross_a_mount_unless_allowed() {
        let root = Dir::open_root(b"/", false).unwrap();

        assert_eq!(errno_of(walk(root.fd(), b"proc/self", FOLDER, false)), Some(libc::EXDEV));
        assert!(walk(root.fd(), b"proc/sys", FOLDER, true).is_ok());
    }
}
