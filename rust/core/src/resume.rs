//! Going on with half-made copies of a big file: what an attempt before left on the roots is proven, block by block,
//! and the file is copied from there.
//!
//! In order: the trail is taken, or another one is begun. Some finished blocks are read again from the source, which must
//! be what they were. Each part is flushed, dropped from memory and read from its device, up to the first block that is
//! not what the source's was. What is behind that is cut off, and the part gets this attempt's name. The file is then
//! read from where the shortest part ends; every sink passes over what it has.
//!
//! A part that cannot be gone on with is removed, and the copy made from its start: nothing here makes a copy fail that
//! could be made anew.

use std::collections::hash_map::RandomState;
use std::collections::BTreeSet;
use std::fs::File;
use std::hash::BuildHasher;
use std::io;
use std::sync::Arc;

use crate::behind::Behind;
use crate::buffer::Buffer;
use crate::content::PIECE;
use crate::error::{Error, Kind, Result};
use crate::inspect;
use crate::platform::{self, Dir};
use crate::progress::Page;
use crate::publish::unknown;
use crate::root::{Parents, Root};
use crate::sink::{self, Mark, Place, Sink};
use crate::source::Source;
use crate::story::{Head, Story};
use crate::threads::side_by_side;
use crate::trail::{Found, Trail, WORTH};
use crate::transfer::{Partial, Transfer};
use crate::tree::{ChainingValue, Gathered, Piece};
use crate::verify;

/// Finished blocks that are read again from the source besides the first and the last. A tenth of a file that was
/// changed without a change of size and time is met with 16 in four cases of five; what is not met arrives as it was
/// when it was first read.
const SAMPLES: u64 = 16;

/// Where the trails of a call are.
pub(crate) struct Trails<'a> {
    dir: Arc<Dir>,
    partial: Partial<'a>,
}

impl<'a> Trails<'a> {
    /// None without the folder: then nothing is left to go on with. What is wrong with its disk the journal will tell.
    pub(crate) fn open(partial: Partial<'a>) -> Option<Self> {
        Some(Self { dir: Arc::new(Dir::open_root(partial.folder, false).ok()?), partial })
    }
}

/// Where a file is begun, and who is told of it.
#[derive(Default)]
pub(crate) struct Start {
    /// A multiple of the file's block. Every sink has what comes before.
    pub(crate) offset: u64,
    block: u64,
    pub(crate) trail: Option<Arc<Trail>>,
}

impl Start {
    /// The values of what comes before.
    pub(crate) fn gathered(&self, size: u64) -> Gathered {
        let block = crate::tree::block_of(size);
        let known = self.trail.as_ref().map(|trail| trail.values(self.offset / block));
        Gathered::with(size, known.unwrap_or_default())
    }

    /// Hands on what comes before to whoever takes a file's bytes in order: read from a copy that holds it, and looked
    /// at once more. False if it does not read as it should any more; what was handed on is void then.
    pub(crate) fn hand_on(
        &self,
        sinks: &[Result<Sink>],
        buffer: &mut [u8],
        page: &Page,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        let (Some(trail), Some(sink)) = (&self.trail, sinks.iter().flatten().next()) else { return Ok(true) };
        let place = sink.place();
        let Ok(file) = place.dir.open_file(&place.name) else { return Ok(false) };
        platform::sequential(&file);
        for (index, value) in (0..).zip(trail.values(self.offset.checked_div(self.block).unwrap_or(0))) {
            let range = (index * self.block, (index + 1) * self.block);
            match inspect::handed_on(&file, &place.path, range, buffer, page, take) {
                Ok(found) if found == value => {}
                Err(error) if error.kind == Kind::Cancelled => return Err(error),
                Ok(_) | Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The source is read from its first byte after all; every sink keeps what it has.
    pub(crate) fn anew(&mut self, sinks: &mut [Result<Sink>]) {
        self.offset = 0;
        sinks.iter_mut().flatten().for_each(|sink| sink.expect(0));
    }

    /// Fails if the source read otherwise than when a part was made of it that was gone on with.
    pub(crate) fn agrees(&self, source: &[u8]) -> Result<()> {
        if self.trail.as_ref().is_some_and(|trail| trail.disagrees()) {
            let detail = "it gave different bytes when it was read again";
            return Err(Error::found(Kind::Unstable, "read", source.to_vec(), detail));
        }
        Ok(())
    }
}

/// One attempt at one big file.
pub(crate) struct Attempt<'a> {
    pub(crate) trails: &'a Trails<'a>,
    pub(crate) transfer: &'a Transfer<'a>,
    pub(crate) roots: &'a [&'a Root],
    /// This attempt's names.
    pub(crate) staging: &'a [&'a [u8]],
    /// Roots that share a device, and are read in turn.
    pub(crate) devices: &'a [&'a [usize]],
    pub(crate) page: &'a Page,
}

/// What an earlier attempt left on a root.
struct Part {
    dir: Arc<Dir>,
    name: Vec<u8>,
    path: Vec<u8>,
    size: u64,
}

/// A part that was looked into.
enum Proven {
    /// It begins with so many bytes of the source.
    Holds(File, u64),
    /// Its flush failed.
    Failed,
}

type Proofs = Vec<(usize, Result<Proven>)>;

impl Attempt<'_> {
    /// The sinks of all roots, and where to begin. Fails where that is not for one root to decide: the source cannot be
    /// read, or the caller asked to stop; the parts stay as they are.
    pub(crate) fn begin<'b>(
        &self,
        source: &mut Source,
        places: Vec<Result<Place>>,
        buffers: &mut [Buffer],
        bytes_read: &mut u64,
        behind: impl Fn(usize) -> Option<&'b Arc<Behind>>,
    ) -> Result<(Vec<Result<Sink>>, Start)> {
        let head = Head::of(self.transfer, self.trails.partial.volume);
        let (mut trail, story) = self.find(&head);
        let mut parts: Vec<_> = (0..places.len()).map(|root| self.part(root, story.as_ref())).collect();
        let ours = story.filter(|story| trail.is_some() && story.head == head);
        let mut values = ours.map(|story| story.finished()).unwrap_or_default();
        let reach = parts.iter().flatten().map(|part| part.size / head.block).max().unwrap_or(0);
        values.truncate(usize::try_from(reach).unwrap_or(usize::MAX));
        if (values.len() as u64) < WORTH {
            values.clear();
        } else if !self.same(source, &values, &head, &mut buffers[0], bytes_read)? {
            values.clear();
            trail = None;
        }
        let mut proofs: Vec<_> = parts.iter().map(|_| None).collect();
        if !values.is_empty() {
            for (root, proof) in self.prove(&parts, &values, &head, trail.as_ref(), buffers) {
                match proof {
                    Err(error) if error.kind == Kind::Cancelled => return Err(error),
                    proof => proofs[root] = Some(proof),
                }
            }
        }
        let trail = trail.or_else(|| self.fresh(&head)).map(Arc::new);
        let mut sinks = Vec::with_capacity(places.len());
        for (root, (place, proof)) in places.into_iter().zip(proofs).enumerate() {
            let part = parts[root].take();
            // A part that could not be looked at stays as it is, and its root sits this attempt out.
            let sink = |place| self.sink(root, place, part, proof.transpose()?, trail.as_ref(), behind(root));
            sinks.push(place.and_then(sink));
        }
        Ok(together(sinks, &head, trail))
    }

    /// The trail that tells of this file, locked, and what any trail in its place tells.
    fn find(&self, head: &Head) -> (Option<Trail>, Option<Story>) {
        match Trail::open(&self.trails.dir, &self.name(), &self.path(), head) {
            Ok(Found::Ours(trail, story)) => (Some(trail), Some(story)),
            // Nobody works with its parts any more.
            Ok(Found::Other(story)) => (None, story),
            // What somebody may still write to is left alone, and what cannot be read too.
            Ok(Found::Held | Found::Nothing) | Err(_) => (None, None),
        }
    }

    /// A new trail; none where it cannot be written: then a later attempt begins anew, as without.
    fn fresh(&self, head: &Head) -> Option<Trail> {
        Trail::begin(&self.trails.dir, &self.name(), &self.path(), head).ok()
    }

    fn name(&self) -> Vec<u8> {
        format!("{}.trail", self.transfer.item).into_bytes()
    }

    fn path(&self) -> Vec<u8> {
        [self.trails.partial.folder, b"/", &self.name()].concat()
    }

    /// What is left on a root, under the name that was told last and is there. A file with two names may be somebody's.
    fn part(&self, root: usize, story: Option<&Story>) -> Option<Part> {
        let names = story?.parts.get(self.trails.partial.keys[root])?;
        let root = self.roots[root];
        let found = |name: &Vec<u8>| {
            let (dir, last) = Parents::new(root).of(name).ok()?;
            let stat = dir.stat(last).ok().filter(|stat| stat.is_file() && stat.nlink <= 1)?;
            Some(Part { dir, name: last.to_vec(), path: root.absolute(name), size: stat.size })
        };
        names.iter().rev().find_map(found)
    }

    /// Whether the source still reads as it did: its first and last finished block, and some others.
    fn same(
        &self,
        source: &Source,
        values: &[ChainingValue],
        head: &Head,
        buffer: &mut [u8],
        bytes_read: &mut u64,
    ) -> Result<bool> {
        for index in chosen(values.len() as u64) {
            let (from, to) = (index * head.block, (index + 1) * head.block);
            source.drop_range(from, to);
            let mut piece = Piece::at(from);
            let mut offset = from;
            while offset < to {
                if self.page.cancelled() {
                    return Err(Error::cancelled("read", source.path().to_vec()));
                }
                let want =
                    usize::try_from((to - offset).min(PIECE)).map_or(buffer.len(), |left| left.min(buffer.len()));
                source.read_at(&mut buffer[..want], want, offset)?;
                piece.update(&buffer[..want]);
                *bytes_read += want as u64;
                self.page.read(want);
                offset += want as u64;
            }
            source.drop_range(from, to);
            if usize::try_from(index).is_ok_and(|index| values[index] != piece.finish()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks into all parts, one device beside the other.
    fn prove(
        &self,
        parts: &[Option<Part>],
        values: &[ChainingValue],
        head: &Head,
        trail: Option<&Trail>,
        buffers: &mut [Buffer],
    ) -> Proofs {
        let work: Vec<_> = self.devices.iter().zip(buffers).collect();
        let proofs = side_by_side(work, |thread, (roots, buffer)| {
            self.page.item(thread, Some(self.transfer.item));
            let one = |&root: &usize| {
                let part = parts[root].as_ref()?;
                let looked = self.look(part, self.roots[root], values, head, buffer);
                if let (Ok(Proven::Failed), Some(trail)) = (&looked, trail) {
                    // At once: whoever asks the kernel again hears that all is well. What cannot be noted now is noted
                    // before the part is removed.
                    let _noted = trail.condemn(self.trails.partial.keys[root]);
                }
                Some((root, looked))
            };
            let looked: Vec<_> = roots.iter().filter_map(one).collect();
            if thread > 0 {
                self.page.item(thread, None);
            }
            looked
        });
        proofs.into_iter().flatten().collect()
    }

    /// Flushes a part, takes it out of memory and reads it up to the first block that is not what it should be.
    fn look(
        &self,
        part: &Part,
        root: &Root,
        values: &[ChainingValue],
        head: &Head,
        buffer: &mut [u8],
    ) -> Result<Proven> {
        self.page.operation();
        let opened = part.dir.open_existing(&part.name).and_then(|file| Ok((file, part.dir.open_file(&part.name)?)));
        let (file, reading) = opened.map_err(|error| Error::io("open", part.path.clone(), &error))?;
        match sink::drained(&file, part.size, self.page) {
            Ok(false) => return Err(Error::cancelled("fsync", part.path.clone())),
            Ok(true) if platform::sync_file(&file).is_ok() => {}
            Ok(true) | Err(_) => return Ok(Proven::Failed),
        }
        verify::chill(&reading, root.coldness());
        platform::sequential(&reading);
        let step = usize::try_from(PIECE).map_or(buffer.len(), |piece| piece.min(buffer.len()));
        let mut holds = 0;
        for value in values {
            let to = holds + head.block;
            if to > part.size {
                break;
            }
            match inspect::value(&reading, &part.path, (holds, to), &mut buffer[..step], self.page) {
                Ok(found) if found == *value => holds = to,
                Err(error) if error.kind == Kind::Cancelled => return Err(error),
                // The medium is bad: copied again from here. Where it is the root that is gone, nothing is said of it.
                Err(error) if error.errno != libc::EIO || root.check().is_err() => return Err(error),
                Ok(_) | Err(_) => break,
            }
        }
        Ok(Proven::Holds(file, holds))
    }

    /// A sink for one root: on what is proven of its part, or from the start.
    fn sink(
        &self,
        root: usize,
        place: Place,
        part: Option<Part>,
        proof: Option<Proven>,
        trail: Option<&Arc<Trail>>,
        behind: Option<&Arc<Behind>>,
    ) -> Result<Sink> {
        let (key, name, size) = (self.trails.partial.keys[root], self.staging[root], self.transfer.size);
        let mark = trail.map(|trail| Mark { trail: Arc::clone(trail), key: key.to_vec() });
        let place = Place { mark, ..place };
        if let Some(part) = part {
            let flawed = match (proof, trail) {
                (Some(Proven::Holds(file, had)), Some(trail)) if had > 0 => {
                    let cut = if part.size > had { file.set_len(had) } else { Ok(()) };
                    if cut.is_ok() {
                        trail.renamed(key, name);
                        if part.rename(&place).is_ok() {
                            return Sink::go_on(place, file, had, size, behind);
                        }
                    }
                    cut.is_err()
                }
                (Some(Proven::Failed), _) => true,
                _ => false,
            };
            if let Some(trail) = trail.filter(|_| flawed) {
                trail.condemn(key)?;
            }
            // Before there is another: its room is needed. One that stays is cleared with its folder.
            let _cleared_later = sink::remove(&part.dir, &part.name);
        }
        let sink = Sink::create(place, size, behind)?;
        if let Some(trail) = trail {
            trail.created(key, name);
        }
        Ok(sink)
    }
}

/// Begins where the shortest part ends.
fn together(mut sinks: Vec<Result<Sink>>, head: &Head, trail: Option<Arc<Trail>>) -> (Vec<Result<Sink>>, Start) {
    let offset = sinks.iter().flatten().map(Sink::had).min().unwrap_or(0);
    let longest = sinks.iter().flatten().map(Sink::had).max().unwrap_or(0);
    sinks.iter_mut().flatten().for_each(|sink| sink.expect(offset));
    if let Some(trail) = &trail {
        trail.rely(longest / head.block);
    }
    (sinks, Start { offset, block: head.block, trail })
}

impl Part {
    /// Gives the part its new name. That is the caller's alone, so a look before it is enough where the kernel knows no
    /// better; and an answer may get lost after the thing was done.
    fn rename(&self, place: &Place) -> io::Result<()> {
        let before = self.dir.stat(&self.name)?;
        let there = || place.dir.stat(&place.name);
        let moved = || there().is_ok_and(|stat| stat.same_file(&before)) && self.dir.stat(&self.name).is_err();
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
}

/// Which of so many blocks, at least [`WORTH`], are read again: the first, the last and some between, in order.
fn chosen(blocks: u64) -> BTreeSet<u64> {
    let mut chosen = BTreeSet::from([0, blocks - 1]);
    // Seeded anew by the system: nobody can know which.
    let seed = RandomState::new();
    let mut turn = 0_u64;
    while (chosen.len() as u64) < (SAMPLES + 2).min(blocks) {
        chosen.insert(seed.hash_one(turn) % blocks);
        turn += 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BLOCK: u64 = 1 << 20;

    #[test]
    fn blocks_to_be_read_again_are_the_first_the_last_and_others_each_once() {
        for blocks in [WORTH, 33, 1000, 65_536] {
            let some = chosen(blocks);
            assert_eq!(some.len(), 18);
            assert!(some.contains(&0) && some.contains(&(blocks - 1)) && some.iter().all(|&index| index < blocks));
        }
        assert_ne!(chosen(65_536), chosen(65_536), "nobody can know which");
    }

    #[test]
    fn what_comes_before_is_handed_on_in_order_and_void_if_it_reads_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open_root(folder.path().as_os_str().as_encoded_bytes(), false).unwrap());
        let bytes: Vec<u8> = (0..=250).cycle().take(40 * (1 << 20)).collect();
        let transfer = Transfer { item: 1, path: b"clip", size: 100 * BLOCK, mtime_ns: 0 };
        let trail = Arc::new(Trail::begin(&dir, b"1.trail", b"/1.trail", &Head::of(&transfer, b"")).unwrap());
        for (index, block) in (0..).zip(bytes.chunks(1 << 20)) {
            let mut piece = Piece::at(index * BLOCK);
            piece.update(block);
            trail.note(index, piece.finish());
        }
        let mut part = dir.create_new(b"part").unwrap();
        part.write_all(&bytes).unwrap();
        let place = Place { dir: Arc::clone(&dir), name: b"part".to_vec(), path: b"/part".to_vec(), mark: None };
        let had = bytes.len() as u64;
        let mut sinks = [Ok(Sink::go_on(place, part, had, transfer.size, None).unwrap())];
        sinks.iter_mut().flatten().for_each(|sink| sink.expect(had));
        let mut start = Start { offset: had, block: BLOCK, trail: Some(trail) };
        let (page, mut buffer) = (Page::private(), Buffer::new(300_000));
        let mut handed = Vec::new();

        let well = start.hand_on(&sinks, &mut buffer, &page, &mut |bytes| handed.extend_from_slice(bytes)).unwrap();

        assert!(well && handed == bytes);
        let damaged = std::fs::OpenOptions::new().write(true).open(folder.path().join("part")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&damaged, b"x", 39 * BLOCK).unwrap();
        assert!(!start.hand_on(&sinks, &mut buffer, &page, &mut |_| ()).unwrap());
        start.anew(&mut sinks);
        assert_eq!(start.offset, 0);
        let sink = sinks[0].as_mut().unwrap();
        assert_eq!(sink.write(&bytes, &page), Ok(0), "it has them");
        assert_eq!(sink.write(b"more", &page), Ok(4));
        page.cancel();
        assert_eq!(start.hand_on(&sinks, &mut buffer, &page, &mut |_| ()), Ok(true), "nothing comes before");
        start.offset = had;
        assert_eq!(start.hand_on(&sinks, &mut buffer, &page, &mut |_| ()).unwrap_err().kind, Kind::Cancelled);
    }
}
