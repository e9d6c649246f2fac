//! Going on with half-made copies of a big file: what an attempt before left on the roots is proven, block by block,
//! and the file is copied from there.
//!
//! In order: the trail is taken, or another one is begun. Some finished blocks are read again from the source, which must
//! be what they were. Each part is flushed, dropped from memory and read from its device, up to the first block that is
//! not what the source's was (`leftover.rs`). What is behind that is cut off, and the part gets this attempt's name. The
//! file is then read from where the shortest part ends (`start.rs`); every sink passes over what it has.
//!
//! A part that was looked into and cannot be gone on with is removed, and the copy made from its start; so is one of which
//! its device shows nothing, because it cannot be read past memory. Where a part could not even be looked into, or what is
//! known against it could not be noted for good, the root has a fault of its own, and its part stays as it is.

use std::sync::Arc;

use crate::behind::Behind;
use crate::buffer::Buffer;
use crate::error::{Kind, Result};
use crate::leftover::{Part, Proven};
use crate::place::{Mark, Place};
use crate::platform::{self, Dir};
use crate::progress::Page;
use crate::root::Root;
use crate::sample;
use crate::sink::Sink;
use crate::source::Source;
use crate::start::Start;
use crate::story::{Head, Story};
use crate::threads::side_by_side;
use crate::trail::{Found, Trail, WORTH};
use crate::transfer::{Partial, Transfer};
use crate::tree::ChainingValue;
use crate::volume::Method;

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

/// One attempt at one big file.
pub(crate) struct Attempt<'a> {
    pub(crate) trails: &'a Trails<'a>,
    pub(crate) transfer: &'a Transfer<'a>,
    pub(crate) roots: &'a [&'a Root],
    /// This attempt's names.
    pub(crate) staging: &'a [&'a [u8]],
    /// Roots that share a disk, and are read in turn.
    pub(crate) disks: &'a [Vec<usize>],
    pub(crate) page: &'a Page,
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
        let names = |root: usize| story.as_ref()?.parts.get(self.trails.partial.keys[root]);
        let mut parts: Vec<_> = (0..places.len()).map(|root| Part::find(self.roots[root], names(root)?)).collect();
        let ours = story.filter(|story| trail.is_some() && story.head == head);
        let mut values = ours.map(|story| story.finished()).unwrap_or_default();
        let mut unshown = self.unshown(&parts, values.len() as u64, &head);
        let shown =
            parts.iter().enumerate().filter(|(root, _)| !unshown.contains(root)).filter_map(|(_, part)| part.as_ref());
        let reach = shown.map(|part| part.stat.size / head.block).max().unwrap_or(0);
        values.truncate(usize::try_from(reach).unwrap_or(usize::MAX));
        if (values.len() as u64) < WORTH {
            values.clear();
        } else if !sample::same(source, &values, head.block, &mut buffers[0], bytes_read, self.page)? {
            values.clear();
            unshown.clear();
            trail = None;
        }
        let mut proofs: Vec<_> = parts.iter().map(|_| None).collect();
        if !values.is_empty() {
            for (root, proof) in self.prove(&parts, &unshown, &values, &head, trail.as_ref(), buffers) {
                match proof {
                    Err(error) if error.kind == Kind::Cancelled => return Err(error),
                    proof => proofs[root] = Some(proof),
                }
            }
            let seen = proofs.iter().enumerate().filter(|(_, proof)| matches!(proof, Some(Ok(Proven::Unshown))));
            unshown.extend(seen.map(|(root, _)| root));
        }
        let trail = trail.or_else(|| self.fresh(&head)).map(Arc::new);
        let mut sinks = Vec::with_capacity(places.len());
        for (root, (place, proof)) in places.into_iter().zip(proofs).enumerate() {
            let part = parts[root].take();
            // A part that could not be looked at stays as it is, and its root sits this attempt out.
            let sink = |place| self.sink(root, place, part, proof.transpose()?, trail.as_ref(), behind(root));
            sinks.push(place.and_then(sink));
        }
        let (sinks, start) = together(sinks, &head, trail);
        Ok((sinks, Start { unshown, ..start }))
    }

    /// The roots with a part of which so many known blocks could tell, if its file system were ever cold.
    fn unshown(&self, parts: &[Option<Part>], known: u64, head: &Head) -> Vec<usize> {
        let long = |part: &Part| known.min(part.stat.size / head.block) >= WORTH;
        let unshown =
            |root: &usize| self.roots[*root].cold() == Method::Reread && parts[*root].as_ref().is_some_and(long);
        (0..parts.len()).filter(unshown).collect()
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

    /// Looks into all parts but those of which nothing is shown, one disk beside the other.
    fn prove(
        &self,
        parts: &[Option<Part>],
        unshown: &[usize],
        values: &[ChainingValue],
        head: &Head,
        trail: Option<&Trail>,
        buffers: &mut [Buffer],
    ) -> Proofs {
        let work: Vec<_> = self.disks.iter().zip(buffers).collect();
        let proofs = side_by_side(work, |thread, (roots, buffer)| {
            self.page.item(thread, Some(self.transfer.item));
            let one = |&root: &usize| {
                let part = parts[root].as_ref().filter(|_| !unshown.contains(&root))?;
                let looked = part.look(self.roots[root], values, head.block, buffer, &self.page.at(root));
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
        match (part, proof, trail) {
            (None, ..) | (_, Some(Proven::Foreign), _) => {}
            (Some(part), Some(Proven::Holds(file, had)), Some(trail)) if had > 0 => {
                // However long it was: it may have grown since.
                if platform::retry(|| file.set_len(had)).is_ok() {
                    trail.renamed(key, name);
                    if part.rename(&place).is_ok() {
                        return Sink::go_on(place, file, had, size, behind);
                    }
                } else {
                    trail.condemn(key)?;
                }
                part.clear();
            }
            (Some(part), Some(Proven::Failed), Some(trail)) => {
                trail.condemn(key)?;
                part.clear();
            }
            // Before there is another: its room is needed.
            (Some(part), ..) => part.clear(),
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
    (sinks, Start { offset, block: head.block, trail, unshown: Vec::new() })
}
