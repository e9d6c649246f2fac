//! What a trail says, byte for byte, and how much of it can be believed.
//!
//! The file begins with 8 bytes of name, 4 of version; then records: 1 byte of kind, 4 of length, the payload, and 16 of
//! the BLAKE3 of the check of the record before, the kind, the length and the payload. Numbers are little-endian. What
//! follows the first record that does not check is not believed, nor a file of another version. The first record says
//! what is being copied.

use std::collections::BTreeMap;

use crate::digest;
use crate::transfer::Transfer;
use crate::tree::{block_of, ChainingValue};

const NAME: &[u8; 8] = b"ingtrail";
const VERSION: u32 = 1;

pub(crate) const HEAD: u8 = 1;
pub(crate) const CREATED: u8 = 2;
pub(crate) const RENAMED: u8 = 3;
pub(crate) const VALUES: u8 = 4;
pub(crate) const CONDEMNED: u8 = 5;

/// Kind and length of a record, and its check.
const FRONT: usize = 5;
const CHECK: usize = 16;

pub(crate) type Check = [u8; CHECK];

/// What is being copied. A trail that has another head tells nothing about this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    /// Length of a block.
    pub(crate) block: u64,
    /// BLAKE3 of the path beneath the source.
    pub(crate) path: digest::Digest,
    /// What the source is stored on, in the caller's words.
    pub(crate) volume: Vec<u8>,
}

impl Head {
    pub(crate) fn of(transfer: &Transfer<'_>, volume: &[u8]) -> Self {
        Self {
            size: transfer.size,
            mtime_ns: transfer.mtime_ns,
            block: block_of(transfer.size),
            path: digest::of(transfer.path),
            volume: volume.to_vec(),
        }
    }

    /// Blocks that have a value here: whole ones.
    pub(crate) fn blocks(&self) -> usize {
        usize::try_from(self.size / self.block).unwrap_or(0)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = [self.size.to_le_bytes(), self.mtime_ns.to_le_bytes(), self.block.to_le_bytes()];
        [numbers.as_flattened(), &self.path, &self.volume].concat()
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (size, rest) = payload.split_first_chunk()?;
        let (mtime_ns, rest) = rest.split_first_chunk()?;
        let (block, rest) = rest.split_first_chunk()?;
        let (path, volume) = rest.split_first_chunk()?;
        let (size, block) = (u64::from_le_bytes(*size), u64::from_le_bytes(*block));
        // The length of a block decides how much is believed to come.
        (block == block_of(size)).then(|| Self {
            size,
            mtime_ns: i64::from_le_bytes(*mtime_ns),
            block,
            path: *path,
            volume: volume.to_vec(),
        })
    }
}

/// What a trail tells, as far as it can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) head: Head,
    /// The value of each whole block of the source, where it is known; the one that was told last counts.
    pub(crate) values: Vec<Option<ChainingValue>>,
    /// By root, the staging names that a part was made under, the last one last: a rename is told before it is made.
    pub(crate) parts: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Where what is believed ends, and the check of its last record.
    pub(crate) end: u64,
    pub(crate) check: Check,
}

impl Story {
    /// Reads a trail; none if not even its head can be believed.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(front().as_slice())?;
        let (kind, payload, check, mut rest) = record(&first_check(), rest)?;
        let head = Head::decode(payload).filter(|_| kind == HEAD)?;
        let values = vec![None; head.blocks()];
        let mut story = Self { head, values, parts: BTreeMap::new(), end: 0, check };
        while let Some((kind, payload, check, later)) = record(&story.check, rest) {
            if story.take(kind, payload).is_none() {
                break;
            }
            story.check = check;
            rest = later;
        }
        story.end = (bytes.len() - rest.len()) as u64;
        Some(story)
    }

    /// One more record; none if it makes no sense.
    fn take(&mut self, kind: u8, payload: &[u8]) -> Option<()> {
        match kind {
            CREATED | RENAMED => {
                let (length, rest) = payload.split_first_chunk()?;
                let (key, name) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
                if kind == CREATED {
                    self.parts.insert(key.to_vec(), vec![name.to_vec()]);
                } else if let Some(names) = self.parts.get_mut(key) {
                    // Of one that was condemned meanwhile no rename makes a part again.
                    names.push(name.to_vec());
                }
            }
            VALUES => {
                let (index, values) = payload.split_first_chunk()?;
                let values = values_of(values)?;
                let from = usize::try_from(u64::from_le_bytes(*index)).ok()?;
                let places = self.values.get_mut(from..from.checked_add(values.len())?)?;
                places.iter_mut().zip(values).for_each(|(place, value)| *place = Some(value));
            }
            CONDEMNED => drop(self.parts.remove(payload)),
            _ => return None,
        }
        Some(())
    }

    /// The values from the first block on, up to the first that is not known.
    pub(crate) fn finished(&self) -> Vec<ChainingValue> {
        self.values.iter().map_while(|value| *value).collect()
    }
}

/// Bytes as values; none if they are no whole ones.
fn values_of(bytes: &[u8]) -> Option<Vec<ChainingValue>> {
    let values = bytes.chunks_exact(size_of::<ChainingValue>());
    values.remainder().is_empty().then(|| values.filter_map(|value| value.try_into().ok()).collect())
}

pub(crate) fn front() -> Vec<u8> {
    [&NAME[..], &VERSION.to_le_bytes()].concat()
}

pub(crate) fn first_check() -> Check {
    check_of(&[&front()])
}

fn check_of(pieces: &[&[u8]]) -> Check {
    let mut check = [0; CHECK];
    check.copy_from_slice(&digest::of(&pieces.concat())[..CHECK]);
    check
}

/// The first record of what is left: kind, payload, its check, and what follows. None at the end, and where a record is
/// not whole or does not follow the one before.
fn record<'b>(before: &Check, bytes: &'b [u8]) -> Option<(u8, &'b [u8], Check, &'b [u8])> {
    let (front, rest) = bytes.split_at_checked(FRONT)?;
    let (&kind, length) = front.split_first()?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    let (check, rest) = rest.split_first_chunk()?;
    (*check == check_of(&[before, front, payload])).then_some((kind, payload, *check, rest))
}

/// A record that follows another one, and its check; none where its length cannot be told.
pub(crate) fn encoded(before: &Check, kind: u8, payload: &[u8]) -> Option<(Vec<u8>, Check)> {
    let length = u32::try_from(payload.len()).ok()?;
    let front = [&[kind][..], &length.to_le_bytes()].concat();
    let check = check_of(&[before, &front, payload]);
    Some(([&front, payload, &check].concat(), check))
}

/// A name on a root; none where the length of its key cannot be told.
pub(crate) fn named(key: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(key.len()).ok()?;
    Some([&length.to_le_bytes(), key, name].concat())
}

#[cfg(test)]
mod tests;
