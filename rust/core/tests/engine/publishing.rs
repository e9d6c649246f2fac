//! How a proven file gets its final name.

use std::fs;
use std::os::unix::fs::MetadataExt;

use ingest_core::{publish, Kind, Page, Publication};

use crate::places::{root, Places};

/// The rung of the ladder that this build takes on a local disk.
const RUNG: Publication = if cfg!(feature = "portable") { Publication::Link } else { Publication::NoReplace };

#[test]
fn a_staging_file_moves_to_its_final_name() {
    let places = Places::new(1);
    let archive = places.archive(0);
    fs::write(archive.join("part"), b"proven").unwrap();

    let published = publish(&root(archive), &["part"], &["clip.mov"], &Page::private());

    assert_eq!(published, [Ok(RUNG)]);
    assert_eq!(fs::read(archive.join("clip.mov")).unwrap(), b"proven");
    assert!(!archive.join("part").exists());
}

#[test]
fn a_taken_name_is_never_replaced_and_both_files_stay() {
    let places = Places::new(1);
    let archive = places.archive(0);
    fs::write(archive.join("part"), b"new").unwrap();
    fs::write(archive.join("clip.mov"), b"old").unwrap();

    let published = publish(&root(archive), &["part"], &["clip.mov"], &Page::private());

    let fault = published[0].as_ref().unwrap_err();
    assert_eq!((fault.kind, fault.errno), (Kind::Io, libc::EEXIST));
    assert_eq!(fs::read(archive.join("clip.mov")).unwrap(), b"old");
    assert_eq!(fs::read(archive.join("part")).unwrap(), b"new");
}

#[test]
fn a_folder_or_a_dangling_link_under_the_name_counts_as_taken() {
    let places = Places::new(1);
    let archive = places.archive(0);
    fs::write(archive.join("part"), b"new").unwrap();
    fs::create_dir(archive.join("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", archive.join("link")).unwrap();

    let published = publish(&root(archive), &["part", "part"], &["folder", "link"], &Page::private());

    assert!(published.iter().all(|one| one.as_ref().is_err_and(|fault| fault.errno == libc::EEXIST)));
    assert!(archive.join("part").exists());
}

#[test]
fn missing_folders_are_made_at_any_depth() {
    let places = Places::new(1);
    let archive = places.archive(0);
    let names = ["2024/06-01/a.mov", "2024/06-01/b.mov", "2024/06-02/deep/er/c.mov", "d.mov"];
    let parts = ["s/0", "s/1", "s/2", "s/3"];
    fs::create_dir(archive.join("s")).unwrap();
    for part in parts {
        fs::write(archive.join(part), part).unwrap();
    }

    let published = publish(&root(archive), &parts, &names, &Page::private());

    assert!(published.iter().all(Result::is_ok), "{published:?}");
    for (name, part) in names.iter().zip(parts) {
        assert_eq!(fs::read(archive.join(name)).unwrap(), part.as_bytes());
    }
}

#[test]
fn what_an_interrupted_publication_left_is_finished() {
    let places = Places::new(1);
    let archive = places.archive(0);
    fs::write(archive.join("part"), b"proven").unwrap();
    fs::hard_link(archive.join("part"), archive.join("clip.mov")).unwrap();

    let published = publish(&root(archive), &["part"], &["clip.mov"], &Page::private());

    assert_eq!(published, [Ok(Publication::Link)]);
    assert!(!archive.join("part").exists());
    assert_eq!(fs::metadata(archive.join("clip.mov")).unwrap().nlink(), 1);
}

#[test]
fn a_file_published_under_its_own_name_is_not_lost() {
    let places = Places::new(1);
    let archive = places.archive(0);
    fs::write(archive.join("clip.mov"), b"only").unwrap();

    let published = publish(&root(archive), &["clip.mov"], &["clip.mov"], &Page::private());

    assert_eq!(published[0].as_ref().unwrap_err().errno, libc::EEXIST);
    assert_eq!(fs::read(archive.join("clip.mov")).unwrap(), b"only");
}

#[test]
fn a_missing_staging_file_is_a_fault_and_makes_no_folder() {
    let places = Places::new(1);

    let published = publish(&root(places.archive(0)), &["part"], &["new/clip.mov"], &Page::private());

    assert_eq!(published[0].as_ref().unwrap_err().errno, libc::ENOENT);
    assert!(!places.archive(0).join("new").exists());
}

#[test]
fn what_is_proven_gets_its_name_even_when_the_user_asked_to_stop() {
    let places = Places::new(1);
    fs::write(places.archive(0).join("part"), b"x").unwrap();
    let page = Page::private();
    page.cancel();

    let published = publish(&root(places.archive(0)), &["part"], &["clip.mov"], &page);

    assert!(published[0].is_ok());
    assert!(places.archive(0).join("clip.mov").exists());
}
