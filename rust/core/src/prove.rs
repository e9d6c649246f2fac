//! Hashing files where they are.

use crate::buffer::{Buffer, BUFFER_MAX, BUFFER_MIN};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::parents::Parents;
use crate::progress::Page;
use crate::root::Root;
use crate::source::{Mode, Source};
use crate::verify::{self, Warmth};
use crate::volume::Method;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The digest of all its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// How it was read; none where no cold read was asked for.
    pub method: Option<Method>,
}

/// Hashes files, from the device if `cold`, as far as the file system allows. `items`, if there are any, name
/// the files on the page. A file that changes while it is read is a fault. The buffer is brought within its limits.
pub fn prove<P: AsRef<[u8]>>(
    root: &Root,
    paths: &[P],
    items: &[u64],
    cold: bool,
    buffer: usize,
    page: &Page,
) -> Vec<Result<Proof>> {
    let mut buffer = Buffer::new(buffer.clamp(BUFFER_MIN, BUFFER_MAX));
    let mut parents = Parents::new(root);
    let warmth = if cold { Warmth::Found(root.coldness()) } else { Warmth::Any };
    let mut one = |(index, path): (usize, &P)| {
        page.item(0, items.get(index).copied());
        page.operation();
        hash(root, &mut parents, path.as_ref(), warmth, &mut buffer, page)
    };
    let proofs = paths.iter().enumerate().map(&mut one).collect();
    page.item(0, None);
    proofs
}

fn hash(
    root: &Root,
    parents: &mut Parents<'_>,
    path: &[u8],
    warmth: Warmth,
    buffer: &mut Buffer,
    page: &Page,
) -> Result<Proof> {
    let full = root.absolute(path);
    if page.cancelled() {
        return Err(Error::cancelled("open", full));
    }
    let (dir, name) = parents.of(path)?;
    let source = Source::open(dir, name, full, Mode::Read)?;
    let read = verify::hash(source.file(), source.path(), source.stat().size, warmth, buffer, page)?;
    source.finish()?;
    let stat = source.stat();
    if read.bytes != stat.size {
        let detail = "it did not give as many bytes as it has";
        return Err(Error::found(Kind::Changed, "read", source.path().to_vec(), detail));
    }
    Ok(Proof { digest: read.digest, size: stat.size, mtime_ns: stat.mtime_ns, method: read.method })
}
