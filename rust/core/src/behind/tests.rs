// The device's answer can be had only where the system is asked window by window.
#![cfg(all(target_os = "linux", not(feature = "portable")))]

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Instant;

use super::wake::FAREWELL;
use super::*;
use crate::error::Error;
use crate::place::{Mark, Place};
use crate::platform::Dir;
use crate::progress::MOVED;
use crate::sink::{drained, Sink};
use crate::story::Head;
use crate::told::parts;
use crate::trail::Trail;
use crate::transfer::Transfer;

const KEY: &[u8] = b"root";
const SIZE: u64 = 64 << 20;

/// Parts of a big file on one root, all of which a trail tells enough of, and a device that nobody works on unless told.
struct Rig {
    folder: tempfile::TempDir,
    trail: Arc<Trail>,
    behind: Arc<Behind>,
    page: Page,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open_root(folder.path().as_os_str().as_encoded_bytes(), false).unwrap());
        let transfer = Transfer { item: 1, path: b"clip", size: SIZE, mtime_ns: 0 };
        let trail = Trail::begin(&dir, b"1.trail", b"/1.trail", &Head::of(&transfer, b"")).unwrap();
        (0..64).for_each(|index| trail.note(index, [7; 32]));
        assert!(trail.worth());
        Self { folder, trail: Arc::new(trail), behind: Arc::default(), page: Page::private() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A part of which so many windows wait to be sent.
    fn part(&self, name: &str, windows: usize) -> Sink {
        let dir = Arc::new(Dir::open_root(self.folder.path().as_os_str().as_encoded_bytes(), false).unwrap());
        let mark = Some(Mark { trail: Arc::clone(&self.trail), key: KEY.to_vec() });
        let place = Place { dir, name: name.into(), path: name.into(), mark };
        let mut sink = Sink::create(place, SIZE, Some(&self.behind)).unwrap();
        self.trail.created(KEY, name.as_bytes());
        let bytes = vec![1; usize::try_from(WINDOW).unwrap()];
        for _ in 0..windows {
            sink.write(&bytes, &self.page).unwrap();
        }
        sink
    }

    /// The names that a next attempt would look for.
    fn told(&self) -> Vec<Vec<u8>> {
        let trail = self.path("1.trail");
        let parts = parts(trail.as_os_str().as_encoded_bytes()).unwrap().unwrap();
        parts.names.into_iter().map(|(_, name)| name).collect()
    }

    /// The next window, whose bytes the device will not take: nothing can be asked of a file that is only a path.
    fn failing(&self) -> Window {
        let mut window = self.behind.take(false).unwrap();
        let path = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(self.folder.path()).unwrap();
        window.file = Arc::new(path);
        window
    }
}

fn stopped() -> Error {
    Error::cancelled("write", b"part".to_vec())
}

#[test]
fn what_fails_after_a_part_was_left_condemns_it() {
    let rig = Rig::new();
    let sink = rig.part("1.part", 2);
    let (fails, arrives) = (rig.failing(), rig.behind.take(false).unwrap());

    sink.leave(stopped());

    assert!(rig.path("1.part").exists());
    assert_eq!(rig.told(), [b"1.part"]);
    rig.behind.arrive(arrives, &rig.page);
    assert_eq!(rig.told(), [b"1.part"], "that one is on the device");
    rig.behind.arrive(fails, &rig.page);
    assert!(rig.told().is_empty());
    assert!(!rig.path("1.part").exists());
    assert_eq!(rig.behind.lock().waiting, 0);
}

#[test]
fn what_failed_before_condemns_it_too_and_is_waited_for_a_moment() {
    let rig = Rig::new();
    let sink = rig.part("1.part", 2);
    let (one, other) = (rig.failing(), rig.behind.take(false).unwrap());

    thread::scope(|scope| {
        let left = scope.spawn(|| sink.leave(stopped()));
        thread::sleep(FAREWELL / 10);
        rig.behind.arrive(one, &rig.page);
        assert!(!left.is_finished(), "another window is on its way");
        rig.behind.arrive(other, &rig.page);
    });

    assert!(rig.told().is_empty());
    assert!(!rig.path("1.part").exists());
}

#[test]
fn until_its_last_window_is_there_nobody_else_has_the_trail_of_a_part() {
    let rig = Rig::new();
    let sink = rig.part("1.part", 1);
    let window = rig.behind.take(false).unwrap();
    sink.leave(stopped());
    let Rig { trail, behind, page, .. } = &rig;
    let held = Arc::downgrade(trail);
    assert_eq!(held.strong_count(), 2, "whoever waits for the window holds it");

    behind.arrive(window, page);

    assert_eq!(held.strong_count(), 1);
}

#[test]
fn what_arrives_is_a_sign_of_life_of_its_root_and_what_fails_is_none() {
    let rig = Rig::new();
    let mut sink = rig.part("1.part", 0);
    let bytes = vec![1; usize::try_from(WINDOW).unwrap()];
    for _ in 0..2 {
        sink.write(&bytes, &rig.page.at(3)).unwrap();
    }
    let (fails, arrives) = (rig.failing(), rig.behind.take(false).unwrap());
    let moved = || rig.page.words()[MOVED..].to_vec();

    rig.behind.arrive(fails, &rig.page);
    assert!(moved().iter().all(|bytes| *bytes == 0));
    rig.behind.arrive(arrives, &rig.page);

    assert_eq!(moved()[..5], [0, 0, 0, WINDOW, 0]);
    sink.leave(stopped());
}

#[test]
fn what_is_waited_for_before_a_flush_shows_slice_by_slice_that_it_moves() {
    let size = 5 * SLICE + 3;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![1; usize::try_from(size).unwrap()]).unwrap();
    let page = Page::private();

    assert!(drained(&file, size, &page.at(1)).unwrap());

    assert_eq!(page.words()[MOVED..MOVED + 3], [0, size, 0]);
    assert_eq!(page.words()[4], 6, "an operation each");
    page.cancel();
    assert!(!drained(&file, size, &page.at(1)).unwrap());
    assert_eq!(page.words()[MOVED + 1], size);
}

#[test]
fn of_several_parts_that_are_given_up_together_nobody_waits_longer_than_for_one() {
    let rig = Rig::new();
    let sinks: Vec<_> = (0..5).map(|index| rig.part(&format!("{index}.part"), 2)).collect();
    // Each has one on its way that never arrives.
    let under_way: Vec<_> = (0..10).map(|_| rig.behind.take(false).unwrap()).step_by(2).collect();
    let began = Instant::now();

    sinks.iter().for_each(Sink::abandon);
    for sink in sinks {
        sink.leave(stopped());
    }

    let took = began.elapsed();
    assert!((FAREWELL..FAREWELL * 2).contains(&took), "{took:?} for five parts");
    assert!((0..5).all(|index| rig.path(&format!("{index}.part")).exists()));
    for window in under_way {
        rig.behind.arrive(window, &rig.page);
    }
}

#[test]
fn a_part_that_is_not_worth_leaving_costs_no_flush_of_its_trail() {
    let rig = Rig::new();
    let few = Transfer { item: 2, path: b"other", size: SIZE, mtime_ns: 0 };
    let dir = Arc::new(Dir::open_root(rig.folder.path().as_os_str().as_encoded_bytes(), false).unwrap());
    let trail = Arc::new(Trail::begin(&dir, b"2.trail", b"/2.trail", &Head::of(&few, b"")).unwrap());
    let mark = Some(Mark { trail: Arc::clone(&trail), key: KEY.to_vec() });
    let place = Place { dir, name: b"1.part".to_vec(), path: b"1.part".to_vec(), mark };
    let sink = Sink::create(place, SIZE, None).unwrap();
    let before = std::fs::read(rig.path("2.trail")).unwrap();

    sink.leave(stopped());

    assert!(!rig.path("1.part").exists());
    assert!(std::fs::read(rig.path("2.trail")).unwrap() == before, "nothing speaks against it");
}

#[test]
fn what_is_queued_of_a_file_that_is_given_up_is_not_sent() {
    let rig = Rig::new();
    let (kept, left) = (rig.part("1.part", 1), rig.part("2.part", 3));
    assert_eq!(rig.behind.lock().waiting, 4 * WINDOW);

    left.leave(stopped());

    let state = rig.behind.lock();
    assert_eq!((state.queue.len(), state.waiting), (1, WINDOW), "the other one's stays");
    drop(state);
    kept.leave(stopped());
}
