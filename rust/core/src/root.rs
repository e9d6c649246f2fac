//! A pinned folder, and everything that is found beneath it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
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

/// The folders that a batch of paths leads to. The last one stays open, since batches come in folder order; new
/// ones are made on demand, and those whose names must still be flushed are remembered.
pub(crate) struct Parents<'r> {
    root: &'r Root,
    last: Option<(Vec<u8>, Arc<Dir>)>,
    /// A folder that was not there when it was last looked for.
    missing: Option<Vec<u8>>,
    unsynced: BTreeSet<Vec<u8>>,
}

impl<'r> Parents<'r> {
    pub(crate) fn new(root: &'r Root) -> Self {
        Self { root, last: None, missing: None, unsynced: BTreeSet::new() }
    }

    /// The open folder of a path, and the name within it.
    pub(crate) fn of<'p>(&mut self, path: &'p [u8]) -> Result<(Arc<Dir>, &'p [u8])> {
        let (folder, name) = self.root.split(path)?;
        Ok((self.open(folder)?, name))
    }

    /// As [`Self::of`], with missing folders made on the way.
    pub(crate) fn of_new<'p>(&mut self, path: &'p [u8]) -> Result<(Arc<Dir>, &'p [u8])> {
        let (folder, name) = self.root.split(path)?;
        Ok((self.make(folder)?, name))
    }

    /// Opens a folder, making it and its ancestors where they are missing.
    pub(crate) fn make(&mut self, folder: &[u8]) -> Result<Arc<Dir>> {
        match self.open(folder) {
            Err(error) if error.errno == libc::ENOENT && !folder.is_empty() => {}
            other => return other,
        }
        // From the top, so that a path of any depth needs no recursion.
        let ends = folder.iter().enumerate().filter(|(_, &byte)| byte == b'/').map(|(at, _)| at);
        let mut parent = self.root.open_beneath(b"").map(Arc::new)?;
        let mut done = 0;
        for end in ends.chain([folder.len()]) {
            let name = folder[done..end].strip_prefix(b"/").unwrap_or(&folder[done..end]);
            parent = match self.child(&parent, name, &folder[..end]) {
                Err(error) if error.errno == libc::ENOENT => {
                    self.make_one(&parent, name, &folder[..end])?;
                    self.unsynced.insert(folder[..done].to_vec());
                    self.child(&parent, name, &folder[..end])?
                }
                other => other?,
            };
            done = end;
        }
        self.last = Some((folder.to_vec(), Arc::clone(&parent)));
        Ok(parent)
    }

    /// Remembers that names in the folder of this path changed.
    pub(crate) fn touched(&mut self, path: &[u8]) {
        self.changed(folder_of(path));
    }

    /// Remembers that this folder must be flushed.
    pub(crate) fn changed(&mut self, folder: &[u8]) {
        if !self.unsynced.contains(folder) {
            self.unsynced.insert(folder.to_vec());
        }
    }

    /// Flushes every remembered folder once, the deepest first, and says which failed.
    pub(crate) fn sync(&mut self) -> HashMap<Vec<u8>, Error> {
        let mut folders: Vec<_> = std::mem::take(&mut self.unsynced).into_iter().collect();
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
        folders.into_iter().filter_map(|folder| self.sync_one(&folder).err().map(|error| (folder, error))).collect()
    }

    /// Flushes one folder now.
    pub(crate) fn sync_one(&self, folder: &[u8]) -> Result<()> {
        let dir = self.root.open_beneath(folder).map_err(|error| Error { op: "fsync_folder", ..error })?;
        dir.sync().map_err(|error| Error::io("fsync_folder", self.root.absolute(folder), &error))
    }

    fn open(&mut self, folder: &[u8]) -> Result<Arc<Dir>> {
        if let Some((path, dir)) = &self.last {
            if path == folder {
                return Ok(Arc::clone(dir));
            }
        }
        let dir = Arc::new(self.root.open_beneath(folder)?);
        self.last = Some((folder.to_vec(), Arc::clone(&dir)));
        Ok(dir)
    }

    fn child(&self, parent: &Dir, name: &[u8], path: &[u8]) -> Result<Arc<Dir>> {
        let opened = parent.open_beneath(name);
        opened.map(Arc::new).map_err(|error| Error::io("open", self.root.absolute(path), &error))
    }

    fn make_one(&self, parent: &Dir, name: &[u8], path: &[u8]) -> Result<()> {
        match parent.mkdir(name) {
            Ok(()) => Ok(()),
            // It may have been made in spite of the error, or by someone else in the meantime.
            Err(error) => match parent.stat(name) {
                Ok(stat) if stat.is_folder() => Ok(()),
                _ => Err(Error::io("mkdir", self.root.absolute(path), &error)),
            },
        }
    }

    fn lstat(&mut self, path: &[u8]) -> Result<Option<Stat>> {
        let root = self.root;
        let nothing = |errno: i32| errno == libc::ENOENT || errno == libc::ENOTDIR;
        let looked = if path.is_empty() {
            root.dir.own_stat()
        } else {
            let (folder, _) = root.split(path)?;
            if self.missing.as_ref().is_some_and(|missing| is_beneath(folder, missing)) {
                return Ok(None);
            }
            match self.of(path) {
                Ok((dir, name)) => dir.stat(name),
                Err(error) if nothing(error.errno) => {
                    self.missing = Some(folder.to_vec());
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        };
        match looked {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if nothing(platform::errno(&error)) && !path.is_empty() => Ok(None),
            Err(error) => Err(Error::io("stat", root.absolute(path), &error)),
        }
    }
}

/// Whether a folder is another one, or lies beneath it.
fn is_beneath(folder: &[u8], above: &[u8]) -> bool {
    folder.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The folder part of a relative path, empty at the top.
pub(crate) fn folder_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(&path[..0], |at| &path[..at])
}
