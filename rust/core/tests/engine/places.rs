//! A card and some archives in temporary folders.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use ingest_core::{stage, Mode, Page, Root, RootOptions, StageOptions, Staged, Transfer};
use tempfile::TempDir;

pub use pattern::pattern;

#[path = "../../src/pattern.rs"]
mod pattern;

pub struct Places {
    card: TempDir,
    archives: Vec<TempDir>,
}

impl Places {
    pub fn new(archives: usize) -> Self {
        let archives = (0..archives).map(|_| TempDir::new().unwrap()).collect();
        Self { card: TempDir::new().unwrap(), archives }
    }

    pub fn card(&self) -> &Path {
        self.card.path()
    }

    pub fn archive(&self, index: usize) -> &Path {
        self.archives[index].path()
    }

    /// A file on the card, and the transfer that a scan would make of it.
    pub fn file<'p>(&self, path: &'p str, bytes: &[u8]) -> Transfer<'p> {
        let full = self.card().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(&full, bytes).unwrap();
        scan(&full, path)
    }

    /// Stages one file to `.ingest/staging/0.part` on every archive.
    pub fn stage(&self, transfer: Transfer<'_>, mode: Mode, buffer: usize) -> Staged {
        self.stage_all(&[transfer], StageOptions { mode, buffer, ..StageOptions::default() }).remove(0)
    }

    /// Stages files to `.ingest/staging/<index>.part` on every archive.
    pub fn stage_all(&self, transfers: &[Transfer<'_>], options: StageOptions<'_>) -> Vec<Staged> {
        let roots: Vec<Root> = self.archives.iter().map(|archive| root(archive.path())).collect();
        let roots: Vec<&Root> = roots.iter().collect();
        let names: Vec<String> = (0..transfers.len()).map(part).collect();
        let column: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        let staging = vec![column; roots.len()];
        stage(&root(self.card()), &roots, transfers, &staging, options, &Page::private()).unwrap().staged
    }

    /// The staging file of one transfer on one archive.
    pub fn staged(&self, archive: usize, index: usize) -> PathBuf {
        self.archive(archive).join(part(index))
    }
}

fn part(index: usize) -> String {
    format!(".ingest/staging/{index}.part")
}

pub fn root(path: &Path) -> Root {
    Root::open(path.as_os_str().as_bytes(), RootOptions::default()).unwrap()
}

pub fn scan<'p>(full: &Path, path: &'p str) -> Transfer<'p> {
    let seen = fs::symlink_metadata(full).unwrap();
    let mtime = seen.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
    let mtime_ns = i64::try_from(mtime.as_nanos()).unwrap();
    Transfer { item: 7, path: path.as_bytes(), size: seen.len(), mtime_ns }
}

/// A tmpfs of a given size, unmounted on drop; `None`, with the reason printed, where it cannot be mounted.
pub struct Tmpfs {
    folder: TempDir,
}

impl Tmpfs {
    pub fn mount(options: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        eprintln!("skipped: mounting a tmpfs needs root");
        None
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.folder.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the tmpfs must not outlive its test");
    }
}
