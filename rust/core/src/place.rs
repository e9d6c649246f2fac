//! Where a staging file is, and how it ends there: removed, or left where a trail tells what it holds.

use std::io;
use std::sync::Arc;

use crate::error::{Error, Kind};
use crate::platform::{self, Dir};
use crate::trail::Trail;

/// Where a staging file is.
pub(crate) struct Place {
    pub(crate) dir: Arc<Dir>,
    pub(crate) name: Vec<u8>,
    pub(crate) path: Vec<u8>,
    /// Who has to hear of its end.
    pub(crate) mark: Option<Mark>,
}

/// The trail that speaks of a part, and the root's key in it.
pub(crate) struct Mark {
    pub(crate) trail: Arc<Trail>,
    pub(crate) key: Vec<u8>,
}

impl Place {
    pub(crate) fn fault(&self, op: &'static str, error: &io::Error) -> Error {
        Error::io(op, self.path.clone(), error)
    }

    /// What a copy ends with that was not flushed, because the caller asked to stop.
    pub(crate) fn cancelled(&self) -> Error {
        Error::cancelled("fsync", self.path.clone())
    }

    /// Removes the file and hands the reason back, with a word if it could not be removed. A trail is told before: it
    /// is never gone on with.
    pub(crate) fn remove(&self, why: Error) -> Error {
        let told = self.mark.as_ref().map_or(Ok(()), |mark| mark.trail.condemn(&mark.key));
        let why = match told {
            Ok(()) => why,
            Err(error) => Error { detail: format!("{} (and its trail stays: {error})", why.detail), ..why },
        };
        match remove(&self.dir, &self.name) {
            Ok(()) => why,
            Err(error) => Error { detail: format!("{} (and its staging file stays: {error})", why.detail), ..why },
        }
    }

    /// Leaves the file where a trail tells enough of what it holds, and removes it elsewhere.
    pub(crate) fn leave(&self, why: Error) -> Error {
        match &self.mark {
            Some(mark) if mark.trail.worth() => why,
            _ => self.remove(why),
        }
    }

    /// Ends a file that was written and flushed: nothing speaks against one that the caller merely had no time for.
    pub(crate) fn give_up(&self, why: Error) -> Error {
        if why.kind == Kind::Cancelled {
            self.leave(why)
        } else {
            self.remove(why)
        }
    }
}

/// Removes a name; one that is gone afterwards is removed, whatever the system said.
pub(crate) fn remove(dir: &Dir, name: &[u8]) -> io::Result<()> {
    let Err(error) = dir.unlink(name) else { return Ok(()) };
    match dir.stat(name) {
        Err(look) if platform::errno(&look) == libc::ENOENT => Ok(()),
        _ => Err(error),
    }
}
