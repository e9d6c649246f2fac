//! Names that are legal, and that other tools stumble over.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use ingest_core::{publish, stage, Page, StageOptions, Transfer};

use crate::places::{root, scan, Places};

#[test]
fn names_are_bytes_in_and_bytes_out() {
    let longest = [b'n'; 255];
    let names: [&[u8]; 5] = [b"caf\xe9.mov", b"new\nline", b"\xff\xfe", &longest, b"-rf *"];
    for name in names {
        let places = Places::new(1);
        let file = places.card().join(OsStr::from_bytes(name));
        fs::write(&file, b"x").unwrap();
        let transfer = Transfer { path: name, ..scan(&file, "") };
        let (card, archive, page) = (root(places.card()), root(places.archive(0)), Page::private());

        let staged =
            stage(&card, &[&archive], &[transfer], &[vec![name]], StageOptions::default(), &page).unwrap().staged;
        let path = [b"folder/", name].concat();
        let published = publish(&archive, &[name], &[&path], &page);

        assert!(staged[0].copies[0].outcome.is_ok(), "{staged:?}");
        assert!(published[0].is_ok(), "{published:?}");
        assert_eq!(fs::read(places.archive(0).join("folder").join(OsStr::from_bytes(name))).unwrap(), b"x");
    }
}

#[test]
fn a_name_too_long_for_the_file_system_is_a_fault_of_its_own() {
    let places = Places::new(1);
    fs::write(places.archive(0).join("part"), b"x").unwrap();
    let name = [b'n'; 256];

    let published = publish(&root(places.archive(0)), &[b"part".as_slice()], &[&name[..]], &Page::private());

    assert_eq!(published[0].as_ref().unwrap_err().errno, libc::ENAMETOOLONG);
    assert!(places.archive(0).join("part").exists());
}

/// Longer than `PATH_MAX`: no single system call takes such a path, and the path-based platform cannot.
#[cfg(not(feature = "portable"))]
#[test]
fn paths_longer_than_any_system_call_takes_work() {
    let places = Places::new(1);
    let transfer = places.file("clip.mov", b"deep");
    let (card, archive, page) = (root(places.card()), root(places.archive(0)), Page::private());
    let component = [b'd'; 200];
    let folders = [component.as_slice(); 30].join(&b'/');
    let path = [folders.as_slice(), b"clip.mov"].join(&b'/');
    assert!(path.len() > 4096);

    let staged =
        stage(&card, &[&archive], &[transfer], &[vec![b"part"]], StageOptions::default(), &page).unwrap().staged;
    let published = publish(&archive, &[b"part".as_slice()], &[&path], &page);
    let found = archive.lstat(&[&path]);

    assert!(staged[0].copies[0].outcome.is_ok() && published[0].is_ok(), "{published:?}");
    assert_eq!(found[0].as_ref().unwrap().unwrap().size, 4);
    assert_eq!(ingest_core::discard(&archive, &[&path]), [Ok(())]);
    assert_eq!(archive.lstat(&[&path]), [Ok(None)]);
}
