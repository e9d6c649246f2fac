//! Going on with half-made copies of big files.

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ingest_core::{
    digest, stage, Kind, Method, Mode, Page, Partial, Root, StageOptions, Staged, Transfer, TRAIL_LEAST,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::places::{pattern, root, scan, Places, Tmpfs};

const MIB: usize = 1 << 20;
const BLOCK: u64 = 1 << 20;
/// Blocks that a look at the source reads at most.
const SAMPLE: u64 = 18 * BLOCK;
const CLIP: &str = "A/clip.mov";
const PATIENCE: Duration = Duration::from_secs(120);

/// A card with a big file, some archives and a folder for trails.
struct Rig {
    places: Places,
    trails: TempDir,
    archives: usize,
    bytes: Vec<u8>,
    volume: &'static [u8],
    options: StageOptions<'static>,
    /// What the last archive is on instead.
    disk: Option<Tmpfs>,
}

impl Rig {
    fn new(archives: usize, size: usize) -> Self {
        let places = Places::new(archives);
        let bytes = pattern(size);
        places.file(CLIP, &bytes);
        Self {
            places,
            trails: TempDir::new().unwrap(),
            archives,
            bytes,
            volume: b"card",
            options: StageOptions::default(),
            disk: None,
        }
    }

    fn archive(&self, index: usize) -> &Path {
        let disk = self.disk.as_ref().filter(|_| index + 1 == self.archives);
        disk.map_or_else(|| self.places.archive(index), Tmpfs::path)
    }

    fn clip(&self) -> PathBuf {
        self.places.card().join(CLIP)
    }

    fn trail(&self) -> PathBuf {
        self.trails.path().join("7.trail")
    }

    fn part(&self, archive: usize, attempt: usize) -> PathBuf {
        self.archive(archive).join(format!("s/{attempt}.part"))
    }

    /// One attempt, on every archive, under names of its own.
    fn attempt(&self, attempt: usize, page: &Page) -> Staged {
        let archives: Vec<Root> = (0..self.archives).map(|index| root(self.archive(index))).collect();
        let roots: Vec<&Root> = archives.iter().collect();
        let keys: Vec<Vec<u8>> = (0..self.archives).map(|index| format!("root {index}").into_bytes()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let folder = self.trails.path().as_os_str().as_bytes();
        let partial = Some(Partial { folder, keys: &keys, volume: self.volume });
        let name = format!("s/{attempt}.part");
        let staging = vec![vec![name.as_bytes()]; self.archives];
        let transfer: Transfer<'_> = scan(&self.clip(), CLIP);
        let options = StageOptions { partial, ..self.options };
        stage(&root(self.places.card()), &roots, &[transfer], &staging, options, page).unwrap().staged.remove(0)
    }

    fn again(&self, attempt: usize) -> Staged {
        self.attempt(attempt, &Page::private())
    }

    /// Stops when so many bytes were written.
    fn stopped(&self, attempt: usize, written: usize) -> Staged {
        let page = Page::private();
        thread::scope(|scope| {
            let work = scope.spawn(|| self.attempt(attempt, &page));
            let began = Instant::now();
            while page.words()[2] < written as u64 {
                assert!(!work.is_finished(), "it ended before {written} bytes were written");
                if began.elapsed() > PATIENCE {
                    page.cancel();
                    panic!("{} bytes were written in {PATIENCE:?}", page.words()[2]);
                }
                thread::sleep(Duration::from_micros(100));
            }
            page.cancel();
            work.join().unwrap()
        })
    }

    /// What arrived is what the card has now, and nothing else is left.
    fn arrived(&self, staged: &Staged, attempt: usize) {
        assert!(staged.fault.is_none(), "{staged:?}");
        assert_eq!(staged.digest(), Some(digest::of(&self.bytes)));
        let blocks = &staged.content.as_ref().unwrap().blocks;
        assert_eq!(blocks.len(), self.bytes.len().div_ceil(MIB));
        for archive in 0..self.archives {
            assert!(staged.copies[archive].outcome.is_ok(), "{staged:?}");
            assert!(fs::read(self.part(archive, attempt)).unwrap() == self.bytes);
            assert_eq!(fs::read_dir(self.archive(archive).join("s")).unwrap().count(), 1);
        }
    }

    /// Changes a byte of the source, which keeps its size and time.
    fn tamper_source(&mut self, at: usize) {
        let before = fs::metadata(self.clip()).unwrap().modified().unwrap();
        self.bytes[at] ^= 0x40;
        let file = OpenOptions::new().write(true).open(self.clip()).unwrap();
        file.write_all_at(&self.bytes[at..=at], at as u64).unwrap();
        file.set_modified(before).unwrap();
    }
}

/// Nothing is gone on with where the device cannot be asked: then there is nothing to see here.
fn never_cold() -> bool {
    let never = root(TempDir::new().unwrap().path()).cold() == Method::Reread;
    if never {
        eprintln!("skipped: the folder for temporary files is never cold");
    }
    never
}

fn flip(path: &PathBuf, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn whole_blocks(bytes: u64) -> u64 {
    bytes / BLOCK * BLOCK
}

#[test]
fn stopped_again_and_again_it_is_copied_once() {
    if never_cold() {
        return;
    }
    for (threads, mode) in [(1, Mode::Read), (2, Mode::Read), (1, Mode::Mmap), (2, Mode::Mmap), (1, Mode::Direct)] {
        let mut rig = Rig::new(2, 160 * MIB + 4321);
        rig.options = StageOptions { threads, mode, ..rig.options };
        let (mut read, mut stops) = (0, 0);

        for attempt in 1..=2 {
            let staged = rig.stopped(attempt, 100 * MIB);
            assert_eq!(staged.fault.map(|fault| fault.kind), Some(Kind::Cancelled));
            (read, stops) = (read + staged.bytes_read, stops + 1);
        }
        let staged = rig.again(3);

        rig.arrived(&staged, 3);
        assert!(staged.resumed >= 2 * 64 * BLOCK, "{threads} {mode:?}: only {} were gone on with", staged.resumed);
        // What was read and not finished when it was stopped, and each look at what was read before.
        let once = rig.bytes.len() as u64;
        let waste = stops * (SAMPLE + (threads as u64 + 1) * (4 << 20));
        assert!(read + staged.bytes_read <= once + waste, "{threads} {mode:?}: {read} and {}", staged.bytes_read);
    }
}

/// What befell a part between two attempts.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Flipped(u64),
    Torn(u64),
    Gone,
}

fn damage(size: u64) -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::None),
        (0..size).prop_map(Damage::Flipped),
        (0..size).prop_map(Damage::Torn),
        Just(Damage::Gone),
    ]
}

fn cases() -> impl Strategy<Value = (usize, Vec<Damage>, usize, bool)> {
    (64_usize * MIB..90 * MIB)
        .prop_flat_map(|size| (Just(size), prop::collection::vec(damage(size as u64), 1..4), 1_usize..4, any::<bool>()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn each_root_goes_on_from_its_first_damaged_block((size, damages, threads, mmap) in cases()) {
        if never_cold() {
            return Ok(());
        }
        let mut rig = Rig::new(damages.len(), size);
        rig.options = StageOptions { threads, mode: if mmap { Mode::Mmap } else { Mode::Read }, ..rig.options };
        rig.arrived(&rig.again(1), 1);
        let mut had: Vec<u64> = Vec::new();
        for (archive, damage) in damages.iter().enumerate() {
            let part = rig.part(archive, 1);
            had.push(match damage {
                Damage::None => whole_blocks(size as u64),
                Damage::Flipped(at) => {
                    flip(&part, *at);
                    whole_blocks(*at).min(whole_blocks(size as u64))
                }
                Damage::Torn(length) => {
                    OpenOptions::new().write(true).open(&part).unwrap().set_len(*length).unwrap();
                    whole_blocks(*length)
                }
                Damage::Gone => {
                    fs::remove_file(&part).unwrap();
                    0
                }
            });
        }
        // What is left is only looked at where the longest part is long enough by its length.
        let looked = damages.iter().map(|damage| match damage {
            Damage::Torn(length) => *length,
            Damage::Gone => 0,
            _ => size as u64,
        });
        if looked.max().unwrap_or(0) < 32 * BLOCK {
            had.fill(0);
        }

        let staged = rig.again(2);

        rig.arrived(&staged, 2);
        prop_assert_eq!(staged.resumed, had.iter().sum::<u64>());
        let missing = size as u64 - had.iter().min().unwrap();
        prop_assert!(staged.bytes_read >= missing && staged.bytes_read <= missing + SAMPLE, "{} of {missing}", staged.bytes_read);
    }
}

#[test]
fn a_source_that_changed_in_its_first_or_last_finished_block_is_copied_from_the_start() {
    if never_cold() {
        return;
    }
    for block in [0, 69] {
        let mut rig = Rig::new(1, 70 * MIB + 9);
        rig.arrived(&rig.again(1), 1);
        rig.tamper_source(block * MIB + 12_345);

        let staged = rig.again(2);

        rig.arrived(&staged, 2);
        assert_eq!(staged.resumed, 0);
        assert!(staged.bytes_read > rig.bytes.len() as u64, "the look was counted");
        // And the new trail is as good as the old one was.
        assert!(rig.again(3).resumed > 0);
    }
}

#[test]
fn what_is_behind_the_finished_blocks_may_have_any_bytes() {
    if never_cold() {
        return;
    }
    let mut rig = Rig::new(1, 70 * MIB + 9);
    rig.arrived(&rig.again(1), 1);
    let last = rig.bytes.len() - 1;
    rig.tamper_source(last);

    let staged = rig.again(2);

    rig.arrived(&staged, 2);
    assert_eq!(staged.resumed, 70 * BLOCK, "the last block was not finished, and is read now");
}

#[test]
fn a_source_that_reads_otherwise_where_a_part_is_gone_on_with_is_unstable() {
    if never_cold() {
        return;
    }
    for _ in 0..20 {
        let mut rig = Rig::new(2, 100 * MIB);
        rig.arrived(&rig.again(1), 1);
        fs::remove_file(rig.part(1, 1)).unwrap();
        rig.tamper_source(50 * MIB);

        let staged = rig.again(2);

        if staged.digest().is_some() {
            // This block was among those that were looked at: copied from the start.
            assert_eq!(staged.resumed, 0);
            rig.arrived(&staged, 2);
            continue;
        }
        assert_eq!(staged.fault.unwrap().kind, Kind::Unstable);
        for archive in 0..2 {
            assert!(!rig.part(archive, 1).exists() && !rig.part(archive, 2).exists(), "no part of it is left");
        }
        let staged = rig.again(3);
        rig.arrived(&staged, 3);
        assert_eq!(staged.resumed, 0);
        return;
    }
    panic!("the changed block was looked at 20 times in a row");
}

#[test]
fn another_time_or_volume_or_a_damaged_trail_tells_nothing() {
    let time = |rig: &mut Rig| {
        let file = OpenOptions::new().write(true).open(rig.clip()).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    };
    let volume = |rig: &mut Rig| rig.volume = b"another card";
    let head = |rig: &mut Rig| flip(&rig.trail(), 20);
    let gone = |rig: &mut Rig| fs::remove_file(rig.trail()).unwrap();
    for what in ["time", "volume", "head", "gone"] {
        let mut rig = Rig::new(1, 66 * MIB);
        rig.arrived(&rig.again(1), 1);
        match what {
            "time" => time(&mut rig),
            "volume" => volume(&mut rig),
            "head" => head(&mut rig),
            _ => gone(&mut rig),
        }

        let staged = rig.again(2);

        assert_eq!((staged.resumed, staged.bytes_read), (0, rig.bytes.len() as u64), "{what}");
        if ["head", "gone"].contains(&what) {
            // Nobody knows of the old part: who gave it its name clears it.
            fs::remove_file(rig.part(0, 1)).unwrap();
        }
        assert!(!rig.part(0, 1).exists(), "{what}: its room was needed");
        rig.arrived(&staged, 2);
    }
}

#[test]
fn a_trail_with_a_torn_tail_tells_what_stood_before() {
    if never_cold() {
        return;
    }
    let rig = Rig::new(1, 66 * MIB);
    // Stopped twice, so that there are values before and after a rename.
    rig.stopped(1, 40 * MIB);
    rig.arrived(&rig.again(2), 2);
    let length = fs::metadata(rig.trail()).unwrap().len();
    OpenOptions::new().write(true).open(rig.trail()).unwrap().set_len(length - 7).unwrap();

    let staged = rig.again(3);

    rig.arrived(&staged, 3);
    assert!(staged.resumed >= 32 * BLOCK && staged.resumed < 66 * BLOCK, "{}", staged.resumed);
}

#[test]
fn small_files_and_calls_without_a_folder_leave_no_trail() {
    let rig = Rig::new(1, usize::try_from(TRAIL_LEAST).unwrap() - 1);
    rig.arrived(&rig.again(1), 1);
    assert!(!rig.trail().exists());

    let rig = Rig::new(1, 70 * MIB);
    let trails = rig.trails.path().to_path_buf();
    fs::remove_dir(&trails).unwrap();
    rig.arrived(&rig.again(1), 1);
    assert!(!trails.exists(), "it is not made here");
    fs::create_dir(trails).unwrap();
}

#[test]
fn a_part_with_a_second_name_is_left_to_whoever_gave_it() {
    let rig = Rig::new(1, 66 * MIB);
    rig.arrived(&rig.again(1), 1);
    let name = rig.places.archive(0).join("clip.mov");
    fs::hard_link(rig.part(0, 1), &name).unwrap();
    flip(&name, 60 << 20);
    let before = fs::read(&name).unwrap();

    let staged = rig.again(2);

    fs::remove_file(rig.part(0, 1)).unwrap();
    rig.arrived(&staged, 2);
    assert_eq!(staged.resumed, 0);
    assert!(fs::read(&name).unwrap() == before);
}

#[test]
fn after_a_rename_that_was_told_and_not_made_the_part_is_found_under_its_old_name() {
    if never_cold() {
        return;
    }
    let rig = Rig::new(1, 66 * MIB);
    rig.arrived(&rig.again(1), 1);
    rig.arrived(&rig.again(2), 2);
    fs::rename(rig.part(0, 2), rig.part(0, 1)).unwrap();

    let staged = rig.again(3);

    rig.arrived(&staged, 3);
    assert_eq!(staged.resumed, 66 * BLOCK);
}

#[test]
fn a_part_whose_file_system_is_never_cold_is_made_anew_and_said_to_be() {
    let Some(disk) = Tmpfs::mount("size=200m") else { return };
    let mut rig = Rig::new(2, 66 * MIB);
    rig.disk = Some(disk);
    let cold = root(rig.archive(0)).cold() != Method::Reread;
    rig.arrived(&rig.again(1), 1);

    let staged = rig.again(2);

    rig.arrived(&staged, 2);
    assert_eq!(staged.unshown, if cold { vec![1] } else { vec![0, 1] });
    assert_eq!(staged.resumed, if cold { 66 * BLOCK } else { 0 });
    assert!(staged.bytes_read >= rig.bytes.len() as u64, "it was read for the one that was made anew");
}

#[test]
fn what_is_not_gone_on_with_for_another_reason_is_not_said_to_be_unshown() {
    let Some(disk) = Tmpfs::mount("size=200m") else { return };
    let mut rig = Rig::new(1, 66 * MIB);
    rig.disk = Some(disk);
    rig.arrived(&rig.again(1), 1);
    fs::remove_file(rig.part(0, 1)).unwrap();

    assert!(rig.again(2).unshown.is_empty(), "nothing was left");
    assert_eq!(rig.again(3).unshown, [0]);
    rig.volume = b"another card";
    assert!(rig.again(4).unshown.is_empty(), "its trail is another one's");
}

#[test]
fn a_part_that_stays_in_memory_is_proven_around_it_or_made_anew() {
    let rig = Rig::new(1, 66 * MIB);
    rig.arrived(&rig.again(1), 1);
    let archive = root(rig.archive(0));
    if archive.cold() != Method::Evicted {
        eprintln!("skipped: no pages are dropped here");
        return;
    }
    // Pages that somebody maps cannot be dropped.
    let part = fs::File::open(rig.part(0, 1)).unwrap();
    // SAFETY: the file is neither written to nor shortened while it is mapped; the engine is asked to do neither below
    // the length that it has.
    let held = unsafe { memmap2::Mmap::map(&part).unwrap() };
    assert!(held[..] == rig.bytes);

    let staged = rig.again(2);

    let direct = archive.coldness().direct;
    assert_eq!(staged.resumed, if direct { 66 * BLOCK } else { 0 });
    assert_eq!(staged.unshown, if direct { vec![] } else { vec![0] });
    assert_eq!(staged.copies[0].outcome.as_ref().ok().copied() == Some(Method::Direct), direct);
    drop(held);
    rig.arrived(&staged, 2);
}
