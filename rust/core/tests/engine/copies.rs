//! What a good copy is.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ingest_core::{digest, prove, stage, Mode, Page, StageOptions};

use crate::places::{pattern, root, Places};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const MODES: [Mode; 3] = [Mode::Read, Mode::Mmap, Mode::Direct];

#[test]
fn every_size_around_a_boundary_arrives_whole_in_every_mode() {
    let boundaries = [KIB, 4 * KIB, 64 * KIB, MIB];
    let sizes = boundaries.iter().flat_map(|size| [size - 1, *size, size + 1]).chain([0, 1, 3 * MIB + 5]);
    for size in sizes {
        let places = Places::new(1);
        let bytes = pattern(size);
        let transfer = places.file("A/clip.mov", &bytes);
        for mode in MODES {
            for buffer in [4 * KIB, 64 * KIB, MIB] {
                let staged = places.stage(transfer, mode, buffer);

                assert_eq!(staged.digest(), Some(digest::of(&bytes)), "{size} bytes, {mode:?}, {buffer}");
                assert_eq!(staged.bytes_read, size as u64);
                assert!(staged.fault.is_none() && staged.copies[0].outcome.is_ok(), "{staged:?}");
                assert!(staged.started_ns <= staged.copied_ns && staged.copied_ns <= staged.copies[0].validated_ns);
                assert!(fs::read(places.staged(0, 0)).unwrap() == bytes, "{size} bytes, {mode:?}, {buffer}");
                fs::remove_file(places.staged(0, 0)).unwrap();
            }
        }
    }
}

#[test]
fn a_file_of_several_map_windows_arrives_whole() {
    let places = Places::new(1);
    let bytes = pattern(130 * MIB + 17);
    let transfer = places.file("long.mxf", &bytes);

    let staged = places.stage(transfer, Mode::Mmap, MIB);

    assert_eq!(staged.digest(), Some(digest::of(&bytes)));
    assert!(staged.copies[0].outcome.is_ok());
    assert!(fs::read(places.staged(0, 0)).unwrap() == bytes);
}

#[test]
fn one_read_feeds_every_root() {
    for roots in 1..=3 {
        let places = Places::new(roots);
        let bytes = pattern(MIB + 1);
        let transfer = places.file("clip.mov", &bytes);

        let staged = places.stage(transfer, Mode::Read, 64 * KIB);

        assert_eq!(staged.bytes_read, bytes.len() as u64);
        assert_eq!(staged.copies.len(), roots);
        for index in 0..roots {
            assert!(staged.copies[index].outcome.is_ok());
            assert!(fs::read(places.staged(index, 0)).unwrap() == bytes);
        }
    }
}

#[test]
fn a_copy_has_the_time_of_its_source_and_the_permissions_of_a_new_file() {
    let places = Places::new(1);
    let transfer = places.file("clip.mov", b"x");
    let plain = places.archive(0).join("plain");
    fs::write(&plain, b"").unwrap();

    places.stage(transfer, Mode::Read, MIB);

    let copy = fs::metadata(places.staged(0, 0)).unwrap();
    let source = fs::metadata(places.card().join("clip.mov")).unwrap();
    assert_eq!(copy.modified().unwrap(), source.modified().unwrap());
    assert_eq!(copy.permissions().mode(), fs::metadata(plain).unwrap().permissions().mode());
}

#[test]
fn a_batch_larger_than_one_part_is_answered_in_order() {
    let places = Places::new(2);
    let names: Vec<String> = (0..300).map(|number| format!("{}/{number}.xml", number / 50)).collect();
    let transfers: Vec<_> = names.iter().map(|name| places.file(name, name.as_bytes())).collect();

    let staged = places.stage_all(&transfers, StageOptions::default());

    assert_eq!(staged.len(), names.len());
    for (index, (staged, name)) in staged.iter().zip(&names).enumerate() {
        assert_eq!(staged.digest(), Some(digest::of(name.as_bytes())));
        assert!(staged.copies.iter().all(|copy| copy.outcome.is_ok()));
        assert_eq!(fs::read(places.staged(1, index)).unwrap(), name.as_bytes());
    }
}

#[test]
fn the_page_counts_what_was_moved_and_is_idle_afterwards() {
    let places = Places::new(2);
    let bytes = pattern(100_000);
    let transfer = places.file("clip.mov", &bytes);
    let (one, other) = (root(places.archive(0)), root(places.archive(1)));
    let page = Page::private();

    let staging: Vec<&[u8]> = vec![b"part"];
    let columns = [staging.clone(), staging];
    stage(&root(places.card()), &[&one, &other], &[transfer], &columns, StageOptions::default(), &page).unwrap();

    let words = page.words();
    assert_eq!(words[..4], [0, 100_000, 200_000, 200_000]);
    assert!(words[4] > 0);
    assert_eq!(words[5], 0);
}

#[test]
fn a_copy_proves_to_the_digest_of_its_source() {
    let places = Places::new(1);
    let bytes = pattern(MIB);
    let staged = places.stage(places.file("clip.mov", &bytes), Mode::Read, MIB);

    let page = Page::private();
    let proofs = prove(&root(places.archive(0)), &[".ingest/staging/0.part"], &[3], true, MIB, &page);

    let proof = proofs[0].as_ref().unwrap();
    assert_eq!((Some(proof.digest), proof.size), (staged.digest(), MIB as u64));
    assert!(proof.method.is_some());
    assert_eq!(page.words()[3], MIB as u64);
}
