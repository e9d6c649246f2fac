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
use crate::threads;

/// Bytes that a lane is given at a time: a wake-up is little beside them, and a request to stop waits for no more.
const PIECE: usize = 256 << 10;

/// Pieces of a ring beside those that take what is read at a time: 2 MiB, which stay in the cache that cores share.
///
/// While the next bytes are read, hashed and written, the lanes have these to work on: with all of a 4 MiB buffer and no
/// more than 2 MiB of ring SHA-1 took 0.58 s instead of 0.45 s.
const PIECES: usize = 8;

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

/// Memory that bytes pass through. Each piece is made when it is first needed, and used again and again.
struct Ring {
    made: usize,
    most: usize,
    free: Receiver<Vec<u8>>,
    back: Sender<Vec<u8>>,
}

/// A piece that is being filled, or read by the lanes. It goes back to its ring when the last of them lets go of it,
/// also one that panics: nobody waits for a piece that will never come.
struct Piece {
    bytes: Vec<u8>,
    back: Sender<Vec<u8>>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        // Fails when the ring is gone, and with it the need.
        let _gone = self.back.send(mem::take(&mut self.bytes));
    }
}

impl Ring {
    /// For a reader who gives so many bytes at a time.
    fn new(step: usize) -> Self {
        let (back, free) = channel();
        Self { made: 0, most: PIECES + step.div_ceil(PIECE), free, back }
    }

    /// An empty piece, once there is one.
    fn take(&mut self) -> Piece {
        let free = if self.made < self.most { self.free.try_recv().ok() } else { self.free.recv().ok() };
        let mut bytes = free.unwrap_or_else(|| {
            self.made += 1;
            Vec::with_capacity(PIECE)
        });
        bytes.clear();
        Piece { bytes, back: self.back.clone() }
    }
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
            Order::Bytes(piece) => sum.update(&piece.bytes),
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
            let (now, later) = rest.split_at(rest.len().min(PIECE - piece.bytes.len()));
            piece.bytes.extend_from_slice(now);
            if piece.bytes.len() == PIECE {
                self.hand_over();
            }
            rest = later;
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
mod tests {
    use std::panic::{catch_unwind, AssertUnwindSafe};
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn bytes(size: usize) -> Vec<u8> {
        (0..=250).cycle().take(size).collect()
    }

    fn expected(wanted: Algorithms, bytes: &[u8]) -> Vec<(Algorithm, Vec<u8>)> {
        let one = |algorithm| {
            let mut sum = Sum::new(algorithm);
            sum.update(bytes);
            (algorithm, sum.finish())
        };
        wanted.iter().map(one).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn file_after_file_in_any_steps_some_given_up_each_has_its_own_digests(
            files in prop::collection::vec((0_usize..5 << 20, 1_usize..1 << 20, any::<bool>()), 1..5),
            wanted in prop::collection::vec(prop::sample::select(&Algorithm::ALL[..]), 0..7),
        ) {
            let wanted: Algorithms = wanted.into_iter().collect();
            thread::scope(|scope| {
                let mut lanes = Lanes::start(wanted, true, PIECE, scope);
                for (size, step, given_up) in files {
                    let bytes = bytes(size);
                    let mut summing = lanes.begin(size as u64);
                    bytes.chunks(step).for_each(|bytes| summing.update(bytes));
                    if given_up {
                        continue;
                    }
                    let sums = summing.finish().unwrap();
                    for (algorithm, digest) in expected(wanted, &bytes) {
                        prop_assert_eq!(sums.of(algorithm), Some(digest.as_slice()), "{}", algorithm.word());
                    }
                    for other in Algorithm::ALL.into_iter().filter(|&other| !wanted.has(other)) {
                        prop_assert_eq!(sums.of(other), None);
                    }
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn a_ring_makes_no_more_pieces_than_it_may_and_gets_all_of_them_back() {
        let wanted = [Algorithm::Md5, Algorithm::Sha512].into_iter().collect();
        thread::scope(|scope| {
            let mut lanes = Lanes::start(wanted, true, PIECE, scope);
            let most = lanes.ring.most;
            for _ in 0..3 * most {
                // Given up with a piece half full.
                lanes.begin(LEAST).update(&bytes(PIECE * 3 / 2));
            }
            let mut summing = lanes.begin(LEAST);
            summing.update(&bytes(4 * most * PIECE));
            assert!(summing.finish().is_some());

            assert!((1..=most).contains(&lanes.ring.made));
            assert_eq!(lanes.ring.free.iter().take(lanes.ring.made).count(), lanes.ring.made);
        });
    }

    #[test]
    fn lanes_end_with_an_owner_who_panics_in_the_middle_of_a_file() {
        let wanted = Algorithm::ALL.into_iter().collect();
        let owner = || {
            thread::scope(|scope| {
                let mut lanes = Lanes::start(wanted, true, PIECE, scope);
                lanes.begin(LEAST).update(&bytes(PIECE * 3 / 2));
                panic!("a bug of the owner");
            });
        };

        // Without an end of theirs the scope would wait for ever.
        assert!(catch_unwind(AssertUnwindSafe(owner)).is_err());
    }

    #[test]
    fn a_lane_that_has_died_has_no_digest_and_nobody_waits_for_it() {
        let mut lanes = Lanes { wanted: Algorithms::NONE, slow: Vec::new(), ring: Ring::new(PIECE) };
        let ((orders, ordered), (told, digests)) = (channel(), channel());
        lanes.slow.push(Lane { algorithm: Algorithm::Md5, orders, digests });
        let mut summing = lanes.begin(LEAST);
        summing.update(&bytes(2 * PIECE));
        // What a panic does to the thread's ends.
        drop((ordered, told));

        summing.update(&bytes(2 * PIECES * PIECE));

        assert_eq!(summing.finish(), None);
    }
}
