//! Folders made, flushed and given their times, and files removed.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::parents::Parents;
use crate::place::remove;
use crate::platform;
use crate::publish::ancestors;
use crate::root::Root;

/// Flushes the folders that lead to each path, up to the root, each once: what makes a name durable that was
/// found rather than made.
#[must_use]
pub fn settle<P: AsRef<[u8]>>(root: &Root, paths: &[P]) -> Vec<Result<()>> {
    let parents = Parents::new(root);
    let mut done: HashMap<Vec<u8>, Result<()>> = HashMap::new();
    let mut one = |path: &P| {
        root.split(path.as_ref())?;
        for folder in ancestors(path.as_ref()) {
            let outcome = match done.get(folder) {
                Some(outcome) => outcome.clone(),
                None => done.entry(folder.to_vec()).or_insert(parents.sync_one(folder)).clone(),
            };
            outcome?;
        }
        Ok(())
    };
    paths.iter().map(&mut one).collect()
}

/// Makes each folder where it is missing, with its ancestors, gives each its modification time (the deepest
/// first, since a name made in a folder changes that folder's time), and flushes what was made.
#[must_use]
pub fn make_folders<P: AsRef<[u8]>>(root: &Root, folders: &[P], mtimes: &[i64]) -> Vec<Result<()>> {
    let mut parents = Parents::new(root);
    let mut made: Vec<Result<()>> = folders
        .iter()
        .map(|folder| {
            root.split(folder.as_ref())?;
            parents.make(folder.as_ref()).map(drop)
        })
        .collect();
    let mut order: Vec<usize> = (0..folders.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(ancestors(folders[index].as_ref()).count()));
    for index in order {
        let (folder, outcome) = (folders[index].as_ref(), &mut made[index]);
        if let (Ok(()), Some(&mtime_ns)) = (&outcome, mtimes.get(index)) {
            *outcome = set_time(root, &mut parents, folder, mtime_ns);
        }
    }
    let failed = parents.sync();
    for (folder, outcome) in folders.iter().map(AsRef::as_ref).zip(&mut made) {
        let error = failed.get(folder).or_else(|| ancestors(folder).find_map(|above| failed.get(above)));
        if let (Ok(()), Some(error)) = (&outcome, error) {
            *outcome = Err(error.clone());
        }
    }
    made
}

fn set_time(root: &Root, parents: &mut Parents<'_>, folder: &[u8], mtime_ns: i64) -> Result<()> {
    let dir = root.open_beneath(folder)?;
    match dir.set_mtime(mtime_ns) {
        Ok(()) => {}
        // As with files: some file systems keep no times, or only for an owner that they made up.
        Err(error) if matches!(platform::errno(&error), libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM) => {}
        Err(error) => return Err(Error::io("utimens", root.absolute(folder), &error)),
    }
    parents.changed(folder);
    Ok(())
}

/// Removes files; one that is already gone is no fault.
#[must_use]
pub fn discard<P: AsRef<[u8]>>(root: &Root, paths: &[P]) -> Vec<Result<()>> {
    let mut parents = Parents::new(root);
    let mut one = |path: &P| {
        let path = path.as_ref();
        match parents.of(path) {
            Ok((dir, name)) => remove(&dir, name).map_err(|error| Error::io("unlink", root.absolute(path), &error)),
            Err(error) if error.errno == libc::ENOENT => Ok(()),
            Err(error) => Err(error),
        }
    };
    paths.iter().map(&mut one).collect()
}
