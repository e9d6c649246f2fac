//! Final names: given without ever replacing one, and made durable.

use std::io;

use crate::error::{Error, Result};
use crate::parents::{folder_of, Parents};
use crate::platform::{self, Dir, Stat};
use crate::progress::Page;
use crate::root::Root;

/// How a final name was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// A rename that the kernel refuses if the name is taken.
    NoReplace,
    /// A hard link, which is refused likewise, and removal of the old name.
    Link,
    /// A look, then a rename: all that is left where neither of the others is known. Between the two someone
    /// else's file could be replaced.
    Unguarded,
}

impl Publication {
    /// The word for this method, the same in manifests and Python.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NoReplace => "noreplace",
            Self::Link => "link",
            Self::Unguarded => "unguarded",
        }
    }
}

/// Gives staging files their final names, and makes these durable.
///
/// Missing folders are made. After all renames each touched folder and, the first time that this root meets a folder,
/// the whole way up to the root is flushed once;
/// a folder that cannot be flushed is a fault (`fsync_folder`) of every file in it. The staging folder counts as
/// touched: without a journal it could otherwise keep a second name for a file with one link, and removing that
/// name after a power cut would free the file under its final one.
///
/// A request to stop is not heeded: what is proven gets its name, and that does not take long.
#[must_use]
pub fn publish<P: AsRef<[u8]>>(root: &Root, staging: &[P], paths: &[P], page: &Page) -> Vec<Result<Publication>> {
    let (mut from, mut to) = (Parents::new(root), Parents::new(root));
    let pairs = || staging.iter().map(AsRef::as_ref).zip(paths.iter().map(AsRef::as_ref));
    let mut published = Vec::with_capacity(paths.len());
    for (old, new) in pairs() {
        page.operation();
        let outcome = one(root, &mut from, &mut to, (old, new));
        if outcome.is_ok() {
            to.touched(old);
            to.touched(new);
            if root.unsettled(folder_of(new)) {
                ancestors(new).for_each(|folder| to.changed(folder));
            }
        }
        published.push(outcome);
    }
    let failed = to.sync();
    if failed.is_empty() {
        for (_, path) in published.iter().zip(paths).filter(|(outcome, _)| outcome.is_ok()) {
            root.settled(folder_of(path.as_ref()));
        }
    } else {
        for (outcome, (old, new)) in published.iter_mut().zip(pairs()) {
            if outcome.is_ok() {
                if let Some(error) = ancestors(new).chain([folder_of(old)]).find_map(|folder| failed.get(folder)) {
                    *outcome = Err(error.clone());
                }
            }
        }
    }
    published
}

/// The folders that lead to a path, from its own up to the root (which is empty).
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(folder_of(path)), |folder| (!folder.is_empty()).then(|| folder_of(folder)))
}

fn one(root: &Root, from: &mut Parents<'_>, to: &mut Parents<'_>, (old, new): (&[u8], &[u8])) -> Result<Publication> {
    let fault = |op: &'static str, error: &io::Error| Error::io(op, root.absolute(new), error);
    if old.eq_ignore_ascii_case(new) {
        // Two spellings of one name, at least on some file systems: neither may be removed for the other.
        return Err(Error::refused("rename", root.absolute(new), libc::EEXIST, "the file has this name already"));
    }
    let (old_dir, old_name) = from.of(old)?;
    let stat = old_dir.stat(old_name).map_err(|error| Error::io("stat", root.absolute(old), &error))?;
    if !stat.is_file() {
        return Err(Error::refused("stat", root.absolute(old), libc::EINVAL, "this is not a regular file"));
    }
    let (new_dir, new_name) = to.of_new(new)?;
    let names = Names { from: &old_dir, old: old_name, to: &new_dir, new: new_name, stat };
    names.publish().map_err(|(op, error)| fault(op, &error))
}

/// An old and a new name, and the file that is to have the new one.
pub(crate) struct Names<'a> {
    pub(crate) from: &'a Dir,
    pub(crate) old: &'a [u8],
    pub(crate) to: &'a Dir,
    pub(crate) new: &'a [u8],
    pub(crate) stat: Stat,
}

pub(crate) type Refusal = (&'static str, io::Error);

impl Names<'_> {
    /// The ladder: each rung is tried where the one before is not known.
    pub(crate) fn publish(&self) -> std::result::Result<Publication, Refusal> {
        match self.from.rename_noreplace(self.old, self.to, self.new) {
            Ok(()) => return Ok(Publication::NoReplace),
            Err(_) if self.moved() => return Ok(Publication::NoReplace),
            // An earlier call made the link, and was interrupted before it removed the old name.
            Err(_) if self.linked() => return Ok(self.drop_old()),
            Err(error) if !unknown(&error) => return Err(("rename", error)),
            Err(_) => {}
        }
        match self.from.link(self.old, self.to, self.new) {
            Ok(()) => return Ok(self.drop_old()),
            Err(_) if self.linked() => return Ok(self.drop_old()),
            Err(error) if !no_links(&error) => return Err(("link", error)),
            Err(_) => {}
        }
        match self.to.stat(self.new) {
            Ok(_) => return Err(("rename", io::Error::from_raw_os_error(libc::EEXIST))),
            Err(error) if platform::errno(&error) != libc::ENOENT => return Err(("stat", error)),
            Err(_) => {}
        }
        match self.from.rename(self.old, self.to, self.new) {
            Err(error) if !self.moved() => Err(("rename", error)),
            _ => Ok(Publication::Unguarded),
        }
    }

    /// A network may lose the answer to a request that was carried out: the new name leads to our file, and the
    /// old one is gone.
    fn moved(&self) -> bool {
        let gone = || self.from.stat(self.old).is_err_and(|error| platform::errno(&error) == libc::ENOENT);
        self.arrived().is_some() && gone()
    }

    /// The new name is a second one of our file. The count of links keeps one name that is merely spelled in two
    /// ways (on a file system that ignores case) from being taken for two.
    fn linked(&self) -> bool {
        self.arrived().is_some_and(|stat| stat.nlink >= 2)
    }

    fn arrived(&self) -> Option<Stat> {
        self.to.stat(self.new).ok().filter(|stat| stat.same_file(&self.stat))
    }

    /// The file has its final name; a staging name that cannot be removed does no harm.
    fn drop_old(&self) -> Publication {
        let _harmless = self.from.unlink(self.old);
        Publication::Link
    }
}

/// The file system (or the kernel) does not know the request.
pub(crate) fn unknown(error: &io::Error) -> bool {
    matches!(platform::errno(error), libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP)
}

/// The file system has no hard links, or not here. EIO is what rclone mounts answer.
fn no_links(error: &io::Error) -> bool {
    // EOPNOTSUPP and ENOTSUP are two numbers on macOS, and one on Linux.
    let number = platform::errno(error);
    number == libc::ENOTSUP || matches!(number, libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EIO)
}
