//! A proven file takes the place of a damaged one, which is kept: never is a file lost, and never one touched that is
//! not the one that was looked at.

use std::io;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::platform::{Dir, Stat};
use crate::progress::Page;
use crate::publish::{ancestors, unknown, Names, Publication, Refusal};
use crate::root::{Parents, Root};

/// How a file took the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Both names changed at one moment: there was always a file under the name.
    AtOnce,
    /// The damaged file was moved away, then the new one published: in between there was none.
    InTurn(Publication),
}

impl Exchange {
    /// The word for this method, the same in manifests and Python.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::AtOnce => "exchange",
            Self::InTurn(publication) => publication.word(),
        }
    }
}

/// Gives the file at `staging` the name `path`, and the file that stands there the name `slot`, which must be free; its
/// folders are made. `stood` is what was looked at under the name: anything else that is found there, before or after,
/// is left there (or put back), and said.
///
/// Where no file system call exchanges two names, the damaged file is moved to its slot first, then the new one takes
/// the name, both without ever replacing anything. Whoever calls keeps a durable note of the three names until this
/// returns: if the process ends in between, [`exchange`] or [`publish`](crate::publish()) called again with them
/// finishes the work. All folders concerned are flushed. A request to stop is not heeded.
pub fn exchange(root: &Root, staging: &[u8], path: &[u8], slot: &[u8], stood: &Stat, page: &Page) -> Result<Exchange> {
    page.operation();
    let (mut from, mut at, mut to) = (Parents::new(root), Parents::new(root), Parents::new(root));
    let (new_dir, new_name) = from.of(staging)?;
    let (dir, name) = at.of(path)?;
    let new = new_dir.stat(new_name).map_err(|error| Error::io("stat", root.absolute(staging), &error))?;
    if !new.is_file() {
        return Err(Error::refused("stat", root.absolute(staging), libc::EINVAL, "this is not a regular file"));
    }
    let (slot_dir, slot_name) = to.of_new(slot)?;
    flushed(&mut to, &[])?;
    let three = Three { root, path, staging, slot, new_dir, new_name, dir, name, slot_dir, slot_name, new, stood };
    three.unchanged(&three.dir, three.name)?;
    let how = three.change(&mut to)?;
    flushed(&mut to, &[staging, path, slot])?;
    Ok(how)
}

/// The names that change: of the new file, of the damaged one, and the slot for the latter.
struct Three<'a> {
    root: &'a Root,
    path: &'a [u8],
    staging: &'a [u8],
    slot: &'a [u8],
    new_dir: Arc<Dir>,
    new_name: &'a [u8],
    dir: Arc<Dir>,
    name: &'a [u8],
    slot_dir: Arc<Dir>,
    slot_name: &'a [u8],
    new: Stat,
    stood: &'a Stat,
}

impl Three<'_> {
    fn change(&self, folders: &mut Parents<'_>) -> Result<Exchange> {
        match self.swap() {
            Ok(()) => {}
            Err(error) if unknown(&error) => return self.in_turn(folders).map(Exchange::InTurn),
            Err(error) => return Err(self.fault("rename", &error)),
        }
        // Somebody may have put another file under the name after the look.
        if let Err(error) = self.unchanged(&self.new_dir, self.new_name) {
            return Err(self.back(error));
        }
        // On a file system without a journal the two folders could otherwise reach the device with one file in both.
        flushed(folders, &[self.staging, self.path])?;
        let away = Names {
            from: &self.new_dir,
            old: self.new_name,
            to: &self.slot_dir,
            new: self.slot_name,
            stat: *self.stood,
        };
        match away.publish() {
            Ok(_) => Ok(Exchange::AtOnce),
            Err(refusal) => Err(self.back(self.refused(refusal))),
        }
    }

    fn swap(&self) -> io::Result<()> {
        match self.new_dir.rename_exchange(self.new_name, &self.dir, self.name) {
            // A network may lose the answer to a request that was carried out.
            Err(_) if self.dir.stat(self.name).is_ok_and(|stat| stat.same_file(&self.new)) => Ok(()),
            other => other,
        }
    }

    /// Exchanges the names once more, and hands the reason back, with a word if that failed.
    fn back(&self, why: Error) -> Error {
        match self.new_dir.rename_exchange(self.new_name, &self.dir, self.name) {
            Ok(()) => why,
            Err(error) => {
                let staging = String::from_utf8_lossy(self.staging).into_owned();
                Error { detail: format!("{} (and it stays at {staging}: {error})", why.detail), ..why }
            }
        }
    }

    fn in_turn(&self, folders: &mut Parents<'_>) -> Result<Publication> {
        let away =
            Names { from: &self.dir, old: self.name, to: &self.slot_dir, new: self.slot_name, stat: *self.stood };
        away.publish().map_err(|refusal| self.refused(refusal))?;
        let home =
            Names { from: &self.slot_dir, old: self.slot_name, to: &self.dir, new: self.name, stat: *self.stood };
        let put_back = |why: Error| match home.publish() {
            Ok(_) => why,
            Err((_, error)) => {
                let slot = String::from_utf8_lossy(self.slot).into_owned();
                Error { detail: format!("{} (and what stood there stays at {slot}: {error})", why.detail), ..why }
            }
        };
        self.unchanged(&self.slot_dir, self.slot_name).map_err(put_back)?;
        flushed(folders, &[self.path, self.slot]).map_err(put_back)?;
        let arrive = Names { from: &self.new_dir, old: self.new_name, to: &self.dir, new: self.name, stat: self.new };
        arrive.publish().map_err(|refusal| put_back(self.refused(refusal)))
    }

    /// Fails unless the name leads to what was looked at.
    fn unchanged(&self, dir: &Dir, name: &[u8]) -> Result<()> {
        let changed = |detail| Err(Error::found(Kind::Changed, "exchange", self.root.absolute(self.path), detail));
        match dir.stat(name) {
            Ok(now) if now.unchanged(self.stood) => Ok(()),
            Ok(now) if now.same_file(self.stood) => changed("it was written to meanwhile: it stays as it is"),
            Ok(_) => changed("something else has its name by now: it stays as it is"),
            Err(error) => Err(self.fault("stat", &error)),
        }
    }

    fn refused(&self, (op, error): Refusal) -> Error {
        self.fault(op, &error)
    }

    fn fault(&self, op: &'static str, error: &io::Error) -> Error {
        Error::io(op, self.root.absolute(self.path), error)
    }
}

/// Flushes the folders of these paths, with those that were made on the way to them.
fn flushed(folders: &mut Parents<'_>, paths: &[&[u8]]) -> Result<()> {
    for folder in paths.iter().filter_map(|path| ancestors(path).next()) {
        folders.changed(folder);
    }
    folders.sync().into_values().next().map_or(Ok(()), Err)
}
