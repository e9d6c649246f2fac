use proptest::prelude::*;

use super::*;
use crate::trail::tests::{head, value, Folder, BLOCK};

/// A trail with every kind of record, and what it tells after each byte of it: the steps at which it tells more.
fn written(folder: &Folder) -> Vec<(usize, Story)> {
    let trail = folder.begin(&head(100 * BLOCK + 5));
    let mut steps = vec![];
    let mut step = |told: &dyn Fn()| {
        told();
        let _written_down = trail.worth();
        let bytes = folder.bytes();
        steps.push((bytes.len(), Story::read(&bytes).unwrap()));
    };
    step(&|| ());
    step(&|| trail.created(b"one", b"s/1.part"));
    step(&|| trail.created(b"two", b"s/1.part"));
    // One by one: told at once they are written in several records.
    for index in 0..40 {
        step(&|| trail.note(index, value(index)));
    }
    step(&|| trail.renamed(b"one", b"s/2.part"));
    step(&|| trail.condemn(b"two").unwrap());
    step(&|| trail.note(99, value(99)));
    steps
}

#[test]
fn what_was_told_is_read_again() {
    let folder = Folder::new();

    let (_, story) = written(&folder).pop().unwrap();

    assert_eq!(story.head, head(100 * BLOCK + 5));
    assert_eq!(story.finished(), (0..40).map(value).collect::<Vec<_>>());
    assert_eq!((story.values[99], story.values.len()), (Some(value(99)), 100));
    assert_eq!(story.parts, BTreeMap::from([(b"one".to_vec(), vec![b"s/1.part".to_vec(), b"s/2.part".to_vec()])]));
    assert_eq!(story.end, folder.bytes().len() as u64);
}

#[test]
fn torn_at_any_byte_it_tells_what_stood_whole_before() {
    let folder = Folder::new();
    let steps = written(&folder);
    let bytes = folder.bytes();

    for length in 0..bytes.len() {
        let whole = steps.iter().rev().find(|(end, _)| *end <= length).map(|(_, story)| story.clone());
        assert_eq!(Story::read(&bytes[..length]), whole, "torn after {length} bytes");
    }
}

#[test]
fn with_any_bit_flipped_it_tells_what_stood_before_the_record() {
    let folder = Folder::new();
    let steps = written(&folder);
    let bytes = folder.bytes();

    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let whole = steps.iter().rev().find(|(end, _)| *end <= at).map(|(_, story)| story.clone());
        assert_eq!(Story::read(&flipped), whole, "flipped in byte {at}");
    }
}

#[test]
fn another_version_and_other_files_tell_nothing() {
    let folder = Folder::new();
    written(&folder);
    let bytes = folder.bytes();

    let mut newer = bytes.clone();
    newer[8] += 1;
    for other in [newer, b"ingtrail".to_vec(), b"something else altogether".to_vec(), Vec::new()] {
        assert_eq!(Story::read(&other), None);
    }
}

#[test]
fn the_first_version_is_read_for_ever() {
    let head = head(64 << 20);
    let (first, check) = encoded(&first_check(), HEAD, &head.encode()).unwrap();
    let bytes = [front(), first, encoded(&check, CREATED, &named(b"k", b"n").unwrap()).unwrap().0].concat();

    assert_eq!(bytes[..12], *b"ingtrail\x01\0\0\0");
    assert_eq!(bytes.len(), 12 + (5 + 8 * 3 + 32 + 9 + 16) + (5 + 2 + 1 + 1 + 16));
    assert_eq!(digest::of(&bytes)[..4], [0x5c, 0x63, 0x86, 0x07], "the bytes of version 1 changed");
    assert_eq!(Story::read(&bytes).unwrap().parts[&b"k"[..]], [b"n"]);
}

#[test]
fn records_that_make_no_sense_end_what_is_believed() {
    let head = head(64 << 20);
    let (first, check) = encoded(&first_check(), HEAD, &head.encode()).unwrap();
    let beyond = [&60_u64.to_le_bytes()[..], &[7; 5 * 32]].concat();
    let odd = [&1_u64.to_le_bytes()[..], &[7; 33]].concat();
    let far = [&u64::MAX.to_le_bytes()[..], &[7; 32]].concat();
    let long_key = [&9_u16.to_le_bytes()[..], b"short"].concat();

    for (kind, payload) in
        [(VALUES, beyond), (VALUES, odd), (VALUES, far), (CREATED, long_key), (9, vec![]), (VALUES, vec![1])]
    {
        let (record, check) = encoded(&check, kind, &payload).unwrap();
        let (good, _) = encoded(&check, CREATED, &named(b"k", b"n").unwrap()).unwrap();
        let story = Story::read(&[front(), first.clone(), record, good].concat()).unwrap();
        assert!(story.parts.is_empty() && story.finished().is_empty(), "kind {kind}");
        assert_eq!(story.end, (front().len() + first.len()) as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
        let folder = Folder::new();
        written(&folder);
        let good = folder.bytes();
        let mixed = [&good[..cut.min(good.len())], &bytes].concat();

        if let Some(story) = Story::read(&mixed) {
            prop_assert!(story.end <= mixed.len() as u64);
        }
        prop_assert_eq!(Story::read(&bytes), None);
    }
}
