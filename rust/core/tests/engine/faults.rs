//! What happens when something is wrong, and to whom.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use ingest_core::{digest, stage, Kind, Mode, Page, StageOptions, Staged, Transfer};

use crate::places::{pattern, root, Places, Tmpfs};

const MIB: usize = 1 << 20;

fn everything_failed(staged: &Staged, kind: Kind) {
    let fault = staged.fault.as_ref().expect("a fault of the source");
    assert_eq!(fault.kind, kind, "{fault}");
    assert_eq!(staged.digest(), None);
    for copy in &staged.copies {
        assert_eq!(copy.outcome.as_ref().expect_err("the copy's fault"), fault);
        assert_eq!(copy.validated_ns, 0);
    }
}

#[test]
fn a_source_of_another_size_than_the_scan_saw_is_changed() {
    let places = Places::new(2);
    let transfer = places.file("clip.mov", &pattern(1000));

    for size in [999, 1001] {
        let staged = places.stage(Transfer { size, ..transfer }, Mode::Read, MIB);

        everything_failed(&staged, Kind::Changed);
        assert!(!places.staged(0, 0).exists());
    }
}

#[test]
fn a_source_of_another_time_than_the_scan_saw_is_changed() {
    let places = Places::new(1);
    let transfer = places.file("clip.mov", b"x");

    let staged = places.stage(Transfer { mtime_ns: transfer.mtime_ns + 1, ..transfer }, Mode::Read, MIB);

    everything_failed(&staged, Kind::Changed);
}

#[test]
fn an_existing_staging_name_is_a_fault_and_stays_as_it_is() {
    let places = Places::new(1);
    let transfer = places.file("clip.mov", b"new");
    fs::create_dir_all(places.staged(0, 0).parent().unwrap()).unwrap();
    fs::write(places.staged(0, 0), b"old").unwrap();

    let staged = places.stage(transfer, Mode::Read, MIB);

    let fault = staged.copies[0].outcome.as_ref().unwrap_err();
    assert_eq!((fault.kind, fault.op, fault.errno), (Kind::Io, "create", libc::EEXIST));
    assert_eq!(fs::read(places.staged(0, 0)).unwrap(), b"old");
    assert_eq!((staged.bytes_read, staged.digest()), (0, None), "nothing is read for nobody");
}

#[test]
fn a_failing_root_leaves_the_others_alone() {
    let places = Places::new(3);
    let bytes = pattern(MIB);
    let transfer = places.file("clip.mov", &bytes);
    fs::write(places.archive(1).join(".ingest"), b"a file where the folder should be").unwrap();

    let staged = places.stage(transfer, Mode::Read, MIB);

    assert_eq!(staged.digest(), Some(digest::of(&bytes)));
    assert!(staged.fault.is_none());
    assert_eq!(staged.copies[1].outcome.as_ref().unwrap_err().errno, libc::ENOTDIR);
    for index in [0, 2] {
        assert!(staged.copies[index].outcome.is_ok());
        assert!(fs::read(places.staged(index, 0)).unwrap() == bytes);
    }
}

#[test]
fn a_full_root_fails_alone_and_keeps_nothing_of_the_file() {
    let Some(small) = Tmpfs::mount("size=256k") else { return };
    let places = Places::new(1);
    let (large, tiny) = (root(places.archive(0)), root(small.path()));
    for size in [600_000, 3 * MIB] {
        let bytes = pattern(size);
        let transfer = places.file("clip.mov", &bytes);
        let staging: Vec<&[u8]> = vec![b"part"];

        let columns = [staging.clone(), staging];
        let options = StageOptions { mode: Mode::Read, buffer: 65_536, ..StageOptions::default() };
        let card = root(places.card());
        let staged =
            stage(&card, &[&tiny, &large], &[transfer], &columns, options, &Page::private()).unwrap().staged.remove(0);

        let fault = staged.copies[0].outcome.as_ref().unwrap_err();
        assert_eq!((fault.kind, fault.errno), (Kind::Io, libc::ENOSPC));
        assert!(!small.path().join("part").exists());
        assert!(staged.copies[1].outcome.is_ok());
        assert!(fs::read(places.archive(0).join("part")).unwrap() == bytes);
        fs::remove_file(places.archive(0).join("part")).unwrap();
    }
}

#[test]
fn one_bad_file_never_hides_the_others() {
    let places = Places::new(1);
    let good = places.file("good.mov", b"good");
    let gone = places.file("gone.mov", b"gone");
    let last = places.file("last.mov", b"last");
    fs::remove_file(places.card().join("gone.mov")).unwrap();

    let staged = places.stage_all(&[good, gone, last], StageOptions::default());

    assert!(staged[0].copies[0].outcome.is_ok() && staged[2].copies[0].outcome.is_ok());
    everything_failed(&staged[1], Kind::Io);
    let fault = staged[1].fault.as_ref().unwrap();
    assert_eq!((fault.op, fault.errno), ("open", libc::ENOENT));
    assert_eq!(fault.path, places.card().join("gone.mov").as_os_str().as_bytes());
}

#[test]
fn what_is_no_regular_file_is_a_fault_and_never_blocks() {
    let places = Places::new(1);
    let fifo = places.card().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let _socket = UnixListener::bind(places.card().join("socket")).unwrap();
    fs::create_dir(places.card().join("folder")).unwrap();

    for name in ["fifo", "socket", "folder"] {
        let transfer = Transfer { item: 0, path: name.as_bytes(), size: 0, mtime_ns: 0 };
        let staged = places.stage(transfer, Mode::Read, MIB);

        everything_failed(&staged, Kind::Io);
    }
}

#[test]
fn a_link_is_never_followed() {
    let places = Places::new(1);
    let transfer = places.file("real.mov", b"x");
    std::os::unix::fs::symlink("real.mov", places.card().join("link.mov")).unwrap();

    let staged = places.stage(Transfer { path: b"link.mov", ..transfer }, Mode::Read, MIB);

    everything_failed(&staged, Kind::Io);
    assert_eq!(staged.fault.unwrap().errno, libc::ELOOP);
}

#[test]
fn cancelled_work_says_so_and_leaves_nothing() {
    let places = Places::new(1);
    let transfer = places.file("clip.mov", b"x");
    let (card, archive, page) = (root(places.card()), root(places.archive(0)), Page::private());
    page.cancel();

    let staging: Vec<&[u8]> = vec![b"part"];
    let staged = stage(&card, &[&archive], &[transfer], &[staging], StageOptions::default(), &page).unwrap().staged;

    everything_failed(&staged[0], Kind::Cancelled);
    assert!(!places.archive(0).join("part").exists());
}

/// Stages a large file on two roots, and does something once its first megabyte is written. 64 MiB in 4 KiB steps
/// take long enough for a spinning thread to come in between.
fn disturbed(places: &Places, transfer: Transfer<'_>, disturb: impl FnOnce()) -> Staged {
    disturbed_with(places, transfer, StageOptions { buffer: 4096, ..StageOptions::default() }, disturb)
}

fn disturbed_with(
    places: &Places,
    transfer: Transfer<'_>,
    options: StageOptions<'_>,
    disturb: impl FnOnce(),
) -> Staged {
    let (card, one, other) = (root(places.card()), root(places.archive(0)), root(places.archive(1)));
    let page = Page::private();
    let staging: Vec<&[u8]> = vec![b"part"];
    let columns = [staging.clone(), staging];
    std::thread::scope(|scope| {
        let work = || stage(&card, &[&one, &other], &[transfer], &columns, options, &page).unwrap().staged.remove(0);
        let work = scope.spawn(work);
        while page.words()[2] < 2 * MIB as u64 {
            assert!(!work.is_finished(), "the engine ended before it wrote anything");
            std::hint::spin_loop();
        }
        disturb();
        work.join().unwrap()
    })
}

/// Changes a byte in place.
fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

#[test]
fn a_source_that_grows_while_it_is_copied_is_changed() {
    let places = Places::new(2);
    let transfer = places.file("clip.mov", &pattern(64 * MIB));
    let path = places.card().join("clip.mov");

    let staged = disturbed(&places, transfer, || {
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    });

    everything_failed(&staged, Kind::Changed);
    assert!(!places.archive(0).join("part").exists() && !places.archive(1).join("part").exists());
}

#[test]
fn a_source_that_is_replaced_while_it_is_copied_is_changed() {
    let places = Places::new(2);
    let transfer = places.file("clip.mov", &pattern(64 * MIB));
    let (path, twin) = (places.card().join("clip.mov"), places.card().join("twin"));
    fs::copy(&path, &twin).unwrap();

    let staged = disturbed(&places, transfer, || fs::rename(&twin, &path).unwrap());

    everything_failed(&staged, Kind::Changed);
}

#[test]
fn a_copy_that_reads_back_wrong_names_the_bytes_and_spares_the_other() {
    let places = Places::new(2);
    let bytes = pattern(64 * MIB);
    let transfer = places.file("clip.mov", &bytes);

    let staged = disturbed(&places, transfer, || {
        flip(&places.archive(1).join("part"), 5);
        flip(&places.archive(1).join("part"), 700_000);
    });

    let fault = staged.copies[1].outcome.as_ref().unwrap_err();
    assert_eq!((fault.kind, fault.op), (Kind::Mismatch, "verify"));
    assert_eq!(fault.ranges, [(5, 700_001)]);
    assert!(!places.archive(1).join("part").exists());
    assert!(staged.fault.is_none() && staged.copies[0].outcome.is_ok());
    assert!(fs::read(places.archive(0).join("part")).unwrap() == bytes);
}

#[test]
fn a_source_that_reads_differently_the_second_time_is_unstable_and_no_copy_is_kept() {
    let places = Places::new(2);
    let transfer = places.file("clip.mov", &pattern(64 * MIB));
    let path = places.card().join("clip.mov");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();

    let staged = disturbed(&places, transfer, || {
        flip(&path, 5);
        fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        flip(&places.archive(1).join("part"), 9);
    });

    everything_failed(&staged, Kind::Unstable);
    assert!(!places.archive(0).join("part").exists() && !places.archive(1).join("part").exists());
}

/// Changes a byte that was read already, and leaves the file as it was to all who look at its size and time.
fn rot(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    flip(path, 5);
    fs::File::open(path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_source_that_was_read_wrong_is_found_by_reading_it_again_and_by_nothing_else() {
    for verify_source in [false, true] {
        let places = Places::new(2);
        let transfer = places.file("clip.mov", &pattern(64 * MIB));
        let options = StageOptions { buffer: 4096, verify_source, ..StageOptions::default() };

        let staged = disturbed_with(&places, transfer, options, || rot(&places.card().join("clip.mov")));

        if verify_source {
            everything_failed(&staged, Kind::Unstable);
            assert_eq!(staged.fault.unwrap().op, "verify");
            assert!(!places.archive(0).join("part").exists() && !places.archive(1).join("part").exists());
        } else {
            assert!(staged.copies.iter().all(|copy| copy.outcome.is_ok()));
        }
    }
}

#[test]
fn a_source_that_reads_the_same_twice_is_copied_and_both_reads_are_counted() {
    let places = Places::new(2);
    let sizes = [0, 1, 5000, MIB, 3 * MIB + 7, 20 * MIB];
    let names: Vec<String> = sizes.iter().map(|size| format!("{size}.mov")).collect();
    let transfers: Vec<_> = names.iter().zip(sizes).map(|(name, size)| places.file(name, &pattern(size))).collect();
    for threads in [1, 3] {
        let options = StageOptions { verify_source: true, threads, ..StageOptions::default() };

        let staged = places.stage_all(&transfers, options);

        for (index, (one, size)) in staged.iter().zip(sizes).enumerate() {
            assert_eq!(one.bytes_read, 2 * size as u64);
            assert!(one.fault.is_none() && one.copies.iter().all(|copy| copy.outcome.is_ok()));
            for archive in 0..2 {
                assert!(fs::read(places.staged(archive, index)).unwrap() == pattern(size));
                fs::remove_file(places.staged(archive, index)).unwrap();
            }
        }
    }
}

#[test]
fn what_has_no_copy_left_is_not_read_again() {
    let places = Places::new(1);
    let transfer = places.file("clip.mov", &pattern(5000));
    fs::create_dir_all(places.staged(0, 0)).unwrap();

    let staged = places.stage_all(&[transfer], StageOptions { verify_source: true, ..StageOptions::default() });

    assert!(staged[0].fault.is_none() && staged[0].copies[0].outcome.is_err());
    assert!(staged[0].bytes_read <= 5000);
}

#[test]
fn cancelling_stops_a_copy_on_its_way_and_removes_it() {
    let places = Places::new(1);
    let transfer = places.file("clip.mov", &pattern(64 * MIB));
    let (card, archive, page) = (root(places.card()), root(places.archive(0)), Page::private());
    let staging: Vec<&[u8]> = vec![b"part"];
    let options = StageOptions { mode: Mode::Read, buffer: 4096, ..StageOptions::default() };

    let staged = std::thread::scope(|scope| {
        let work = scope
            .spawn(|| stage(&card, &[&archive], &[transfer], &[staging], options, &page).unwrap().staged.remove(0));
        while page.words()[2] == 0 && !work.is_finished() {
            std::hint::spin_loop();
        }
        page.cancel();
        work.join().unwrap()
    });

    everything_failed(&staged, Kind::Cancelled);
    assert!(staged.bytes_read < 64 * MIB as u64);
    assert!(!places.archive(0).join("part").exists());
}

#[test]
fn columns_that_do_not_fit_are_refused_as_a_whole() {
    let places = Places::new(1);
    let transfer = places.file("clip.mov", b"x");
    let (card, archive, page) = (root(places.card()), root(places.archive(0)), Page::private());
    let staging: Vec<&[u8]> = vec![b"part"];

    let short = stage(&card, &[&archive], &[transfer], &[vec![]], StageOptions::default(), &page);
    let odd = StageOptions { buffer: 5000, ..StageOptions::default() };
    let odd = stage(&card, &[&archive], &[transfer], &[staging], odd, &page);

    assert_eq!(short.unwrap_err().errno, libc::EINVAL);
    assert_eq!(odd.unwrap_err().errno, libc::EINVAL);
}
