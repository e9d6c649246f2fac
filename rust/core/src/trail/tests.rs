use std::collections::BTreeMap;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::digest;
use crate::progress::Page;
use crate::told::LONGEST;
use crate::transfer::Transfer;

pub(crate) const BLOCK: u64 = 1 << 20;

pub(crate) fn head(size: u64) -> Head {
    let transfer = Transfer { item: 3, path: b"A/clip.mov", size, mtime_ns: -7 };
    Head::of(&transfer, b"uuid 1234")
}

pub(crate) fn value(seed: u64) -> ChainingValue {
    digest::of(&seed.to_le_bytes())
}

pub(crate) struct Folder {
    pub(crate) folder: tempfile::TempDir,
    dir: Arc<Dir>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open_root(folder.path().as_os_str().as_encoded_bytes(), false).unwrap());
        Self { folder, dir }
    }

    pub(crate) fn begin(&self, head: &Head) -> Trail {
        Trail::begin(&self.dir, b"3.trail", b"/3.trail", head).unwrap()
    }

    pub(crate) fn open(&self, head: &Head) -> Found {
        Trail::open(&self.dir, b"3.trail", b"/3.trail", head).unwrap()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("3.trail")).unwrap()
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        std::fs::write(self.folder.path().join("3.trail"), bytes).unwrap();
    }
}

#[test]
fn what_stood_behind_a_torn_record_is_never_believed_again() {
    let folder = Folder::new();
    let head = head(100 * BLOCK);
    let trail = folder.begin(&head);
    trail.created(b"one", b"s/1.part");
    let kept = folder.bytes().len();
    trail.created(b"one", b"s/2.part");
    let torn = folder.bytes().len();
    trail.condemn(b"one").unwrap();
    drop(trail);
    let mut bytes = folder.bytes();
    let condemned = bytes[torn..].to_vec();
    bytes[kept + 5] ^= 1;
    folder.write(&bytes);

    let Found::Ours(trail, story) = folder.open(&head) else { panic!("it is not gone on with") };
    assert_eq!(story.end, kept as u64);
    trail.created(b"one", b"s/3.part");
    let after = [folder.bytes(), condemned].concat();

    assert_eq!(folder.bytes().len(), torn, "as long as what was torn");
    assert_eq!(Story::read(&after).unwrap().parts[&b"one"[..]], [b"s/3.part"]);
}

#[test]
fn a_trail_of_what_the_file_was_before_is_another_one() {
    let folder = Folder::new();
    let head = head(100 * BLOCK);
    drop(folder.begin(&head));
    let others = [
        Head { size: 101 * BLOCK, ..head.clone() },
        Head { mtime_ns: -8, ..head.clone() },
        Head { path: [1; 32], ..head.clone() },
        Head { volume: b"uuid 12345".to_vec(), ..head.clone() },
    ];

    for other in others {
        assert!(matches!(folder.open(&other), Found::Other(Some(story)) if story.head == head));
    }
    assert!(matches!(folder.open(&head), Found::Ours(..)));
}

#[test]
fn while_one_holds_it_nobody_else_does() {
    let folder = Folder::new();
    let head = head(100 * BLOCK);
    let first = folder.begin(&head);
    first.created(b"one", b"s/1.part");
    assert!(matches!(folder.open(&head), Found::Held));

    // Whoever came second has begun another one; the first writes to what nobody reads any more.
    let second = folder.begin(&head);
    first.created(b"one", b"s/late.part");
    second.created(b"one", b"s/2.part");

    assert!(matches!(folder.open(&head), Found::Held));
    drop(first);
    assert!(matches!(folder.open(&head), Found::Held));
    drop(second);
    let Found::Ours(_, story) = folder.open(&head) else { panic!("nobody holds it") };
    assert_eq!(story.parts[&b"one"[..]], [b"s/2.part"]);
}

#[test]
fn what_cannot_be_condemned_loses_its_trail() {
    let folder = Folder::new();
    let head = head(100 * BLOCK);
    let trail = folder.begin(&head);
    trail.created(b"one", b"s/1.part");
    // As after an append that failed.
    trail.lock().broken = true;

    trail.condemn(b"one").unwrap();

    assert!(matches!(folder.open(&head), Found::Nothing));
    assert!(!trail.worth());
}

#[test]
fn what_cannot_be_condemned_spares_the_trail_that_took_its_place() {
    let folder = Folder::new();
    let head = head(100 * BLOCK);
    let first = folder.begin(&head);
    first.created(b"one", b"s/1.part");
    let second = folder.begin(&head);
    second.created(b"one", b"s/2.part");
    first.lock().broken = true;

    first.condemn(b"one").unwrap();

    assert_eq!(Story::read(&folder.bytes()).unwrap().parts[&b"one"[..]], [b"s/2.part"]);
}

#[test]
fn a_flush_that_failed_while_a_part_is_condemned_is_not_believed_the_second_time() {
    let folder = Folder::new();
    let head = head(100 * BLOCK);
    let trail = folder.begin(&head);
    trail.created(b"one", b"s/1.part");
    // As the thread that keeps the trail does: its flush fails, and the next one will find everything clean.
    let under_way = trail.settled();
    thread::scope(|scope| {
        let condemned = scope.spawn(|| trail.condemn(b"one"));
        thread::sleep(Duration::from_millis(100));
        assert!(!condemned.is_finished(), "it does not wait for the flush that is under way");
        trail.lock().broken = true;
        drop(under_way);
        condemned.join().unwrap().unwrap();
    });

    assert!(matches!(folder.open(&head), Found::Nothing), "the trail still tells of the part");
}

#[test]
fn a_part_that_was_condemned_stays_so_whatever_its_keeper_writes_later() {
    let folder = Folder::new();
    let head = head(100 * BLOCK);
    let trail = folder.begin(&head);
    trail.created(b"one", b"s/1.part");

    Trail::kept(Some(&trail), &Page::private(), || {
        (0..40).for_each(|index| trail.note(index, value(index)));
        trail.condemn(b"one").unwrap();
        trail.renamed(b"one", b"s/2.part");
        trail.note(40, value(40));
    });

    let story = Story::read(&folder.bytes()).unwrap();
    assert_eq!((story.parts, story.values[40]), (BTreeMap::new(), Some(value(40))));
    trail.created(b"one", b"s/3.part");
    assert_eq!(Story::read(&folder.bytes()).unwrap().parts[&b"one"[..]], [b"s/3.part"], "another part");
}

#[test]
fn a_trail_that_is_too_long_is_not_believed_in_part() {
    let folder = Folder::new();
    let head = head(100 * BLOCK);
    drop(folder.begin(&head));
    let file = std::fs::OpenOptions::new().write(true).open(folder.folder.path().join("3.trail")).unwrap();
    file.set_len(LONGEST).unwrap();
    assert!(told::read(&folder.dir, b"3.trail").unwrap().is_some());
    file.set_len(LONGEST + 1).unwrap();

    assert!(matches!(folder.open(&head), Found::Other(None)));
}

#[test]
fn a_key_that_fits_in_no_record_breaks_the_trail() {
    let folder = Folder::new();
    let trail = folder.begin(&head(100 * BLOCK));
    (0..40).for_each(|index| trail.note(index, value(index)));
    trail.created(&vec![7; 65_535], b"s/1.part");
    assert!(trail.worth());

    trail.created(&vec![7; 65_536], b"s/1.part");

    assert!(!trail.worth());
    assert_eq!(Story::read(&folder.bytes()).unwrap().parts.keys().map(Vec::len).collect::<Vec<_>>(), [65_535]);
}

#[test]
fn values_reach_the_file_soon_by_whoever_notes_them_and_the_rest_by_its_keeper() {
    let folder = Folder::new();
    let trail = folder.begin(&head(100 * BLOCK));
    let known = || Story::read(&folder.bytes()).unwrap().finished().len();
    trail.note(0, value(0));
    assert_eq!(known(), 0);
    thread::sleep(APPEND);
    trail.note(1, value(1));
    assert_eq!(known(), 2);

    Trail::kept(Some(&trail), &Page::private(), || {
        trail.note(2, value(2));
        let began = Instant::now();
        while known() < 3 {
            assert!(began.elapsed() < Duration::from_secs(5), "nobody wrote it down");
            thread::sleep(Duration::from_millis(10));
        }
        trail.note(3, value(3));
    });

    assert_eq!(known(), 4, "the end of the work is told");
}

#[test]
fn a_source_that_reads_otherwise_is_noticed_where_a_part_relies_on_it_and_believed_elsewhere() {
    let folder = Folder::new();
    let trail = folder.begin(&head(100 * BLOCK));
    (0..50).for_each(|index| trail.note(index, value(index)));
    trail.rely(40);

    trail.note(39, value(39));
    trail.note(40, value(1000));
    assert!(!trail.disagrees());
    assert!(trail.worth());
    assert_eq!(Story::read(&folder.bytes()).unwrap().values[40], Some(value(1000)), "what was read last counts");

    trail.note(39, value(1000));
    assert!(trail.disagrees());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn in_whatever_order_blocks_are_finished_all_are_told(
        blocks in 64_usize..300, shuffle in any::<u64>(), flushes in prop::collection::vec(0_usize..300, 0..5),
    ) {
        let folder = Folder::new();
        let trail = folder.begin(&head(blocks as u64 * BLOCK + 1));
        let mut order: Vec<u64> = (0..blocks as u64).collect();
        order.sort_by_key(|index| (index ^ shuffle).wrapping_mul(0x9E37_79B9_7F4A_7C15));

        for (turn, index) in order.into_iter().enumerate() {
            trail.note(index, value(index));
            if flushes.contains(&turn) {
                trail.append(&mut trail.lock());
            }
        }

        prop_assert!(trail.worth());
        let story = Story::read(&folder.bytes()).unwrap();
        prop_assert_eq!(story.finished(), (0..blocks as u64).map(value).collect::<Vec<_>>());
    }
}
