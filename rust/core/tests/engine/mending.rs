//! A damaged file and another place make a right one, block by block, or it is said what neither has.

use std::fs;
use std::path::Path;

use ingest_core::tree::{Piece, BLOCK};
use ingest_core::{digest, mend, Kind, Mended, Page, Wanted};
use proptest::prelude::*;

use crate::places::{pattern, root, Places};

const MIB: usize = 1 << 20;
const MTIME: i64 = 1_600_000_000_123_456_700;

/// The chaining values of a file's blocks, made without the code that is tested.
fn values(bytes: &[u8]) -> Vec<[u8; 32]> {
    let one = |(index, block): (usize, &[u8])| {
        let mut piece = Piece::at(index as u64 * BLOCK);
        piece.update(block);
        piece.finish()
    };
    bytes.chunks(MIB).enumerate().map(one).collect()
}

/// Builds what `right` says at `part` on the first archive, from `clip` there and `clip` on the second.
fn mended(places: &Places, right: &[u8], values: &[[u8; 32]]) -> Mended {
    let wanted = Wanted { path: b"clip", size: right.len() as u64, mtime_ns: MTIME, digest: digest::of(right), values };
    let (here, there) = (root(places.archive(0)), root(places.archive(1)));
    mend(&here, &wanted, &there, &["nowhere", "clip"], Some(b"s/part"), &Page::private())
}

fn built(places: &Places) -> Vec<u8> {
    fs::read(places.archive(0).join("s/part")).unwrap()
}

fn staged(places: &Places) -> bool {
    places.archive(0).join("s/part").exists()
}

fn put(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("clip"), bytes).unwrap();
}

fn flipped(right: &[u8], blocks: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut bytes = right.to_vec();
    for block in blocks {
        let end = right.len().min((block + 1) * MIB);
        bytes[usize::midpoint(block * MIB, end)] ^= 0x10;
    }
    bytes
}

/// Blocks as ranges, those that touch as one.
fn ranges(blocks: impl IntoIterator<Item = usize>, size: usize) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for block in blocks {
        let (start, end) = ((block * MIB) as u64, size.min((block + 1) * MIB) as u64);
        match joined.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => joined.push((start, end)),
        }
    }
    joined
}

#[test]
fn one_flipped_byte_moves_one_block_and_the_time_is_the_recorded_one() {
    let places = Places::new(2);
    let right = pattern(8 * MIB + 17);
    put(places.archive(0), &flipped(&right, [5]));
    put(places.archive(1), &right);

    let mended = mended(&places, &right, &values(&right));

    assert!(mended.outcome.unwrap().is_some());
    assert_eq!((mended.fetched, mended.ranges), (BLOCK, ranges([5], right.len())));
    assert_eq!(built(&places), right);
    let modified = fs::metadata(places.archive(0).join("s/part")).unwrap().modified().unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert_eq!(since, u128::try_from(MTIME).unwrap());
    assert_eq!(fs::read(places.archive(0).join("clip")).unwrap(), flipped(&right, [5]), "it is only read");
}

#[test]
fn without_kept_values_the_whole_file_is_taken_if_its_digest_is_right() {
    for (size, kept) in [(3 * MIB, false), (MIB, true), (1, true), (0, true)] {
        let places = Places::new(2);
        let right = pattern(size);
        put(places.archive(0), &[right.as_slice(), b"!"].concat().iter().map(|byte| byte ^ 1).collect::<Vec<_>>());
        put(places.archive(1), &right);

        let mended = mended(&places, &right, &if kept { values(&right) } else { Vec::new() });

        assert!(mended.outcome.unwrap().is_some(), "{size} bytes");
        assert_eq!(mended.fetched, size as u64);
        assert_eq!(mended.ranges, [(0, size as u64 + 1)]);
        assert_eq!(built(&places), right);
    }
}

#[test]
fn values_of_another_file_are_not_believed() {
    let places = Places::new(2);
    let right = pattern(3 * MIB);
    put(places.archive(0), &flipped(&right, [0]));
    put(places.archive(1), &right);

    let mended = mended(&places, &right, &values(&flipped(&right, [0])));

    assert!(mended.outcome.unwrap().is_some());
    assert_eq!(mended.fetched, right.len() as u64);
    assert_eq!(built(&places), right);
}

#[test]
fn what_follows_the_end_is_dropped_without_anybodys_help() {
    for size in [0, 100, 2 * MIB, 2 * MIB + 5] {
        let places = Places::new(2);
        let right = pattern(size);
        put(places.archive(0), &[right.as_slice(), &[7; 9999]].concat());

        let mended = mended(&places, &right, &values(&right));

        assert!(mended.outcome.unwrap().is_some(), "{size} bytes");
        assert_eq!((mended.fetched, mended.ranges), (0, vec![(size as u64, size as u64 + 9999)]));
        assert_eq!(built(&places), right);
    }
}

#[test]
fn a_missing_file_comes_whole_and_an_empty_one_from_nowhere() {
    for size in [0, 100, MIB, 3 * MIB + 1] {
        let places = Places::new(2);
        let right = pattern(size);
        if size > 0 {
            put(places.archive(1), &right);
        }

        let mended = mended(&places, &right, &values(&right));

        assert!(mended.outcome.unwrap().is_some(), "{size} bytes");
        assert_eq!((mended.stood, mended.fetched), (None, size as u64));
        assert_eq!(built(&places), right);
    }
}

#[test]
fn a_file_that_is_right_is_left_alone_and_nothing_stays_behind() {
    let places = Places::new(2);
    let right = pattern(3 * MIB);
    put(places.archive(0), &right);

    let mended = mended(&places, &right, &values(&right));

    assert_eq!((mended.outcome, mended.ranges, mended.fetched), (Ok(None), vec![], 0));
    assert!(!staged(&places));
}

#[test]
fn a_look_reads_as_much_and_writes_nothing() {
    let places = Places::new(2);
    let right = pattern(4 * MIB);
    put(places.archive(0), &flipped(&right, [1, 3]));
    put(places.archive(1), &flipped(&right, [0]));
    let values = values(&right);
    let wanted =
        Wanted { path: b"clip", size: 4 * BLOCK, mtime_ns: MTIME, digest: digest::of(&right), values: &values };

    let here = root(places.archive(0));
    let looked = mend(&here, &wanted, &root(places.archive(1)), &["clip"], None, &Page::private());

    assert_eq!((looked.outcome, looked.fetched), (Ok(None), 2 * BLOCK));
    assert_eq!(looked.ranges, ranges([1, 3], right.len()));
    assert_eq!(fs::read_dir(places.archive(0)).unwrap().count(), 1);
}

#[test]
fn each_block_is_taken_from_whoever_has_it() {
    let places = Places::new(2);
    let right = pattern(5 * MIB);
    put(places.archive(0), &flipped(&right, [0, 4]));
    put(places.archive(1), &flipped(&right, [0]));
    fs::write(places.archive(1).join("old"), &right[..2 * MIB]).unwrap();
    let values = values(&right);
    let wanted =
        Wanted { path: b"clip", size: 5 * BLOCK, mtime_ns: MTIME, digest: digest::of(&right), values: &values };

    let (here, there) = (root(places.archive(0)), root(places.archive(1)));
    let mended = mend(&here, &wanted, &there, &["clip", "old"], Some(b"s/part"), &Page::private());

    assert!(mended.outcome.unwrap().is_some());
    assert_eq!(mended.fetched, 3 * BLOCK, "the wrong block was read, too");
    assert_eq!(built(&places), right);
}

#[test]
fn a_link_or_a_folder_in_the_files_place_is_a_fault() {
    let right = pattern(100);
    let places = Places::new(2);
    put(places.archive(1), &right);
    std::os::unix::fs::symlink(places.archive(1).join("clip"), places.archive(0).join("clip")).unwrap();

    let link = mended(&places, &right, &[]).outcome.unwrap_err();
    fs::remove_file(places.archive(0).join("clip")).unwrap();
    fs::create_dir(places.archive(0).join("clip")).unwrap();
    let folder = mended(&places, &right, &[]).outcome.unwrap_err();

    assert_eq!((link.errno, folder.errno), (libc::ELOOP, libc::EISDIR));
    assert!(!staged(&places));
}

#[test]
fn a_request_to_stop_leaves_nothing_behind() {
    let places = Places::new(2);
    let right = pattern(4 * MIB);
    put(places.archive(0), &flipped(&right, [1]));
    put(places.archive(1), &right);
    let page = Page::private();
    page.cancel();
    let wanted = Wanted { path: b"clip", size: 4 * BLOCK, mtime_ns: 0, digest: digest::of(&right), values: &[] };

    let here = root(places.archive(0));
    let mended = mend(&here, &wanted, &root(places.archive(1)), &["clip"], Some(b"s/part"), &page);

    assert_eq!(mended.outcome.unwrap_err().kind, Kind::Cancelled);
    assert!(!staged(&places));
}

#[test]
fn a_taken_staging_name_is_a_fault_and_stays() {
    let places = Places::new(2);
    let right = pattern(100);
    put(places.archive(1), &right);
    fs::create_dir(places.archive(0).join("s")).unwrap();
    fs::write(places.archive(0).join("s/part"), b"somebody's").unwrap();

    let fault = mended(&places, &right, &[]).outcome.unwrap_err();

    assert_eq!((fault.op, fault.errno), ("create", libc::EEXIST));
    assert_eq!(built(&places), b"somebody's");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_is_damaged_on_either_side_what_is_right_on_one_is_enough(
        size in (MIB + 1)..7 * MIB,
        here in prop::collection::btree_set(0_usize..7, 0..6),
        there in prop::collection::btree_set(0_usize..7, 0..6),
        cut in prop::option::of(0_usize..8 * MIB),
    ) {
        let places = Places::new(2);
        let right = pattern(size);
        let blocks = size.div_ceil(MIB);
        let within = |set: &std::collections::BTreeSet<usize>| -> Vec<usize> {
            set.iter().copied().filter(|&block| block < blocks).collect()
        };
        let (mut here, there) = (within(&here), within(&there));
        let mut damaged = flipped(&right, here.iter().copied());
        if let Some(length) = cut {
            damaged.resize(length, 0xA5);
            // Whole blocks that are missing, and the one that was cut.
            if length < size {
                here.extend(length / MIB..blocks);
                here.sort_unstable();
                here.dedup();
            }
        }
        put(places.archive(0), &damaged);
        put(places.archive(1), &flipped(&right, there.iter().copied()));

        let mended = mended(&places, &right, &values(&right));

        let lost: Vec<usize> = here.iter().copied().filter(|block| there.contains(block)).collect();
        let mut wrong = ranges(here.iter().copied(), size);
        if damaged.len() > size {
            match wrong.last_mut() {
                Some(last) if last.1 == size as u64 => last.1 = damaged.len() as u64,
                _ => wrong.push((size as u64, damaged.len() as u64)),
            }
        }
        prop_assert_eq!(&mended.ranges, &wrong);
        let owed: usize = here.iter().map(|block| size.min((block + 1) * MIB) - block * MIB).sum();
        prop_assert_eq!(mended.fetched, owed as u64);
        match mended.outcome {
            Ok(build) => {
                prop_assert!(lost.is_empty());
                prop_assert_eq!(build.is_some(), !wrong.is_empty());
                prop_assert!(build.is_none() || built(&places) == right);
                prop_assert_eq!(staged(&places), build.is_some());
            }
            Err(fault) => {
                prop_assert_eq!(fault.kind, Kind::Mismatch);
                prop_assert_eq!(fault.ranges, ranges(lost, size));
                prop_assert!(!staged(&places));
            }
        }
    }
}
