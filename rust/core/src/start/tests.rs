use std::io::Write;

use super::*;
use crate::buffer::Buffer;
use crate::pattern::pattern;
use crate::place::Place;
use crate::platform::Dir;
use crate::story::Head;
use crate::transfer::Transfer;
use crate::tree::Piece;

const BLOCK: u64 = 1 << 20;

#[test]
fn what_comes_before_is_handed_on_in_order_and_void_if_it_reads_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open_root(folder.path().as_os_str().as_encoded_bytes(), false).unwrap());
    let bytes = pattern(40 * (1 << 20));
    let transfer = Transfer { item: 1, path: b"clip", size: 100 * BLOCK, mtime_ns: 0 };
    let trail = Arc::new(Trail::begin(&dir, b"1.trail", b"/1.trail", &Head::of(&transfer, b"")).unwrap());
    for (index, block) in (0..).zip(bytes.chunks(1 << 20)) {
        let mut piece = Piece::at(index * BLOCK);
        piece.update(block);
        trail.note(index, piece.finish());
    }
    let mut part = dir.create_new(b"part").unwrap();
    part.write_all(&bytes).unwrap();
    let place = Place { dir: Arc::clone(&dir), name: b"part".to_vec(), path: b"/part".to_vec(), mark: None };
    let had = bytes.len() as u64;
    let mut sinks = [Ok(Sink::go_on(place, part, had, transfer.size, None).unwrap())];
    sinks.iter_mut().flatten().for_each(|sink| sink.expect(had));
    let mut start = Start { offset: had, block: BLOCK, trail: Some(trail), unshown: Vec::new() };
    let (page, mut buffer) = (Page::private(), Buffer::new(300_000));
    let mut handed = Vec::new();

    let well = start.hand_on(&sinks, &mut buffer, &page, &mut |bytes| handed.extend_from_slice(bytes)).unwrap();

    assert!(well && handed == bytes);
    let damaged = std::fs::OpenOptions::new().write(true).open(folder.path().join("part")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&damaged, b"x", 39 * BLOCK).unwrap();
    assert!(!start.hand_on(&sinks, &mut buffer, &page, &mut |_| ()).unwrap());
    start.anew(&mut sinks);
    assert_eq!(start.offset, 0);
    let sink = sinks[0].as_mut().unwrap();
    assert_eq!(sink.write(&bytes, &page), Ok(0), "it has them");
    assert_eq!(sink.write(b"more", &page), Ok(4));
    page.cancel();
    assert_eq!(start.hand_on(&sinks, &mut buffer, &page, &mut |_| ()), Ok(true), "nothing comes before");
    start.offset = had;
    assert_eq!(start.hand_on(&sinks, &mut buffer, &page, &mut |_| ()).unwrap_err().kind, Kind::Cancelled);
}
