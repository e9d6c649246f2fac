//! What only Linux has: openat2, statx, the page cache's own account, write-back on request.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

use rustix::fs::{self, Advice, AtFlags, FallocateFlags, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use rustix::ioctl::{ioctl, opcode, Opcode, Updater};

use super::unix::{walk, Dir};
use super::{retry, Cached};
use crate::volume;

/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): a mount number that is never used again.
const MNT_ID_UNIQUE: u32 = 0x4000;

/// How often a path that changes while it is resolved is tried again (openat2(2) asks for it with EAGAIN).
const RACES: usize = 64;

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Opens a path beneath a folder; links, `..` out of it and (unless `cross`) other mounts are refused.
pub(crate) fn open_at(from: BorrowedFd<'_>, path: &[u8], flags: OFlags, cross: bool) -> io::Result<OwnedFd> {
    if NO_OPENAT2.load(Ordering::Relaxed) {
        return walk(from, path, flags, cross);
    }
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    if !cross {
        resolve |= ResolveFlags::NO_XDEV;
    }
    let mut races = 0;
    loop {
        match fs::openat2(from, path, flags, Mode::empty(), resolve) {
            Ok(fd) => return Ok(fd),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if races < RACES => races += 1,
            Err(Errno::NOSYS) => {
                NO_OPENAT2.store(true, Ordering::Relaxed);
                return walk(from, path, flags, cross);
            }
            // Container filters of some years answered EPERM to calls that they did not know.
            Err(Errno::PERM) => return walk(from, path, flags, cross),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Which mount a descriptor is on; `None` where the kernel does not tell (before 5.8).
pub(crate) fn mount(fd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let mask = StatxFlags::from_bits_retain(MNT_ID_UNIQUE) | StatxFlags::MNT_ID;
    match retry(|| Ok(fs::statx(fd, "", AtFlags::EMPTY_PATH, mask)?)) {
        Ok(stat) if stat.stx_mask & (MNT_ID_UNIQUE | StatxFlags::MNT_ID.bits()) != 0 => Ok(Some(stat.stx_mnt_id)),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EPERM)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Which mount a folder is on.
pub(crate) fn mount_of(dir: &Dir) -> io::Result<Option<u64>> {
    mount(dir.fd())
}

/// The file system's type as statfs(2) numbers it, 0 where that cannot be told.
pub(crate) fn magic(dir: &Dir) -> u64 {
    type_of(dir.fd())
}

// The field's width and sign differ between architectures; the numbers themselves are 32 bits everywhere.
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)]
fn type_of(fd: BorrowedFd<'_>) -> u64 {
    retry(|| Ok(fs::fstatfs(fd)?)).map_or(0, |stat| u64::from(stat.f_type as u32))
}

/// The same for a path, whose links are followed.
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)]
pub(crate) fn magic_at(path: &[u8]) -> u64 {
    retry(|| Ok(fs::statfs(path)?)).map_or(0, |stat| u64::from(stat.f_type as u32))
}

/// fsync(2), once: a second call after an error would say that all is well.
pub(crate) fn sync_fd(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fs::fsync(fd)?)
}

/// Whether [`sync_all`] tells of writes that failed: since Linux 5.8, with the error kept per file system.
pub(crate) fn sync_all_tells() -> bool {
    static TELLS: OnceLock<bool> = OnceLock::new();
    *TELLS.get_or_init(|| tells(&rustix::system::uname().release().to_string_lossy()))
}

fn tells(release: &str) -> bool {
    let mut numbers = release.split(|symbol: char| !symbol.is_ascii_digit()).map(str::parse::<u32>);
    let (major, minor) = (numbers.next(), numbers.next());
    matches!((major, minor), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 8))
}

/// syncfs(2): everything that was written to the folder's file system. It reports errors since the folder was
/// *opened*, or since it was last called for this very descriptor.
pub(crate) fn sync_all(dir: &Dir) -> io::Result<()> {
    Ok(fs::syncfs(dir.fd())?)
}

/// How many pages this system has written to its devices since it started, whoever asked for it; `None` where that is
/// not told. While it grows, a wait for the disk is not in vain.
pub(crate) fn pages_written() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("nr_written "))?;
    line.trim().parse().ok()
}

/// Reserves blocks for `size` bytes without changing the file's size. Not in memory (tmpfs), where nothing lies closer
/// together for it: 2 GiB took one core 0.46 s there, before the first byte was read.
pub(crate) fn preallocate(file: &File, size: u64) -> io::Result<()> {
    if type_of(file.as_fd()) == volume::TMPFS {
        return Ok(());
    }
    match retry(|| Ok(fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size)?)) {
        // A favour that many file systems do not know.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL)) => Ok(()),
        other => other,
    }
}

/// Gives an empty file the blocks of another one, which both share until one of them is written to (FICLONE). The kernel
/// flushes what is dirty of the other one first.
pub(crate) fn clone_file(from: &File, to: &File) -> io::Result<()> {
    retry(|| Ok(fs::ioctl_ficlone(to, from)?))
}

/// Starts writing a range of a file to the device, to its end for a length of 0, and does not wait until it is there.
///
/// An error that is noticed here is the file's last chance to report it: what fails while blocks are allocated
/// late (ENOSPC) is not repeated by the fsync that follows on every file system.
pub(crate) fn write_back(file: &File, offset: u64, length: u64) -> io::Result<()> {
    sync_range(file, offset, length, libc::SYNC_FILE_RANGE_WRITE)
}

/// Waits until a range of the file is on its way out of memory. As with [`write_back`], an error here is the last
/// word on it.
pub(crate) fn wait_back(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, offset, length, all)
}

fn sync_range(file: &File, offset: u64, length: u64, flags: libc::c_uint) -> io::Result<()> {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return Ok(()) };
    // SAFETY: the descriptor is borrowed from an open file for the length of the call, and no memory is passed.
    let answer = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, flags) };
    if answer == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Not known here, or disturbed: the fsync does it all.
        error
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::ENOSYS | libc::ESPIPE | libc::EPERM | libc::EINTR)
            ) =>
        {
            Ok(())
        }
        error => Err(error),
    }
}

/// Says that a file will be read from start to end.
pub(crate) fn sequential(file: &File) {
    let _hint = fs::fadvise(file, 0, None, Advice::Sequential);
}

/// Says that a file will be read here and there: what was not asked for is not fetched with it.
pub(crate) fn random(file: &File) {
    let _hint = fs::fadvise(file, 0, None, Advice::Random);
}

/// Drops a file's clean pages from the page cache, as far as nobody maps or locks them.
pub(crate) fn evict(file: &File) {
    evict_range(file, 0, 0);
}

/// Starts fetching the whole file into the page cache, and does not wait for it.
pub(crate) fn will_need(file: &File) {
    let _hint = fs::fadvise(file, 0, None, Advice::WillNeed);
}

/// Drops a range, to the end of the file for a length of 0.
pub(crate) fn evict_range(file: &File, offset: u64, length: u64) {
    let _hint = fs::fadvise(file, offset, NonZeroU64::new(length), Advice::DontNeed);
}

/// Switches reads past the page cache on or off (`O_DIRECT`).
pub(crate) fn set_direct(file: &File, on: bool) -> io::Result<()> {
    let mut flags = fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    Ok(fs::fcntl_setfl(file, flags)?)
}

/// Whether reads go past the page cache, as far as the system was asked for it.
pub(crate) fn is_direct(file: &File) -> bool {
    fs::fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::DIRECT))
}

/// Whether direct reads of this file reach the device: ext4 and others answer `O_DIRECT` from the page cache
/// for inline, encrypted, verity or journalled data. `None` where the kernel does not tell (before 6.1).
pub(crate) fn direct_is_real(file: &File) -> Option<bool> {
    let stat = fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    (stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0).then_some(stat.stx_dio_offset_align != 0)
}

/// Bytes of a page of memory.
pub(crate) fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// `struct fiemap` of linux/fiemap.h, with room for one extent.
#[repr(C)]
#[derive(Default)]
struct Extents {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extent: Extent,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    more: [u32; 3],
}

/// Whether the first bytes of a file lie among the file system's own records, not in blocks of the file's; `None` where
/// that is not told.
pub(crate) fn embedded(file: &File) -> Option<bool> {
    /// `_IOWR('f', 11, struct fiemap)`, whose size does not count the extents behind it.
    const FS_IOC_FIEMAP: Opcode = opcode::read_write::<[u64; 4]>(b'f', 11);
    /// `FIEMAP_FLAG_SYNC`: what is not written back yet has no place.
    const SYNC: u32 = 0x1;
    /// `FIEMAP_EXTENT_DATA_INLINE`.
    const INLINE: u32 = 0x200;
    let mut told = Extents { length: u64::MAX, flags: SYNC, room: 1, ..Extents::default() };
    // SAFETY: the kernel reads and writes the head of the structure and as many extents behind it as `room` says, which
    // is one; all of that is `told`, of the layout that the kernel expects, and outlives the call. A file system that
    // does not know the request answers with an error.
    let answer = unsafe { ioctl(file, Updater::<FS_IOC_FIEMAP, Extents>::new(&mut told)) };
    answer.is_ok().then_some(told.mapped > 0 && told.extent.flags & INLINE != 0)
}

#[repr(C)]
struct Range {
    offset: u64,
    bytes: u64,
}

/// `struct cachestat` of linux/mman.h.
#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// What the page cache holds of a file; `None` where the kernel does not tell.
pub(crate) fn cached(file: &File) -> Option<Cached> {
    cachestat(file.as_fd().as_raw_fd()).ok().map(|stat| Cached {
        present: stat.cache,
        dirty: stat.dirty,
        writeback: stat.writeback,
    })
}

/// Whether this kernel has cachestat(2) (Linux 6.5), and lets us call it.
pub(crate) fn knows_cached() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    // A bad descriptor is noticed only by a kernel that has the call.
    *KNOWN.get_or_init(|| cachestat(-1).is_err_and(|error| error.raw_os_error() == Some(libc::EBADF)))
}

fn cachestat(fd: i32) -> io::Result<CacheStat> {
    /// The same on every architecture that has it; libc does not name it everywhere.
    const SYS_CACHESTAT: libc::c_long = 451;
    let range = Range { offset: 0, bytes: 0 };
    let mut stat = CacheStat::default();
    // SAFETY: both pointers lead to live values of the layout that the kernel expects, which outlive the call;
    // the kernel writes nothing but the five words of `stat`. A descriptor that is not open is answered with
    // EBADF, a kernel without the call with ENOSYS.
    let answer = unsafe { libc::syscall(SYS_CACHESTAT, fd, &raw const range, &raw mut stat, 0_u32) };
    if answer == 0 {
        Ok(stat)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncfs_is_believed_from_the_kernel_on_that_reports_its_errors() {
        for old in ["4.19.0-27-amd64", "5.7.19", "5.4.0-150-generic", "", "linux"] {
            assert!(!tells(old), "{old}");
        }
        for new in ["5.8.0", "5.15.0-97-generic", "6.18.5", "10.0"] {
            assert!(tells(new), "{new}");
        }
    }

    #[test]
    fn the_kernel_tells_how_much_it_has_written() {
        assert!(pages_written().is_some());
    }

    #[test]
    fn a_file_just_written_is_seen_in_the_page_cache() {
        if !knows_cached() {
            eprintln!("skipped: this kernel has no cachestat");
            return;
        }
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[1; 10_000]).unwrap();

        let pages = cached(&file).unwrap();

        assert!(pages.present > 0 && !pages.none());
    }
}
