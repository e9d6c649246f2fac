//! The folders that a batch of paths leads to: opened, made where they are missing, and flushed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::platform::{self, Dir, Stat};
use crate::root::Root;

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

    pub(crate) fn lstat(&mut self, path: &[u8]) -> Result<Option<Stat>> {
        let root = self.root;
        let nothing = |errno: i32| errno == libc::ENOENT || errno == libc::ENOTDIR;
        let looked = if path.is_empty() {
            root.dir().own_stat()
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
