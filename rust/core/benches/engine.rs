//! What the engine takes for its three workloads, without process start or Python: hashing, one big file, many small
//! files. Memory to memory where there is a tmpfs, so that the figures are the engine's and not the disk's:
//! `cargo bench -p ingest-core`, and quickly, as a test: `cargo bench -p ingest-core -- --test`.

// A bench may fail loudly.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use ingest_core::tree::{Piece, Tree};
use ingest_core::{digest, stage, Page, Root, RootOptions, StageOptions, Transfer};
use tempfile::TempDir;

use pattern::pattern;

#[path = "../src/pattern.rs"]
mod pattern;

const MIB: usize = 1 << 20;

fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn root(path: &Path) -> Root {
    Root::open(path.as_os_str().as_bytes(), RootOptions::default()).unwrap()
}

/// Files of one size on a card, and what it takes to stage them.
struct Card {
    source: TempDir,
    archive: TempDir,
    names: Vec<String>,
    mtimes: Vec<i64>,
    size: usize,
}

impl Card {
    fn new(count: usize, size: usize) -> Self {
        let (source, archive) = (place(), place());
        let bytes = pattern(size);
        let names: Vec<String> = (0..count).map(|number| format!("F{number:06}")).collect();
        let write = |name: &String| {
            let path = source.path().join(name);
            fs::write(&path, &bytes).unwrap();
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            i64::try_from(modified.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
        };
        let mtimes = names.iter().map(write).collect();
        Self { source, archive, names, mtimes, size }
    }

    /// Stages everything once, and says how long the copying took: without flush and read-back.
    fn copy(&self, options: StageOptions<'_>) -> Duration {
        let (card, target) = (root(self.source.path()), root(self.archive.path()));
        let size = self.size as u64;
        let seen = self.names.iter().zip(&self.mtimes);
        let transfers: Vec<_> =
            seen.map(|(name, &mtime_ns)| Transfer { item: 0, path: name.as_bytes(), size, mtime_ns }).collect();
        let staging = vec![self.names.iter().map(String::as_bytes).collect()];
        let batch = stage(&card, &[&target], &transfers, &staging, options, &Page::private()).unwrap();
        assert!(batch.staged.iter().all(|one| one.copies[0].outcome.is_ok()));
        for name in &self.names {
            fs::remove_file(self.archive.path().join(name)).unwrap();
        }
        Duration::from_nanos(batch.spent.copying)
    }
}

fn hashing(criterion: &mut Criterion) {
    let bytes = pattern(64 * MIB);
    let mut group = criterion.benchmark_group("hash 64 MiB");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(10);
    group.bench_function("plain", |bench| bench.iter(|| digest::of(&bytes)));
    for piece in [512 << 10, MIB] {
        group.bench_function(BenchmarkId::new("tree", piece), |bench| {
            bench.iter(|| {
                let value = |(index, bytes): (usize, &[u8])| {
                    let mut hashed = Piece::at((index * piece) as u64);
                    hashed.update(bytes);
                    hashed.finish()
                };
                let values: Vec<_> = bytes.chunks(piece).enumerate().map(value).collect();
                Tree::of(bytes.len() as u64, piece as u64, &values).unwrap().root()
            });
        });
    }
    group.finish();
}

fn one_big_file(criterion: &mut Criterion) {
    let card = Card::new(1, 256 * MIB);
    let mut group = criterion.benchmark_group("copy one file of 256 MiB");
    group.throughput(Throughput::Bytes(256 << 20)).sample_size(10);
    for threads in [1, 2] {
        let options = StageOptions { threads, ..StageOptions::default() };
        group.bench_function(BenchmarkId::new("threads", threads), |bench| {
            bench.iter_custom(|times| (0..times).map(|_| card.copy(options)).sum());
        });
    }
    group.finish();
}

fn many_small_files(criterion: &mut Criterion) {
    let card = Card::new(1000, 16 << 10);
    let mut group = criterion.benchmark_group("copy 1,000 files of 16 KiB");
    group.throughput(Throughput::Elements(1000)).sample_size(10);
    for together in [false, true] {
        let options = StageOptions { together, ..StageOptions::default() };
        group.bench_function(BenchmarkId::new("together", together), |bench| {
            bench.iter_custom(|times| (0..times).map(|_| card.copy(options)).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, hashing, one_big_file, many_small_files);
criterion_main!(benches);
