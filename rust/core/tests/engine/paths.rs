//! What a root lets in, and what it does not.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use ingest_core::{discard, publish, Page, Root, RootOptions};

use crate::places::{root, Places, Tmpfs};

const BAD: [&[u8]; 9] = [b"..", b"a/../b", b"../x", b"/etc/passwd", b"a//b", b"a/", b"./a", b".", b"a\0b"];

#[test]
fn paths_that_are_not_plain_and_relative_are_refused() {
    let places = Places::new(1);
    fs::write(places.archive(0).join("part"), b"x").unwrap();
    let archive = root(places.archive(0));

    for (path, found) in BAD.iter().zip(archive.lstat(&BAD)) {
        assert_eq!(found.unwrap_err().errno, libc::EINVAL, "{path:?}");
        let published = publish(&archive, &[b"part".as_slice()], &[*path], &Page::private());
        assert_eq!(published[0].as_ref().unwrap_err().errno, libc::EINVAL);
    }
    assert!(places.archive(0).join("part").exists());
}

#[test]
fn a_link_inside_a_root_leads_nowhere() {
    let places = Places::new(2);
    let (inside, outside) = (places.archive(0), places.archive(1));
    fs::write(outside.join("precious"), b"x").unwrap();
    fs::write(inside.join("part"), b"y").unwrap();
    std::os::unix::fs::symlink(outside, inside.join("link")).unwrap();
    let archive = root(inside);

    let published = publish(&archive, &["part"], &["link/clip.mov"], &Page::private());
    let discarded = discard(&archive, &["link/precious"]);
    let found = archive.lstat(&["link/precious"]);

    assert_eq!(published[0].as_ref().unwrap_err().errno, libc::ELOOP);
    assert_eq!(discarded[0].as_ref().unwrap_err().errno, libc::ELOOP);
    assert_eq!(found[0].as_ref().unwrap_err().errno, libc::ELOOP);
    assert!(outside.join("precious").exists() && !outside.join("clip.mov").exists());
}

#[test]
fn lstat_tells_nothing_from_something_and_a_link_from_its_target() {
    let places = Places::new(1);
    let archive = places.archive(0);
    fs::write(archive.join("file"), b"abc").unwrap();
    std::os::unix::fs::symlink("file", archive.join("link")).unwrap();

    let found = root(archive).lstat(&["file", "link", "none", "no/such", "file/below", ""]);
    let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();

    assert_eq!(found[0].unwrap().size, 3);
    assert_eq!(found[1].unwrap().mode & 0o170_000, 0o120_000);
    assert_eq!(found[2..5], [None, None, None]);
    assert!(found[5].unwrap().is_folder());
}

#[test]
fn another_folder_in_the_place_of_a_root_is_noticed() {
    let places = Places::new(1);
    let path = places.archive(0).join("root");
    fs::create_dir(&path).unwrap();
    let archive = root(&path);
    assert_eq!(archive.check(), Ok(()));

    fs::rename(&path, places.archive(0).join("moved")).unwrap();
    if !cfg!(feature = "portable") {
        assert_eq!(archive.check().unwrap_err().errno, libc::ENOENT);
    }
    fs::create_dir(&path).unwrap();

    assert_eq!(archive.check().unwrap_err().errno, libc::ESTALE);
}

#[test]
fn a_mount_beneath_a_root_is_entered_only_where_allowed() {
    let Some(mount) = Tmpfs::mount("size=1m") else { return };
    fs::write(mount.path().join("file"), b"x").unwrap();
    let above = mount.path().parent().unwrap();
    let name = mount.path().file_name().unwrap().as_bytes();
    let path = [name, b"/file"].concat();

    let refused = root(above).lstat(&[&path]).remove(0);
    let allowed = Root::open(above.as_os_str().as_bytes(), RootOptions { cross: true, served: false }).unwrap();

    assert_eq!(refused.unwrap_err().errno, libc::EXDEV);
    assert_eq!(allowed.lstat(&[&path]).remove(0).unwrap().unwrap().size, 1);
}

#[test]
fn a_root_that_is_missing_or_a_file_is_refused() {
    let places = Places::new(1);
    let file = places.archive(0).join("file");
    fs::write(&file, b"").unwrap();
    let open = |path: &[u8]| Root::open(path, RootOptions::default()).unwrap_err().errno;

    assert_eq!(open(places.archive(0).join("none").as_os_str().as_bytes()), libc::ENOENT);
    assert_eq!(open(file.as_os_str().as_bytes()), libc::ENOTDIR);
    assert_eq!(open(b""), libc::ENOENT);
    assert_eq!(open(b"/\0"), libc::EINVAL);
}
