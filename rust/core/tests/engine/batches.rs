//! Many small files in one call, flushed together.

use std::fs;

use ingest_core::{digest, Algorithms, Kind, StageOptions};

use crate::places::{Places, Tmpfs};

const TOGETHER: StageOptions<'_> = StageOptions {
    mode: ingest_core::Mode::Read,
    buffer: 64 << 10,
    threads: 2,
    disks: &[],
    together: true,
    keep_cache: false,
    hashes: Algorithms::NONE,
    strategy: ingest_core::Strategy::Copy,
    verify_source: false,
    partial: None,
};

#[test]
fn small_and_big_files_of_any_order_arrive_together() {
    let places = Places::new(2);
    let names: Vec<String> = (0..2500).map(|number| format!("{}/{number}.xml", number / 50)).collect();
    let length = |index: usize| if index % 500 == 0 { 1 << 20 } else { index % 3000 };
    let bytes = |index: usize| vec![u8::try_from(index % 251).unwrap(); length(index)];
    let transfers: Vec<_> = names.iter().enumerate().map(|(index, name)| places.file(name, &bytes(index))).collect();

    let staged = places.stage_all(&transfers, TOGETHER);

    for (index, one) in staged.iter().enumerate() {
        assert_eq!(one.digest(), Some(digest::of(&bytes(index))), "{index}");
        for archive in 0..2 {
            let copy = &one.copies[archive];
            assert!(copy.outcome.is_ok(), "{copy:?}");
            assert!(one.copied_ns <= copy.validated_ns);
            assert_eq!(copy.mtime_ns, transfers[index].mtime_ns);
            assert!(fs::read(places.staged(archive, index)).unwrap() == bytes(index));
        }
    }
}

#[test]
fn one_bad_file_of_a_batch_never_hides_the_others() {
    let places = Places::new(1);
    let names: Vec<String> = (0..50).map(|number| format!("{number}.xml")).collect();
    let transfers: Vec<_> = names.iter().map(|name| places.file(name, name.as_bytes())).collect();
    fs::remove_file(places.card().join("20.xml")).unwrap();
    fs::create_dir_all(places.staged(0, 30).parent().unwrap()).unwrap();
    fs::write(places.staged(0, 30), b"taken").unwrap();

    let staged = places.stage_all(&transfers, TOGETHER);

    for (index, one) in staged.iter().enumerate() {
        let copy = &one.copies[0].outcome;
        match index {
            20 => assert_eq!(one.fault.as_ref().unwrap().kind, Kind::Io),
            30 => assert_eq!(copy.as_ref().unwrap_err().errno, libc::EEXIST),
            _ => assert!(copy.is_ok(), "{index}: {copy:?}"),
        }
    }
    assert_eq!(fs::read(places.staged(0, 30)).unwrap(), b"taken");
}

#[test]
fn a_file_system_that_fills_up_keeps_what_was_whole() {
    let Some(small) = Tmpfs::mount("size=1m") else { return };
    let places = Places::new(0);
    let names: Vec<String> = (0..40).map(|number| format!("{number}.xml")).collect();
    let bytes = vec![7; 60_000];
    let transfers: Vec<_> = names.iter().map(|name| places.file(name, &bytes)).collect();
    let column: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let (card, full) = (crate::places::root(places.card()), crate::places::root(small.path()));

    let batch = ingest_core::stage(&card, &[&full], &transfers, &[column], TOGETHER, &ingest_core::Page::private());

    let staged = batch.unwrap().staged;
    let (good, bad): (Vec<_>, Vec<_>) = staged.iter().partition(|one| one.copies[0].outcome.is_ok());
    assert!(!good.is_empty() && !bad.is_empty());
    assert!(bad.iter().all(|one| one.copies[0].outcome.as_ref().unwrap_err().errno == libc::ENOSPC));
    assert_eq!(fs::read_dir(small.path()).unwrap().count(), good.len());
}
