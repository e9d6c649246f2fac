//! A pinned folder, and everything that is found beneath it.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::parents::{folder_of, Parents};
use crate::platform::{self, Dir, Stat};
use crate::volume::{self, Coldness, Method};

/// A folder that was opened once. All work happens beneath that descriptor, so that a mount that goes away can
/// never be mistaken for the folder it covered.
#[derive(Debug)]
pub struct Root {
    path: Vec<u8>,
    dir: Dir,
    stat: Stat,
    mount: Option<u64>,
    magic: u64,
    coldness: Coldness,
    /// Folders whose way up to the root this process has flushed.
    settled: Mutex<HashSet<Vec<u8>>>,
}

/// Settled folders that are remembered at most; past that all are forgotten, and flushed once more.
const SETTLED: usize = 4096;

/// How a [`Root`] is used.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootOptions {
    /// Paths may cross mount points beneath the root: sources may, destinations do not.
    pub cross: bool,
    /// A FUSE file system here forwards to a server, and keeps nothing itself.
    pub served: bool,
}

impl Root {
    /// Opens and pins a folder.
    pub fn open(path: &[u8], options: RootOptions) -> Result<Self> {
        let fault = |error: &io::Error| Error::io("open", path.to_vec(), error);
        if path.contains(&0) {
            return Err(Error::refused("open", path.to_vec(), libc::EINVAL, "the path holds a zero byte"));
        }
        let dir = Dir::open_root(path, options.cross).map_err(|error| fault(&error))?;
        let stat = dir.own_stat().map_err(|error| fault(&error))?;
        let mount = platform::mount_of(&dir).map_err(|error| fault(&error))?;
        let magic = platform::magic(&dir);
        let coldness = volume::coldness(magic, options.served);
        Ok(Self { path: path.to_vec(), dir, stat, mount, magic, coldness, settled: Mutex::default() })
    }

    /// Whether the way from a folder up to the root still has to be flushed once by this process: who made it may
    /// have died, or be another process that has not come to its flush yet.
    pub(crate) fn unsettled(&self, folder: &[u8]) -> bool {
        !self.settled.lock().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }

    /// The way from a folder up to the root was flushed.
    pub(crate) fn settled(&self, folder: &[u8]) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.len() >= SETTLED {
            settled.clear();
        }
        settled.insert(folder.to_vec());
    }

    /// The pinned folder itself.
    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The device of the pinned folder.
    #[must_use]
    pub fn dev(&self) -> u64 {
        self.stat.dev
    }

    /// The inode of the pinned folder.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.stat.ino
    }

    /// The file system's type, as statfs(2) numbers it; 0 where it is not known.
    #[must_use]
    pub fn magic(&self) -> u64 {
        self.magic
    }

    /// The best method by which copies here can be read back.
    #[must_use]
    pub fn cold(&self) -> Method {
        self.coldness.best()
    }

    /// What may be claimed of read-backs here.
    #[must_use]
    pub fn coldness(&self) -> Coldness {
        self.coldness
    }

    /// Fails unless the root's path still leads to the pinned folder, on the same mount: a drive that was pulled
    /// and plugged in again has the same device and inode numbers, but another mount.
    pub fn check(&self) -> Result<()> {
        let fault = |error: &io::Error| Error::io("check", self.path.clone(), error);
        self.dir.own_stat().map_err(|error| fault(&error))?;
        let now = Dir::open_root(&self.path, false).map_err(|error| fault(&error))?;
        let stat = now.own_stat().map_err(|error| fault(&error))?;
        let mount = platform::mount_of(&now).map_err(|error| fault(&error))?;
        if (stat.dev, stat.ino, mount) == (self.stat.dev, self.stat.ino, self.mount) {
            return Ok(());
        }
        let detail = "another folder or mount has taken the place of this root";
        Err(Error::refused("check", self.path.clone(), platform::STALE, detail))
    }

    /// What stands at each path: `None` where nothing does. An empty path is the root itself. A folder that is missing
    /// is looked for once for a run of paths beneath it.
    #[must_use]
    pub fn lstat<P: AsRef<[u8]>>(&self, paths: &[P]) -> Vec<Result<Option<Stat>>> {
        let mut parents = Parents::new(self);
        paths.iter().map(|path| parents.lstat(path.as_ref())).collect()
    }

    /// A new descriptor of a folder beneath the root (an empty path is the root itself). The caller closes it.
    pub fn open_folder(&self, path: &[u8]) -> Result<i32> {
        let descriptor = self.open_beneath(path)?.into_descriptor();
        descriptor.map_err(|error| Error::io("open", self.absolute(path), &error))
    }

    /// The full path of something beneath the root, for people to read.
    #[must_use]
    pub fn absolute(&self, path: &[u8]) -> Vec<u8> {
        let mut full = self.path.clone();
        if full.last() != Some(&b'/') && !path.is_empty() {
            full.push(b'/');
        }
        full.extend_from_slice(path);
        full
    }

    pub(crate) fn open_beneath(&self, path: &[u8]) -> Result<Dir> {
        if !path.is_empty() {
            self.refuse_bad(path)?;
        }
        self.dir.open_beneath(path).map_err(|error| Error::io("open", self.absolute(path), &error))
    }

    /// Splits a path into its folder and its name, after refusing what could lead out of the root.
    pub(crate) fn split<'p>(&self, path: &'p [u8]) -> Result<(&'p [u8], &'p [u8])> {
        self.refuse_bad(path)?;
        let folder = folder_of(path);
        let name = &path[folder.len()..];
        Ok((folder, name.strip_prefix(b"/").unwrap_or(name)))
    }

    fn refuse_bad(&self, path: &[u8]) -> Result<()> {
        let bad = |name: &[u8]| name.is_empty() || name == b"." || name == b"..";
        if path.contains(&0) || path.split(|&byte| byte == b'/').any(bad) {
            let detail = "not a plain relative path (it is absolute, or has an empty, `.`, `..` or zero part)";
            return Err(Error::refused("open", self.absolute(path), libc::EINVAL, detail));
        }
        Ok(())
    }
}
