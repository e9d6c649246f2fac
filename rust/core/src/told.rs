//! What trails tell whoever asks: all of it to the next attempt, and the names of their parts to anybody.

use std::io::{self, Read};

use crate::error::{Error, Result};
use crate::parents::folder_of;
use crate::platform::{self, Dir};
use crate::story::Story;

/// A file has 2 MiB of values at most, which take 4 MiB when each is told by itself, and as much again for each attempt
/// that read other bytes. What is longer is no trail; nor is its beginning believed, since at its end may stand what was
/// condemned.
pub(crate) const LONGEST: u64 = 64 << 20;

/// What a trail tells; none where it is too long for one, or not even its head can be believed.
pub(crate) fn read(dir: &Dir, name: &[u8]) -> io::Result<Option<Story>> {
    let mut bytes = Vec::new();
    dir.open_file(name)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(Story::read(&bytes).filter(|_| bytes.len() as u64 <= LONGEST))
}

/// The parts that a trail speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Bytes of the file that is being copied.
    pub size: u64,
    /// Each `(key of a root, staging name)`; a part that is being renamed has two names, of which one is there.
    pub names: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The parts that a trail speaks of, by its absolute path; none where no trail is that can be believed.
pub fn parts(path: &[u8]) -> Result<Option<Parts>> {
    let fault = |op, error: &io::Error| Error::io(op, path.to_vec(), error);
    let folder = folder_of(path);
    let name = &path[folder.len()..];
    let dir = Dir::open_root(folder, false).map_err(|error| fault("open", &error))?;
    let story = match read(&dir, name.strip_prefix(b"/").unwrap_or(name)) {
        Err(error) if platform::errno(&error) == libc::ENOENT => None,
        other => other.map_err(|error| fault("read", &error))?,
    };
    Ok(story.map(|Story { head, parts, .. }| Parts {
        size: head.size,
        names: parts
            .into_iter()
            .flat_map(|(key, names)| names.into_iter().map(move |name| (key.clone(), name)))
            .collect(),
    }))
}
