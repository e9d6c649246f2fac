//! How a proven file takes the place of a damaged one.

use std::fs;
use std::os::unix::fs::MetadataExt;

use ingest_core::{exchange, Error, Exchange, Kind, Page, Publication, Root, Stat};

use crate::places::{root, Places};

/// What this build does on a local disk.
const HOW: Exchange = if cfg!(feature = "portable") { Exchange::InTurn(Publication::Link) } else { Exchange::AtOnce };

fn stood(root: &Root, path: &str) -> Stat {
    root.lstat(&[path]).remove(0).unwrap().unwrap()
}

fn changed(root: &Root, stood: &Stat) -> Result<Exchange, Error> {
    exchange(root, b"s/part", b"2024/clip.mov", b"q/2024/clip.mov", stood, &Page::private())
}

/// A damaged file and a new one that is to take its place.
fn prepared() -> Places {
    let places = Places::new(1);
    let archive = places.archive(0);
    fs::create_dir(archive.join("s")).unwrap();
    fs::create_dir(archive.join("2024")).unwrap();
    fs::write(archive.join("s/part"), b"proven").unwrap();
    fs::write(archive.join("2024/clip.mov"), b"damaged").unwrap();
    places
}

#[test]
fn the_new_file_has_the_name_and_the_damaged_one_is_kept() {
    let places = prepared();
    let archive = places.archive(0);
    let here = root(archive);

    let how = changed(&here, &stood(&here, "2024/clip.mov"));

    assert_eq!(how, Ok(HOW));
    assert_eq!(fs::read(archive.join("2024/clip.mov")).unwrap(), b"proven");
    assert_eq!(fs::read(archive.join("q/2024/clip.mov")).unwrap(), b"damaged");
    assert!(!archive.join("s/part").exists());
    for name in ["2024/clip.mov", "q/2024/clip.mov"] {
        assert_eq!(fs::metadata(archive.join(name)).unwrap().nlink(), 1);
    }
}

#[test]
fn another_file_under_the_name_is_never_touched() {
    let places = prepared();
    let archive = places.archive(0);
    let here = root(archive);
    let before = stood(&here, "2024/clip.mov");
    fs::rename(archive.join("2024/clip.mov"), archive.join("2024/kept-elsewhere")).unwrap();
    fs::write(archive.join("2024/clip.mov"), b"mine").unwrap();

    let fault = changed(&here, &before).unwrap_err();

    assert_eq!((fault.kind, fault.errno), (Kind::Changed, 0));
    assert_eq!(fs::read(archive.join("2024/clip.mov")).unwrap(), b"mine");
    assert_eq!(fs::read(archive.join("s/part")).unwrap(), b"proven");
    assert!(!archive.join("q/2024/clip.mov").exists());
}

#[test]
fn a_file_that_was_written_to_meanwhile_is_not_what_was_looked_at() {
    let places = prepared();
    let archive = places.archive(0);
    let here = root(archive);
    let before = stood(&here, "2024/clip.mov");
    fs::write(archive.join("2024/clip.mov"), b"damaged and edited").unwrap();

    let fault = changed(&here, &before).unwrap_err();

    assert_eq!(fault.kind, Kind::Changed);
    assert_eq!(fs::read(archive.join("2024/clip.mov")).unwrap(), b"damaged and edited");
}

#[test]
fn a_taken_slot_is_a_fault_and_everything_stays_as_it_was() {
    let places = prepared();
    let archive = places.archive(0);
    let here = root(archive);
    fs::create_dir_all(archive.join("q/2024")).unwrap();
    fs::write(archive.join("q/2024/clip.mov"), b"earlier").unwrap();

    let fault = changed(&here, &stood(&here, "2024/clip.mov")).unwrap_err();

    assert_eq!(fault.errno, libc::EEXIST);
    assert_eq!(fs::read(archive.join("2024/clip.mov")).unwrap(), b"damaged");
    assert_eq!(fs::read(archive.join("s/part")).unwrap(), b"proven");
    assert_eq!(fs::read(archive.join("q/2024/clip.mov")).unwrap(), b"earlier");
}

#[test]
fn a_move_that_was_interrupted_between_two_links_is_finished() {
    let places = prepared();
    let archive = places.archive(0);
    let here = root(archive);
    fs::create_dir_all(archive.join("q/2024")).unwrap();
    fs::hard_link(archive.join("2024/clip.mov"), archive.join("q/2024/clip.mov")).unwrap();

    let how = changed(&here, &stood(&here, "2024/clip.mov"));

    assert_eq!(how, Ok(HOW));
    assert_eq!(fs::read(archive.join("2024/clip.mov")).unwrap(), b"proven");
    assert_eq!(fs::read(archive.join("q/2024/clip.mov")).unwrap(), b"damaged");
    assert_eq!(fs::metadata(archive.join("q/2024/clip.mov")).unwrap().nlink(), 1);
}

#[test]
fn without_a_new_file_nothing_happens() {
    let places = prepared();
    let archive = places.archive(0);
    let here = root(archive);
    fs::remove_file(archive.join("s/part")).unwrap();

    let fault = changed(&here, &stood(&here, "2024/clip.mov")).unwrap_err();

    assert_eq!(fault.errno, libc::ENOENT);
    assert_eq!(fs::read(archive.join("2024/clip.mov")).unwrap(), b"damaged");
    assert!(!archive.join("q").exists());
}
