//! What an earlier attempt left of a big file on a root: found by its trail, proven from its device, or cleared.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::content::PIECE;
use crate::error::{Error, Kind, Result};
use crate::inspect;
use crate::parents::Parents;
use crate::place::{self, Place};
use crate::platform::{self, Dir, Stat};
use crate::progress::Page;
use crate::publish::unknown;
use crate::root::Root;
use crate::sink;
use crate::tree::ChainingValue;
use crate::verify;
use crate::volume::Method;

/// A part that was left.
pub(crate) struct Part {
    dir: Arc<Dir>,
    name: Vec<u8>,
    path: Vec<u8>,
    /// As it was found.
    pub(crate) stat: Stat,
}

/// A part that was looked into.
pub(crate) enum Proven {
    /// It begins with so many bytes of the source.
    Holds(File, u64),
    /// Its flush failed.
    Failed,
    /// It can be read, but perhaps from memory: nothing shows what its device holds.
    Unshown,
    /// It is somebody's: another file has taken its name, or it has got a second one.
    Foreign,
}

impl Part {
    /// What is left on a root, under the name that was told last and is there. A file with two names may be somebody's.
    pub(crate) fn find(root: &Root, names: &[Vec<u8>]) -> Option<Self> {
        let found = |name: &Vec<u8>| {
            let (dir, last) = Parents::new(root).of(name).ok()?;
            let stat = dir.stat(last).ok().filter(|stat| stat.is_file() && stat.nlink <= 1)?;
            Some(Self { dir, name: last.to_vec(), path: root.absolute(name), stat })
        };
        names.iter().rev().find_map(found)
    }

    /// Flushes the part, takes it out of memory and reads it up to the first block that is not what it should be.
    pub(crate) fn look(
        &self,
        root: &Root,
        values: &[ChainingValue],
        block: u64,
        buffer: &mut [u8],
        page: &Page,
    ) -> Result<Proven> {
        page.operation();
        let fault = |op, error: &io::Error| Error::io(op, self.path.clone(), error);
        let (file, reading) = self.open().map_err(|error| fault("open", &error))?;
        let stat = platform::stat_file(&file).map_err(|error| fault("fstat", &error))?;
        let read = platform::stat_file(&reading).map_err(|error| fault("fstat", &error))?;
        if [&stat, &read].into_iter().any(|stat| !stat.same_file(&self.stat) || stat.nlink > 1) {
            return Ok(Proven::Foreign);
        }
        match sink::drained(&file, stat.size, page) {
            Ok(false) => return Err(Error::cancelled("fsync", self.path.clone())),
            Ok(true) if platform::sync_file(&file).is_ok() => {}
            Ok(true) | Err(_) => return Ok(Proven::Failed),
        }
        let method = verify::chill(&reading, root.coldness());
        if method == Method::Evicted {
            platform::sequential(&reading);
        }
        // A direct read that is refused is made through the cache.
        let shown = || match method {
            Method::Evicted => true,
            Method::Direct => platform::is_direct(&reading),
            Method::Reread => false,
        };
        let step = usize::try_from(PIECE).map_or(buffer.len(), |piece| piece.min(buffer.len()));
        let mut holds = 0;
        for value in values {
            let to = holds + block;
            if to > stat.size || !shown() {
                break;
            }
            match inspect::value(&reading, &self.path, (holds, to), &mut buffer[..step], page) {
                Ok(found) if found == *value && shown() => holds = to,
                Err(error) if error.kind == Kind::Cancelled => return Err(error),
                // Where it is the root that is gone, nothing is said of the part. Else the medium is bad, in whatever
                // words (a direct read of a bad sector may say ENODATA, EILSEQ, EREMOTEIO): copied again from here.
                Err(error) if root.check().is_err() => return Err(error),
                Ok(_) | Err(_) => break,
            }
        }
        Ok(if holds == 0 && !shown() { Proven::Unshown } else { Proven::Holds(file, holds) })
    }

    /// For writing and for reading.
    fn open(&self) -> io::Result<(File, File)> {
        Ok((self.dir.open_existing(&self.name)?, self.dir.open_file(&self.name)?))
    }

    /// Gives the part its new name. That is the caller's alone, so a look before it is enough where the kernel knows no
    /// better; and an answer may get lost after the thing was done.
    pub(crate) fn rename(&self, place: &Place) -> io::Result<()> {
        if !self.is_there()? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let there = || place.dir.stat(&place.name);
        let moved = || there().is_ok_and(|stat| stat.same_file(&self.stat)) && self.dir.stat(&self.name).is_err();
        match self.dir.rename_noreplace(&self.name, &place.dir, &place.name) {
            Err(error) if unknown(&error) && there().is_err() => {}
            Err(_) if moved() => return Ok(()),
            other => return other,
        }
        match self.dir.rename(&self.name, &place.dir, &place.name) {
            Err(_) if moved() => Ok(()),
            other => other,
        }
    }

    /// Removes the part, unless another file has taken its name. One that stays is cleared with its folder.
    pub(crate) fn clear(&self) {
        if self.is_there().is_ok_and(|there| there) {
            let _cleared_later = place::remove(&self.dir, &self.name);
        }
    }

    fn is_there(&self) -> io::Result<bool> {
        self.dir.stat(&self.name).map(|stat| stat.same_file(&self.stat))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    use super::*;
    use crate::buffer::Buffer;
    use crate::pattern::pattern;
    use crate::root::RootOptions;
    use crate::tree::Piece;

    const BLOCK: usize = 1 << 20;

    struct Rig {
        folder: tempfile::TempDir,
        root: Root,
        values: Vec<ChainingValue>,
    }

    impl Rig {
        /// A folder with a part of two blocks and a bit.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let bytes = pattern(2 * BLOCK + 9);
            std::fs::write(folder.path().join("1.part"), &bytes).unwrap();
            let value = |(index, block): (usize, &[u8])| {
                let mut piece = Piece::at((index * BLOCK) as u64);
                piece.update(block);
                piece.finish()
            };
            let values = bytes.chunks_exact(BLOCK).enumerate().map(value).collect();
            let root = Root::open(folder.path().as_os_str().as_bytes(), RootOptions::default()).unwrap();
            Self { folder, root, values }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn find(&self) -> Part {
            Part::find(&self.root, &[b"1.part".to_vec()]).unwrap()
        }

        fn look(&self, part: &Part) -> Proven {
            part.look(&self.root, &self.values, BLOCK as u64, &mut Buffer::new(BLOCK), &Page::private()).unwrap()
        }

        fn place(&self) -> Place {
            let (dir, name) = Parents::new(&self.root).of(b"2.part").unwrap();
            Place { dir, name: name.to_vec(), path: b"/2.part".to_vec(), mark: None }
        }
    }

    #[test]
    fn a_part_is_believed_as_far_as_its_device_shows_it() {
        let rig = Rig::new();

        match rig.look(&rig.find()) {
            Proven::Holds(_, had) => assert_eq!(had, 2 * BLOCK as u64),
            other => assert!(matches!(other, Proven::Unshown) && rig.root.cold() == Method::Reread),
        }
    }

    #[test]
    fn another_file_under_the_name_is_neither_believed_nor_touched() {
        let rig = Rig::new();
        let part = rig.find();
        std::fs::copy(rig.path("1.part"), rig.path("other")).unwrap();
        std::fs::rename(rig.path("other"), rig.path("1.part")).unwrap();

        assert!(matches!(rig.look(&part), Proven::Foreign));
        assert!(part.rename(&rig.place()).is_err());
        part.clear();

        assert!(rig.path("1.part").exists() && !rig.path("2.part").exists());
    }

    #[test]
    fn a_part_that_got_a_second_name_since_is_somebodys() {
        let rig = Rig::new();
        let part = rig.find();
        std::fs::hard_link(rig.path("1.part"), rig.path("mine")).unwrap();

        assert!(matches!(rig.look(&part), Proven::Foreign));
        assert!(Part::find(&rig.root, &[b"1.part".to_vec()]).is_none());
    }
}
