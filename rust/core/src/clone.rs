//! Copies that share what the source holds: clones and hard links, for roots on the source's own file system.
//!
//! A clone is a file of its own whose blocks are the source's, until one of the two is written to. A hard link is the
//! source's file itself, under a second name: whoever changes the one changes the other. Neither moves a byte, and each
//! is proven like any copy: the source is read once and hashed *after* the clone was taken, so that a change in between
//! shows in the proof that it stood still, or in the read-back; the copy is flushed and read back cold.
//!
//! What the kernel refuses is written as usual: whether two places can share anything, only it can say. So is a file
//! whose bytes lie among its file system's records: it has no blocks to share, and its clone could not be read back cold.

use std::collections::HashSet;
use std::fs::File;
use std::io;

use crate::error::{Error, Result};
use crate::place::{remove, Place};
use crate::platform;
use crate::progress::Page;
use crate::sink::drained;
use crate::source::Source;
use crate::verify::embedded;
use crate::volume::Coldness;

/// How a copy comes to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Its bytes are written.
    #[default]
    Copy,
    /// It is a clone of the source: blocks are shared until one of them is written to.
    Reflink,
    /// It is the source's file under a second name.
    Hardlink,
}

impl Strategy {
    /// The word for it, the same in manifests and Python.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Reflink => "reflink",
            Self::Hardlink => "hardlink",
        }
    }

    /// The strategy with this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Copy, Self::Reflink, Self::Hardlink].into_iter().find(|strategy| strategy.word() == word)
    }
}

/// Makes clones or links, as far as the kernel does.
pub(crate) struct Sharing {
    strategy: Strategy,
    /// Devices of source files, and roots, between which nothing can be shared: they are not asked again.
    apart: HashSet<(u64, usize)>,
}

/// What came of one request.
enum Made {
    File(File),
    /// Not this file.
    Refused,
    /// Not between these two places.
    Apart,
}

impl Sharing {
    pub(crate) fn new(strategy: Strategy) -> Self {
        Self { strategy, apart: HashSet::new() }
    }

    /// What this makes, if it makes anything.
    pub(crate) fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// A new file that shares what the source holds, open; none, and nothing at its place, if it has to be written.
    /// `coldness` is that of the root.
    pub(crate) fn make(
        &mut self,
        source: &Source,
        root: usize,
        place: &Place,
        coldness: Coldness,
        page: &Page,
    ) -> Result<Option<File>> {
        let between = (source.stat().dev, root);
        if self.apart.contains(&between) {
            return Ok(None);
        }
        let made = match self.strategy {
            Strategy::Copy => return Ok(None),
            Strategy::Reflink => clone(source, place, coldness, page)?,
            Strategy::Hardlink => link(source, place)?,
        };
        match made {
            Made::File(file) => Ok(Some(file)),
            Made::Refused => Ok(None),
            Made::Apart => {
                self.apart.insert(between);
                Ok(None)
            }
        }
    }
}

fn clone(source: &Source, place: &Place, coldness: Coldness, page: &Page) -> Result<Made> {
    // The kernel flushes the source before it clones it, without a sign of life; so it is waited for here, where
    // somebody looks for the request to stop.
    match drained(source.file(), source.stat().size, page) {
        Ok(true) => {}
        Ok(false) => return Err(Error::cancelled("clone", source.path().to_vec())),
        Err(error) => return Err(Error::io("clone", source.path().to_vec(), &error)),
    }
    if embedded(source.file(), coldness) {
        return Ok(Made::Refused);
    }
    let file = place.dir.create_new(&place.name).map_err(|error| place.fault("create", &error))?;
    match platform::clone_file(source.file(), &file) {
        Ok(()) => Ok(Made::File(file)),
        Err(error) => {
            drop(file);
            match refusal(&error) {
                // Some of it may be cloned: what is to be written begins with nothing.
                Some(made) => removed(place).map(|()| made),
                None => Err(place.remove(place.fault("clone", &error))),
            }
        }
    }
}

/// A link by name, since one by descriptor takes rights that few have; that it is the file that was opened is seen
/// afterwards. Otherwise the file is written from what is open, and what became of its name is told when it was read.
fn link(source: &Source, place: &Place) -> Result<Made> {
    let (dir, name) = source.place();
    if let Err(error) = dir.link(name, &place.dir, &place.name) {
        return match refusal(&error) {
            Some(made) => Ok(made),
            None if platform::errno(&error) == libc::ENOENT => Ok(Made::Refused),
            None => Err(place.fault("link", &error)),
        };
    }
    let opened = place.dir.open_file(&place.name).and_then(|file| Ok((platform::stat_file(&file)?, file)));
    match opened {
        Ok((stat, file)) if stat.same_file(&source.stat()) => Ok(Made::File(file)),
        _ => removed(place).map(|()| Made::Refused),
    }
}

fn removed(place: &Place) -> Result<()> {
    remove(&place.dir, &place.name).map_err(|error| place.fault("unlink", &error))
}

/// What an error says about sharing; none if it is about something else, such as a disk that is full.
fn refusal(error: &io::Error) -> Option<Made> {
    match platform::errno(error) {
        // Another file system, another mount of this one, or one that knows no such request. EOPNOTSUPP and ENOTSUP are
        // two numbers on macOS, and one on Linux.
        libc::EXDEV | libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS => Some(Made::Apart),
        number if number == libc::ENOTSUP => Some(Made::Apart),
        // Btrfs files with and without checksums, a file that swaps, one that must not be linked or has too many names.
        libc::EINVAL | libc::EPERM | libc::EMLINK | libc::ETXTBSY => Some(Made::Refused),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::platform::Dir;
    use crate::source::Mode;

    #[test]
    fn a_name_that_leads_to_another_file_than_the_open_one_is_not_linked() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open_root(folder.path().as_os_str().as_encoded_bytes(), false).unwrap());
        let write = |name: &str| std::fs::write(folder.path().join(name), name).unwrap();
        write("clip");
        let source = Source::open(Arc::clone(&dir), b"clip", b"/card/clip".to_vec(), Mode::Read).unwrap();
        let place =
            || Place { dir: Arc::clone(&dir), name: b"part".to_vec(), path: b"/archive/part".to_vec(), mark: None };

        assert!(matches!(link(&source, &place()), Ok(Made::File(_))));
        std::fs::remove_file(folder.path().join("part")).unwrap();
        write("other");
        std::fs::rename(folder.path().join("other"), folder.path().join("clip")).unwrap();
        assert!(matches!(link(&source, &place()), Ok(Made::Refused)), "another file");
        std::fs::remove_file(folder.path().join("clip")).unwrap();
        assert!(matches!(link(&source, &place()), Ok(Made::Refused)), "none at all");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nowhere", folder.path().join("clip")).unwrap();
            assert!(matches!(link(&source, &place()), Ok(Made::Refused)), "a symbolic link");
        }

        assert!(folder.path().join("part").symlink_metadata().is_err(), "nothing is left at its place");
    }

    #[test]
    fn every_strategy_is_found_by_its_word() {
        for strategy in [Strategy::Copy, Strategy::Reflink, Strategy::Hardlink] {
            assert_eq!(Strategy::of(strategy.word()), Some(strategy));
        }
        assert_eq!(Strategy::of("auto"), None);
    }

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        let says = |errno| refusal(&io::Error::from_raw_os_error(errno));

        for errno in [libc::EXDEV, libc::EOPNOTSUPP, libc::ENOTTY, libc::ENOSYS] {
            assert!(matches!(says(errno), Some(Made::Apart)), "{errno}");
        }
        for errno in [libc::EINVAL, libc::EPERM, libc::EMLINK, libc::ETXTBSY] {
            assert!(matches!(says(errno), Some(Made::Refused)), "{errno}");
        }
        for errno in [libc::ENOSPC, libc::EDQUOT, libc::EIO, libc::EROFS, libc::EEXIST] {
            assert!(says(errno).is_none(), "{errno}");
        }
    }
}
