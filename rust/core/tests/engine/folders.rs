//! Folders made, flushed and timed, and files removed.

use std::fs;
use std::os::unix::fs::MetadataExt;

use ingest_core::{discard, make_folders, settle};

use crate::places::{root, Places};

#[test]
fn folders_are_made_with_their_times_whatever_the_order() {
    let places = Places::new(1);
    let folders = ["card", "card/PRIVATE", "card/PRIVATE/M4ROOT", "card/empty"];
    let times = [1_000_000_001, 2_000_000_002, 3_000_000_003, -1];

    let made = make_folders(&root(places.archive(0)), &folders, &times);

    assert!(made.iter().all(Result::is_ok), "{made:?}");
    for (folder, time) in folders.iter().zip(times) {
        let seen = fs::metadata(places.archive(0).join(folder)).unwrap();
        assert_eq!(seen.mtime() * 1_000_000_000 + seen.mtime_nsec(), time, "{folder}");
    }
}

#[test]
fn a_file_where_a_folder_should_be_is_a_fault_of_that_folder_only() {
    let places = Places::new(1);
    fs::write(places.archive(0).join("file"), b"x").unwrap();

    let made = make_folders(&root(places.archive(0)), &["file", "file/below", "good"], &[0, 0, 0]);

    assert_eq!(made[0].as_ref().unwrap_err().errno, libc::ENOTDIR);
    assert_eq!(made[1].as_ref().unwrap_err().errno, libc::ENOTDIR);
    assert_eq!(made[2], Ok(()));
    assert_eq!(fs::read(places.archive(0).join("file")).unwrap(), b"x");
}

#[test]
fn settling_needs_every_folder_on_the_way() {
    let places = Places::new(1);
    fs::create_dir_all(places.archive(0).join("a/b")).unwrap();

    let settled = settle(&root(places.archive(0)), &["a/b/file", "top", "none/file", "../file"]);

    assert_eq!(settled[..2], [Ok(()), Ok(())]);
    assert_eq!(settled[2].as_ref().unwrap_err().errno, libc::ENOENT);
    assert_eq!(settled[2].as_ref().unwrap_err().op, "fsync_folder");
    assert_eq!(settled[3].as_ref().unwrap_err().errno, libc::EINVAL);
}

#[test]
fn discarding_removes_files_and_only_files() {
    let places = Places::new(1);
    let archive = places.archive(0);
    fs::write(archive.join("file"), b"x").unwrap();
    fs::create_dir(archive.join("folder")).unwrap();

    let discarded = discard(&root(archive), &["file", "gone", "no/such/folder", "folder"]);

    assert_eq!(discarded[..3], [Ok(()), Ok(()), Ok(())]);
    assert!(discarded[3].is_err());
    assert!(!archive.join("file").exists() && archive.join("folder").exists());
}
