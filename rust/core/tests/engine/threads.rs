//! One big file on several threads: the same answers as with one.

use std::fs;

use ingest_core::{digest, stage, Kind, Mode, Page, Root, StageOptions, Staged, Transfer, THREADS_MAX};
use proptest::prelude::*;

use crate::places::{pattern, root, scan, Places, Tmpfs};

const MIB: usize = 1 << 20;
/// Large enough for the threads.
const BIG: usize = 17 * MIB + 5;

fn options(threads: usize) -> StageOptions<'static> {
    StageOptions { threads, ..StageOptions::default() }
}

fn into_part(
    card: &Root,
    archives: &[&Root],
    transfer: Transfer<'_>,
    options: StageOptions<'_>,
    page: &Page,
) -> Staged {
    let staging: Vec<&[u8]> = vec![b"part"];
    let columns = vec![staging; archives.len()];
    stage(card, archives, &[transfer], &columns, options, page).unwrap().staged.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_size_number_of_threads_and_mode_gives_the_standard_hash_and_the_same_bytes(
        mib in 15_usize..26,
        around in prop_oneof![Just(0_i32), Just(1), Just(-1), Just(1024), Just(1025), -4097..4097],
        threads in 1..=5_usize,
        buffer in 12_u32..=22,
        mode in prop_oneof![Just(Mode::Read), Just(Mode::Mmap), Just(Mode::Direct)],
        (together, keep_cache) in (any::<bool>(), any::<bool>()),
        roots in 0..=2_usize,
    ) {
        let size = (mib * MIB).checked_add_signed(around as isize).unwrap();
        let places = Places::new(roots);
        let bytes = pattern(size);
        let transfer = places.file("clip.mov", &bytes);

        let options =
            StageOptions { mode, buffer: 1 << buffer, threads, together, keep_cache, ..StageOptions::default() };
        let staged = places.stage_all(&[transfer], options).remove(0);

        prop_assert_eq!(staged.digest(), Some(digest::of(&bytes)));
        prop_assert_eq!(staged.bytes_read, size as u64);
        for index in 0..roots {
            prop_assert!(staged.copies[index].outcome.is_ok(), "{:?}", staged);
            prop_assert!(fs::read(places.staged(index, 0)).unwrap() == bytes);
        }
    }
}

#[test]
fn more_threads_than_a_call_has_words_for_are_refused() {
    let places = Places::new(0);
    for threads in [0, THREADS_MAX + 1] {
        let refused = stage(&root(places.card()), &[], &[], &[], options(threads), &Page::private());

        assert_eq!(refused.unwrap_err().errno, libc::EINVAL);
    }
}

#[test]
fn a_full_root_fails_alone_and_the_other_gets_every_piece() {
    let Some(small) = Tmpfs::mount("size=5m") else { return };
    let places = Places::new(1);
    let bytes = pattern(BIG);
    let transfer = places.file("clip.mov", &bytes);
    let (full, good) = (root(small.path()), root(places.archive(0)));

    for roots in [[&full, &good], [&good, &full]] {
        let staged = into_part(&root(places.card()), &roots, transfer, options(3), &Page::private());

        let (good_at, full_at) = if std::ptr::eq(roots[0], &raw const full) { (1, 0) } else { (0, 1) };
        assert_eq!(staged.copies[full_at].outcome.as_ref().unwrap_err().errno, libc::ENOSPC);
        assert!(staged.copies[good_at].outcome.is_ok(), "{staged:?}");
        assert_eq!(staged.digest(), Some(digest::of(&bytes)));
        assert!(!small.path().join("part").exists());
        assert!(fs::read(places.archive(0).join("part")).unwrap() == bytes);
        fs::remove_file(places.archive(0).join("part")).unwrap();
    }
}

#[test]
fn nothing_more_is_read_when_no_copy_is_left() {
    let Some(small) = Tmpfs::mount("size=5m") else { return };
    let places = Places::new(0);
    let transfer = places.file("clip.mov", &pattern(4 * BIG));
    let full = root(small.path());

    let staged = into_part(&root(places.card()), &[&full, &full], transfer, options(2), &Page::private());

    assert!(staged.fault.is_none() && staged.digest().is_none(), "{staged:?}");
    assert!(staged.copies.iter().all(|copy| copy.outcome.is_err()));
    assert!(staged.bytes_read < transfer.size);
}

/// Stages a file of 4 GiB without blocks on two archives, with three threads, and does something once it is on its way.
fn disturbed(places: &Places, disturb: impl FnOnce(&Page)) -> Staged {
    let path = places.card().join("huge.mov");
    fs::File::create(&path).unwrap().set_len(4096 * MIB as u64).unwrap();
    let transfer = scan(&path, "huge.mov");
    let (card, one, other) = (root(places.card()), root(places.archive(0)), root(places.archive(1)));
    let page = Page::private();
    std::thread::scope(|scope| {
        let work = scope.spawn(|| into_part(&card, &[&one, &other], transfer, options(3), &page));
        while page.words()[2] < 2 * MIB as u64 {
            assert!(!work.is_finished(), "the engine ended before it wrote anything");
            std::hint::spin_loop();
        }
        disturb(&page);
        let staged = work.join().unwrap();
        assert_eq!(page.words()[5..8], [0, 0, 0], "idle again");
        staged
    })
}

fn nothing_is_left(places: &Places, staged: &Staged, kind: Kind) {
    assert_eq!(staged.fault.as_ref().expect("a fault of the source").kind, kind);
    assert_eq!(staged.digest(), None);
    for (index, copy) in staged.copies.iter().enumerate() {
        assert_eq!(copy.outcome.as_ref().unwrap_err().kind, kind);
        assert!(!places.archive(index).join("part").exists());
    }
}

#[test]
fn a_source_that_is_cut_off_beneath_the_threads_is_changed() {
    let places = Places::new(2);
    let path = places.card().join("huge.mov");

    let cut = |_: &Page| fs::File::options().write(true).open(&path).unwrap().set_len(3 * MIB as u64).unwrap();
    let staged = disturbed(&places, cut);

    nothing_is_left(&places, &staged, Kind::Changed);
}

#[test]
fn cancelling_stops_every_thread_and_removes_the_copies() {
    let places = Places::new(2);

    let staged = disturbed(&places, Page::cancel);

    nothing_is_left(&places, &staged, Kind::Cancelled);
    assert!(staged.bytes_read < 4096 * MIB as u64);
}

#[test]
fn a_copy_that_reads_back_wrong_names_the_bytes() {
    let places = Places::new(1);
    // Long enough for the other thread to come by before it is read back.
    let bytes = pattern(192 * MIB);
    let transfer = places.file("clip.mov", &bytes);
    let (card, archive, page) = (root(places.card()), root(places.archive(0)), Page::private());
    let part = places.archive(0).join("part");

    let staged = std::thread::scope(|scope| {
        let work = scope.spawn(|| into_part(&card, &[&archive], transfer, options(2), &page));
        while page.words()[2] < 2 * MIB as u64 && !work.is_finished() {
            std::hint::spin_loop();
        }
        let file = fs::File::options().write(true).open(&part).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"\xff", 1000).unwrap();
        work.join().unwrap()
    });

    let fault = staged.copies[0].outcome.as_ref().unwrap_err();
    assert_eq!((fault.kind, fault.ranges.as_slice()), (Kind::Mismatch, &[(1000, 1001)][..]));
    assert!(!part.exists());
    assert_eq!(staged.digest(), Some(digest::of(&bytes)));
}
