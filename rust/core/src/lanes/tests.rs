use std::panic::{catch_unwind, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::pattern::pattern;
use crate::ring::{PIECE, PIECES};

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
                let bytes = pattern(size);
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
        let most = lanes.ring.count().most;
        for _ in 0..3 * most {
            // Given up with a piece half full.
            lanes.begin(LEAST).update(&pattern(PIECE * 3 / 2));
        }
        let mut summing = lanes.begin(LEAST);
        summing.update(&pattern(4 * most * PIECE));
        assert!(summing.finish().is_some());

        // The lanes let go of a piece after they have told the digest, at the latest when they end.
        drop(mem::take(&mut lanes.slow));
        let began = Instant::now();
        while lanes.ring.count().made != lanes.ring.count().free && began.elapsed() < Duration::from_secs(60) {
            thread::yield_now();
        }
        let count = lanes.ring.count();
        assert!((1..=most).contains(&count.made));
        assert_eq!(count.free, count.made);
    });
}

#[test]
fn lanes_end_with_an_owner_who_panics_in_the_middle_of_a_file() {
    let wanted = Algorithm::ALL.into_iter().collect();
    let owner = || {
        thread::scope(|scope| {
            let mut lanes = Lanes::start(wanted, true, PIECE, scope);
            lanes.begin(LEAST).update(&pattern(PIECE * 3 / 2));
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
    summing.update(&pattern(2 * PIECE));
    // What a panic does to the thread's ends.
    drop((ordered, told));

    summing.update(&pattern(2 * PIECES * PIECE));

    assert_eq!(summing.finish(), None);
}
