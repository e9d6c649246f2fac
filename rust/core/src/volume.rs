//! What kind of file system a root is on, and how a copy there can be read back from the device.
//!
//! A read-back proves something only if it did not come from this machine's memory. Two ways lead past it:
//! dropping the file's pages and seeing that none is left (`evicted`), and reading around the cache (`direct`).
//! Each may be claimed only where it is true; the tables below say where, and why. What a drive or a server keeps
//! in its own memory cannot be excluded from here; nor what lies beneath a file system within this kernel, as the file
//! behind a loop device does.

use crate::platform;

/// How a file was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The kernel confirmed that no page of the file was in its cache, and it was then read.
    Evicted,
    /// It was read around the cache (`O_DIRECT`), on a file system where that reaches the device.
    Direct,
    /// It was read again, and nothing proves that the bytes came from the device.
    Reread,
}

impl Method {
    /// The word for this method, the same in manifests and Python.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Direct => "direct",
            Self::Reread => "reread",
        }
    }
}

/// What may be claimed of read-backs on one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coldness {
    /// The page cache that cachestat(2) sees is the only one this kernel has of the file.
    pub evictable: bool,
    /// `O_DIRECT` reads reach the device.
    pub direct: bool,
    /// Whether a small file's bytes may be kept elsewhere than in its pages.
    pub embeds: Embeds,
}

/// Whether a file system keeps the bytes of small files among its own records. Those stay in memory whatever becomes of
/// the file's pages: what is read after these were dropped comes from there (seen on btrfs: of 1,000 files of 1 KB the
/// device was asked for nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embeds {
    /// It does not, or its records are not in this machine.
    Never,
    /// Where it was made or mounted so.
    Perhaps,
    /// Unless blocks are reserved for the file before it is written.
    Always,
}

impl Coldness {
    /// Whether a file of this size may lie among the file system's records.
    pub(crate) fn may_embed(self, size: u64) -> bool {
        self.embeds != Embeds::Never && (1..=platform::page_size()).contains(&size)
    }

    /// Whether a new file of this size would lie there, unless blocks are reserved for it.
    pub(crate) fn would_embed(self, size: u64) -> bool {
        self.embeds == Embeds::Always && self.may_embed(size)
    }

    /// The best that can be hoped for; a file that another process maps may fall back to the next.
    #[must_use]
    pub fn best(self) -> Method {
        match self {
            Self { evictable: true, .. } if platform::knows_cached() => Method::Evicted,
            Self { direct: true, .. } => Method::Direct,
            _ => Method::Reread,
        }
    }
}

/// FUSE: what lies behind it only the mount table knows.
pub const FUSE: u64 = 0x6573_5546;

/// Files that live in memory.
pub(crate) const TMPFS: u64 = 0x0102_1994;

// The numbers come from the kernel: include/uapi/linux/magic.h, and each file system's own source.

/// Local file systems whose page cache is the file's own mapping, and whose direct reads go to the device (save
/// for files that statx says otherwise of): ext2, ext3 and ext4 share a number; xfs; f2fs.
const DIRECT: &[u64] = &[0xEF53, 0x5846_5342, 0xF2F5_2010];

/// One page cache as well, but no direct reads that could be relied on.
const EVICTABLE: &[u64] = &[
    // btrfs: direct reads of compressed or checksummed data go through the page cache (seen: it was filled).
    0x9123_683E,
    // vfat, exfat, ntfs3: O_DIRECT falls back to buffered reads where blocks do not line up.
    0x4D44,
    0x2011_BAB0,
    0x7366_746E,
    // hfsplus, udf, iso9660: as above, or no O_DIRECT at all.
    0x482B,
    0x1501_3346,
    0x9660,
    // nfs, cifs (both of its numbers), 9p, ceph: this kernel's pages are the only ones on this machine. The
    // server has a cache of its own, which the documentation names as the limit of what can be proven.
    0x6969,
    0xFF53_4D42,
    0xFE53_4D42,
    0x0102_1997,
    0x00C3_6400,
];

/// Small files lie among the records: btrfs (up to 2,048 bytes, by default), f2fs.
const EMBEDS: &[u64] = &[0x9123_683E, 0xF2F5_2010];

/// They do where it was made so (ext4 with `inline_data`), or as it happens (ntfs3, udf).
const MAY_EMBED: &[u64] = &[0xEF53, 0x7366_746E, 0x1501_3346];

/// File systems of this machine whose syncfs(2) reports every write that failed, as far as is known: those of
/// [`DIRECT`], btrfs, and tmpfs, which has nothing to write.
const TOGETHER: &[u64] = &[0x9123_683E, TMPFS];

/// Whether one flush of the whole file system may stand for one of each file. On servers, FUSE and the unknown it may
/// not: what their syncfs waits for, and what it reports, is not ours to know.
#[must_use]
pub fn flushes_together(magic: u64) -> bool {
    platform::sync_all_tells() && (DIRECT.contains(&magic) || TOGETHER.contains(&magic))
}

/// What the choices of a copy rest on, where a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reliance {
    /// One flush of the whole file system may stand for one of each file.
    pub together: bool,
    /// What was written can be dropped from memory, for good.
    pub evictable: bool,
}

/// What may be relied on where this path is (its links are followed): nothing, where the file system is not known.
#[must_use]
pub fn reliance(path: &[u8], served: bool) -> Reliance {
    let magic = platform::magic_at(path);
    Reliance { together: flushes_together(magic), evictable: coldness(magic, served).evictable }
}

/// What may be claimed on the file system with this statfs(2) number.
///
/// Everything else is never cold: tmpfs and ramfs live in memory; overlayfs has an empty mapping while the real
/// one lies below it; zfs keeps its own cache (ARC); FUSE passes to a process that may keep anything, unless
/// `served` says that it merely forwards to a server; and of the unknown nothing is known.
#[must_use]
pub fn coldness(magic: u64, served: bool) -> Coldness {
    let direct = DIRECT.contains(&magic);
    let embeds = match magic {
        magic if EMBEDS.contains(&magic) => Embeds::Always,
        magic if MAY_EMBED.contains(&magic) => Embeds::Perhaps,
        _ => Embeds::Never,
    };
    Coldness { evictable: direct || EVICTABLE.contains(&magic) || (magic == FUSE && served), direct, embeds }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAY: u64 = 0x794C_7630;
    const ZFS: u64 = 0x2FC1_2FC1;

    #[test]
    fn memory_layers_and_unknown_file_systems_are_never_cold() {
        for magic in [0, TMPFS, OVERLAY, ZFS, FUSE, 0x8584_58F6, 0xDEAD_BEEF] {
            let never = Coldness { evictable: false, direct: false, embeds: Embeds::Never };
            assert_eq!(coldness(magic, false), never, "{magic:x}");
        }
    }

    #[test]
    fn fuse_counts_only_when_it_forwards_to_a_server() {
        assert!(coldness(FUSE, true).evictable);
        assert!(!coldness(TMPFS, true).evictable);
    }

    #[test]
    fn direct_reads_are_trusted_on_three_file_systems_only() {
        assert!(coldness(0xEF53, false).direct && coldness(0x5846_5342, false).direct);
        assert!(!coldness(0x9123_683E, false).direct, "btrfs fills the page cache");
    }

    #[test]
    fn only_files_of_one_page_may_lie_among_the_records_and_empty_ones_lie_nowhere() {
        let (btrfs, ext4, xfs) = (0x9123_683E, 0xEF53, 0x5846_5342);
        let page = platform::page_size();

        for (magic, size, may, would) in [
            (btrfs, 1, true, true),
            (btrfs, page, true, true),
            (btrfs, page + 1, false, false),
            (btrfs, 0, false, false),
            (ext4, 60, true, false),
            (xfs, 60, false, false),
        ] {
            let coldness = coldness(magic, false);
            assert_eq!((coldness.may_embed(size), coldness.would_embed(size)), (may, would), "{magic:x} {size}");
        }
    }
}
