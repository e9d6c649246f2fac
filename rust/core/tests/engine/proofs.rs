//! Hashing files where they are.

use std::fs;

use ingest_core::{digest, prove, Kind, Method, Page, Root};

use crate::places::{pattern, root, Places, Tmpfs};

fn prove_one(archive: &Root, path: &str, cold: bool) -> ingest_core::Result<ingest_core::Proof> {
    prove(archive, &[path], &[], cold, 65_536, &Page::private()).remove(0)
}

#[test]
fn a_warm_proof_claims_no_method_and_counts_as_no_copy() {
    let places = Places::new(1);
    fs::write(places.archive(0).join("file"), pattern(100_000)).unwrap();
    let page = Page::private();

    let proof = prove(&root(places.archive(0)), &["file"], &[], false, 4096, &page).remove(0).unwrap();

    assert_eq!((proof.digest, proof.size, proof.method), (digest::of(&pattern(100_000)), 100_000, None));
    let words = page.words();
    assert_eq!((&words[1..4], words[5 + ingest_core::THREADS_MAX]), ([0, 0, 0].as_slice(), 100_000));
}

#[test]
fn a_cold_proof_says_how_it_was_read_even_of_a_file_that_was_never_flushed() {
    let places = Places::new(1);
    let archive = root(places.archive(0));
    for size in [0, 1, 4096, 1_000_001] {
        fs::write(places.archive(0).join("file"), pattern(size)).unwrap();

        let proof = prove_one(&archive, "file", true).unwrap();

        assert_eq!(proof.digest, digest::of(&pattern(size)));
        assert_eq!(proof.method, Some(archive.cold()));
    }
}

#[test]
fn memory_is_never_cold() {
    let Some(mount) = Tmpfs::mount("size=1m") else { return };
    fs::write(mount.path().join("file"), b"x").unwrap();
    let archive = root(mount.path());

    assert_eq!(archive.cold(), Method::Reread);
    assert_eq!(prove_one(&archive, "file", true).unwrap().method, Some(Method::Reread));
}

#[test]
fn what_cannot_be_read_is_a_fault_of_its_own() {
    let places = Places::new(1);
    fs::create_dir(places.archive(0).join("folder")).unwrap();
    fs::write(places.archive(0).join("file"), b"x").unwrap();
    let archive = root(places.archive(0));

    let proofs = prove(&archive, &["none", "folder", "file"], &[], false, 4096, &Page::private());

    assert_eq!(proofs[0].as_ref().unwrap_err().errno, libc::ENOENT);
    assert_eq!(proofs[1].as_ref().unwrap_err().errno, libc::EISDIR);
    assert_eq!(proofs[2].as_ref().unwrap().digest, digest::of(b"x"));
}

#[test]
fn a_cancelled_page_stops_proofs() {
    let places = Places::new(1);
    fs::write(places.archive(0).join("file"), b"x").unwrap();
    let page = Page::private();
    page.cancel();

    let proofs = prove(&root(places.archive(0)), &["file"], &[], true, 4096, &page);

    assert_eq!(proofs[0].as_ref().unwrap_err().kind, Kind::Cancelled);
}
