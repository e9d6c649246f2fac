//! The digests of a batch's files beside BLAKE3, the slower ones of big files on threads of their own.
//!
//! One thread, a *lane*, is made for each slow algorithm of a call. The thread that reads copies what it read into
//! pieces of a small ring, and hands each full piece to every lane; a piece comes back when the last of them is done
//! with it. So the reader is never more than a ring ahead of the slowest, memory does not grow with the file, and every
//! digest sees the file once and in order, all that while BLAKE3 and the copies go on. The reader could read into the
//! ring instead; but a copy of what is in its cache costs too little to be seen beside all else (one file of 512 MiB in
//! memory with SHA-1 took 0.45 s read and 0.44 s mapped), and so bytes are bytes, from a map, from several threads, or
//! from a copy that is taken up again.
//!
//! Where no thread is to be had for a lane, its digest is made by the thread that reads, too.
//!
//! The digests of the XXH family take 0.02 to 0.05 s of a GiB that is in the cache: the thread that reads makes them.
//!
//! Lanes end when [`Lanes`] is dropped, with whoever owns it: at the end of the call, however it ends.

use std::mem;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::thread::Scope;

use crate::algorithms::{Algorithm, Algorithms, Sum, Sums};
use crate::ring::{Piece, Ring};
use crate::threads;

/// Files from this size on are worth the lanes: a few pieces.
pub(crate) const LEAST: u64 = 1 << 20;

/// The lanes of a call, and what they work on together.
pub(crate) struct Lanes {
    wanted: Algorithms,
    slow: Vec<Lane>,
    ring: Ring,
}

/// A thread that makes one digest: what it is told, and what it answers.
struct Lane {
    algorithm: Algorithm,
    orders: Sender<Order>,
    digests: Receiver<Vec<u8>>,
}

enum Order {
    /// A new file; what became of the one before is of no interest.
    Begin,
    Bytes(Arc<Piece>),
    Finish,
}

impl Lanes {
    /// Makes the threads for what is wanted, if there are `big` files, whose bytes come in steps of this length.
    pub(crate) fn start<'scope>(wanted: Algorithms, big: bool, step: usize, scope: &'scope Scope<'scope, '_>) -> Self {
        let slow = wanted.iter().filter(|algorithm| big && algorithm.slow());
        let lane = |algorithm: Algorithm| {
            let (orders, ordered) = channel();
            let (told, digests) = channel();
            threads::start(scope, algorithm.word(), move || run(algorithm, &ordered, &told))?;
            Some(Lane { algorithm, orders, digests })
        };
        Self { wanted, slow: slow.filter_map(lane).collect(), ring: Ring::new(step) }
    }

    /// Starts a file of this size.
    pub(crate) fn begin(&mut self, size: u64) -> Summing<'_> {
        let beside = size >= LEAST && !self.slow.is_empty();
        if beside {
            self.slow.iter().for_each(|lane| lane.order(Order::Begin));
        }
        let has = |algorithm| self.slow.iter().any(|lane| lane.algorithm == algorithm);
        let inline = self.wanted.iter().filter(|&algorithm| !(beside && has(algorithm)));
        Summing {
            inline: inline.map(|algorithm| (algorithm, Sum::new(algorithm))).collect(),
            beside: beside.then_some(Beside { lanes: &mut self.slow, ring: &mut self.ring, piece: None }),
        }
    }
}

impl Lane {
    fn order(&self, order: Order) {
        // Fails when the thread has panicked: then it has no digest to tell either.
        let _gone = self.orders.send(order);
    }
}

/// A lane's work: until nobody is left who could order something.
fn run(algorithm: Algorithm, orders: &Receiver<Order>, told: &Sender<Vec<u8>>) {
    let mut sum = Sum::new(algorithm);
    for order in orders {
        match order {
            Order::Begin => sum = Sum::new(algorithm),
            Order::Bytes(piece) => sum.update(piece.bytes()),
            Order::Finish => {
                let finished = mem::replace(&mut sum, Sum::new(algorithm));
                if told.send(finished.finish()).is_err() {
                    return;
                }
            }
        }
    }
}

/// The digests of one file on their way: fed with its bytes in order, whoever read them and from where. What was
/// begun and not finished leaves no trace.
pub(crate) struct Summing<'a> {
    /// What is made by the thread that reads.
    inline: Vec<(Algorithm, Sum)>,
    beside: Option<Beside<'a>>,
}

/// What is made by the lanes.
struct Beside<'a> {
    lanes: &'a mut [Lane],
    ring: &'a mut Ring,
    /// The one that is being filled.
    piece: Option<Piece>,
}

impl Summing<'_> {
    /// Whether nothing is asked for but BLAKE3.
    pub(crate) fn is_empty(&self) -> bool {
        self.inline.is_empty() && self.beside.is_none()
    }

    /// The file's next bytes. Waits while the lanes have a whole ring before them.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(beside) = &mut self.beside {
            beside.update(bytes);
        }
        for (_, sum) in &mut self.inline {
            sum.update(bytes);
        }
    }

    /// The digests of everything seen; none if a lane has died.
    pub(crate) fn finish(self) -> Option<Sums> {
        let inline = self.inline.into_iter().map(|(algorithm, sum)| Some((algorithm, sum.finish())));
        inline.chain(self.beside.into_iter().flat_map(Beside::finish)).collect()
    }
}

impl Beside<'_> {
    fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = self.piece.get_or_insert_with(|| self.ring.take());
            rest = piece.fill(rest);
            if piece.full() {
                self.hand_over();
            }
        }
    }

    fn hand_over(&mut self) {
        let Some(piece) = self.piece.take().map(Arc::new) else { return };
        for lane in self.lanes.iter() {
            lane.order(Order::Bytes(Arc::clone(&piece)));
        }
    }

    fn finish(mut self) -> Vec<Option<(Algorithm, Vec<u8>)>> {
        self.hand_over();
        self.lanes.iter().for_each(|lane| lane.order(Order::Finish));
        self.lanes.iter().map(|lane| Some((lane.algorithm, lane.digests.recv().ok()?))).collect()
    }
}

#[cfg(test)]
mod tests;
