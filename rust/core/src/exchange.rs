//! A proven file takes the place of a damaged one, which is kept: never is a file lost, and never one touched that is
//! not the one that was looked at.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::parents::Parents;
use crate::platform::{Dir, Stat};
use crate::progress::Page;
use crate::publish::{ancestors, unknown, Names, Publication, Refusal};
use crate::root::Root;

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
/// is left there (or put back), and said. Nothing is put back unless each name still leads to what was put there.
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
    let now = three.dir.stat(three.name).map_err(|error| three.fault("stat", &error))?;
    three.judge(&now)?;
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
        // Somebody may have put another file under one of the names after the look at it.
        let out = self.look(&self.new_dir, self.new_name, self.staging)?;
        if !holds(&self.dir, self.name, &self.new) {
            let staging = shown(self.staging);
            return Err(self.changed(format!("something else has its name by now; what had it is at {staging}")));
        }
        if let Err(error) = self.judge(&out) {
            return Err(self.back(error, &out));
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
            Err(refusal) => Err(self.back(self.refused(refusal), &out)),
        }
    }

    fn swap(&self) -> io::Result<()> {
        match self.new_dir.rename_exchange(self.new_name, &self.dir, self.name) {
            // A network may lose the answer to a request that was carried out.
            Err(_) if self.dir.stat(self.name).is_ok_and(|stat| stat.same_file(&self.new)) => Ok(()),
            other => other,
        }
    }

    /// Exchanges the names once more, and hands the reason back, with a word if that could not be. `out` is what was
    /// found at the staging name, and goes back to the other one.
    fn back(&self, why: Error, out: &Stat) -> Error {
        let undo = || -> std::result::Result<(), String> {
            if !holds(&self.dir, self.name, &self.new) || !holds(&self.new_dir, self.new_name, out) {
                return Err("one of the two names leads to something else by now".to_owned());
            }
            let asked = self.new_dir.rename_exchange(self.new_name, &self.dir, self.name);
            // What counts is what the names lead to: an answer may be lost, and somebody may have been quicker.
            match asked {
                _ if holds(&self.dir, self.name, out) && holds(&self.new_dir, self.new_name, &self.new) => Ok(()),
                Ok(()) => Err("something else came under one of the two names meanwhile, and was moved".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        match undo() {
            Ok(()) => why,
            Err(word) => {
                let staging = shown(self.staging);
                Error { detail: format!("{} (not undone, look at it and at {staging}: {word})", why.detail), ..why }
            }
        }
    }

    fn in_turn(&self, folders: &mut Parents<'_>) -> Result<Publication> {
        let away =
            Names { from: &self.dir, old: self.name, to: &self.slot_dir, new: self.slot_name, stat: *self.stood };
        away.publish().map_err(|refusal| self.refused(refusal))?;
        let out = self.look(&self.slot_dir, self.slot_name, self.slot)?;
        let home = Names { from: &self.slot_dir, old: self.slot_name, to: &self.dir, new: self.name, stat: out };
        let put_back = |why: Error| {
            let moved = if holds(&self.slot_dir, self.slot_name, &out) {
                home.publish().map_err(|(_, error)| error.to_string())
            } else {
                Err("something else has that name by now".to_owned())
            };
            match moved {
                Ok(_) => why,
                Err(word) => {
                    let slot = shown(self.slot);
                    Error { detail: format!("{} (and what stood there stays at {slot}: {word})", why.detail), ..why }
                }
            }
        };
        self.judge(&out).map_err(put_back)?;
        flushed(folders, &[self.path, self.slot]).map_err(put_back)?;
        let arrive = Names { from: &self.new_dir, old: self.new_name, to: &self.dir, new: self.name, stat: self.new };
        arrive.publish().map_err(|refusal| put_back(self.refused(refusal)))
    }

    /// What was moved from the name to another one, as it is there.
    fn look(&self, dir: &Dir, name: &[u8], path: &[u8]) -> Result<Stat> {
        dir.stat(name).map_err(|error| {
            let why = self.fault("stat", &error);
            Error { detail: format!("{} (what stood there was moved to {})", why.detail, shown(path)), ..why }
        })
    }

    /// Fails unless this is what was looked at.
    fn judge(&self, now: &Stat) -> Result<()> {
        if now.unchanged(self.stood) {
            Ok(())
        } else if now.same_file(self.stood) {
            Err(self.changed("it was written to meanwhile: it stays as it is"))
        } else {
            Err(self.changed("something else has its name by now: it stays as it is"))
        }
    }

    fn changed(&self, detail: impl Into<String>) -> Error {
        Error::found(Kind::Changed, "exchange", self.root.absolute(self.path), detail)
    }

    fn refused(&self, (op, error): Refusal) -> Error {
        self.fault(op, &error)
    }

    fn fault(&self, op: &'static str, error: &io::Error) -> Error {
        Error::io(op, self.root.absolute(self.path), error)
    }
}

fn shown(path: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(path)
}

/// Whether a name leads to this very file, whatever was written to it since.
fn holds(dir: &Dir, name: &[u8], file: &Stat) -> bool {
    dir.stat(name).is_ok_and(|now| (now.dev, now.ino) == (file.dev, file.ino))
}

/// Flushes the folders of these paths, with those that were made on the way to them.
fn flushed(folders: &mut Parents<'_>, paths: &[&[u8]]) -> Result<()> {
    for folder in paths.iter().filter_map(|path| ancestors(path).next()) {
        folders.changed(folder);
    }
    folders.sync().into_values().next().map_or(Ok(()), Err)
}
