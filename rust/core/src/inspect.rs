//! Looking into files for damage: the chaining value of each of their blocks, as the device holds them.

use std::fs::File;
use std::io;

use crate::buffer::Buffer;
use crate::content::PIECE;
use crate::direct::Reads;
use crate::error::{Error, Result};
use crate::parents::Parents;
use crate::platform;
use crate::progress::Page;
use crate::root::Root;
use crate::source::{Mode, Source, STEP};
use crate::tree::{block_of, ChainingValue, Piece};
use crate::verify;
use crate::volume::Method;

/// What a file holds, block by block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Bytes that it has now.
    pub size: u64,
    /// One chaining value for each block that it has of the size it should have; the last may be shorter than it
    /// should be, and its value is then another one.
    pub blocks: Vec<ChainingValue>,
    /// How it was read.
    pub method: Method,
}

/// Reads files from the device, as far as the file system allows, and values their blocks. `sizes` are the bytes that
/// each should have: they decide how long its blocks are, and what lies beyond is not read. A file that changes while
/// it is read is a fault.
pub fn inspect<P: AsRef<[u8]>>(root: &Root, paths: &[P], sizes: &[u64], page: &Page) -> Vec<Result<Inspection>> {
    let mut parents = Parents::new(root);
    let piece = usize::try_from(PIECE).unwrap_or(usize::MAX);
    let mut buffer = Buffer::new(piece);
    let one = |(path, size): (&P, &u64)| look(root, &mut parents, path.as_ref(), *size, &mut buffer, page);
    paths.iter().zip(sizes).map(one).collect()
}

fn look(
    root: &Root,
    parents: &mut Parents<'_>,
    path: &[u8],
    size: u64,
    buffer: &mut Buffer,
    page: &Page,
) -> Result<Inspection> {
    let full = root.absolute(path);
    page.operation();
    if page.cancelled() {
        return Err(Error::cancelled("open", full));
    }
    let (dir, name) = parents.of(path)?;
    let source = Source::open(dir, name, full, Mode::Read)?;
    let method = verify::make_cold(source.file(), source.path(), root.coldness())?;
    let has = source.stat().size;
    let end = size.min(has);
    let block = block_of(size);
    let mut reads = Reads::new(source.file(), method == Method::Direct);
    let mut blocks = Vec::new();
    let mut from = 0;
    while from < end {
        let to = end.min(from + block);
        blocks.push(valued(&mut reads, source.path(), (from, to), buffer, page, &mut |_| ())?);
        from = to;
    }
    source.finish()?;
    Ok(Inspection { size: has, blocks, method: reads.claim(method) })
}

/// The chaining value of a range that begins with a block and is no longer; what was read is dropped from the cache.
pub(crate) fn value(
    file: &File,
    path: &[u8],
    range: (u64, u64),
    buffer: &mut [u8],
    page: &Page,
) -> Result<ChainingValue> {
    handed_on(file, path, range, buffer, page, &mut |_| ())
}

/// The same, of bytes that are handed on as they are read: what they are worth is known afterwards.
pub(crate) fn handed_on(
    file: &File,
    path: &[u8],
    (from, to): (u64, u64),
    buffer: &mut [u8],
    page: &Page,
    take: &mut dyn FnMut(&[u8]),
) -> Result<ChainingValue> {
    valued(&mut Reads::new(file, true), path, (from, to), buffer, page, take)
}

fn valued(
    reads: &mut Reads<'_>,
    path: &[u8],
    (from, to): (u64, u64),
    buffer: &mut [u8],
    page: &Page,
    take: &mut dyn FnMut(&[u8]),
) -> Result<ChainingValue> {
    let mut piece = Piece::at(from);
    let mut both = |bytes: &[u8]| {
        piece.update(bytes);
        take(bytes);
    };
    in_order(reads, path, (from, to), buffer, page, &mut both)?;
    if to % STEP == 0 {
        platform::evict_range(reads.file(), to - STEP, STEP);
    }
    Ok(piece.finish())
}

/// Reads a range of a file that is there in order, and hands its bytes on.
fn in_order(
    reads: &mut Reads<'_>,
    path: &[u8],
    (from, to): (u64, u64),
    buffer: &mut [u8],
    page: &Page,
    hand_on: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let fault = |error: &io::Error| Error::io("read", path.to_vec(), error);
    let mut offset = from;
    while offset < to {
        if page.cancelled() {
            return Err(Error::cancelled("read", path.to_vec()));
        }
        // Whole buffers, as direct reads want them; what comes after the range is not looked at.
        match reads.at(buffer, offset) {
            Ok(0) => return Err(fault(&io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                let read = usize::try_from(to - offset).map_or(read, |left| read.min(left));
                hand_on(&buffer[..read]);
                page.verified(read);
                offset += read as u64;
            }
            Err(error) => return Err(fault(&error)),
        }
    }
    Ok(())
}
