//! How bytes move: one read, one hash, many verified copies.
//!
//! # The copy contract
//!
//! [`stage`] reads each source file exactly once, hashes it with BLAKE3 on the way and writes it to a staging
//! file on every root. Each copy is flushed to its device, once, and read back from there; only one that reads
//! as the source did is left. [`publish`] then gives it its final name, without ever replacing one. So a final
//! name means verified bytes, at any moment, whatever is interrupted.
//!
//! Who does not trust the way from the card has each source read a second time, cold, and both reads compared
//! ([`StageOptions::verify_source`]).
//!
//! What is proven is said, and nothing more: [`Method`] tells how a copy was read back, and `reread` admits that
//! nothing shows it came from the device. A drive's own memory, and a server's, cannot be excluded from here.
//!
//! What is not done here: no policy, no retry, no session, no database. One bad file never hides the others:
//! every outcome is per file, as an [`Error`] that says what was tried, on what, and what came of it.
//!
//! ```
//! use ingest_core::{publish, stage, Page, Root, RootOptions, StageOptions, Transfer};
//!
//! # let card = tempfile::tempdir()?;
//! # let archive = tempfile::tempdir()?;
//! # std::fs::write(card.path().join("A001.mov"), b"irreplaceable")?;
//! # let modified = std::fs::metadata(card.path().join("A001.mov"))?.modified()?;
//! # let mtime_ns = modified.duration_since(std::time::UNIX_EPOCH)?.as_nanos() as i64;
//! let source = Root::open(card.path().as_os_str().as_encoded_bytes(), RootOptions::default())?;
//! let root = Root::open(archive.path().as_os_str().as_encoded_bytes(), RootOptions::default())?;
//! let page = Page::private();
//!
//! let transfer = Transfer { item: 0, path: b"A001.mov", size: 13, mtime_ns };
//! let staging: &[u8] = b".ingest/staging/0.part";
//! let batch = stage(&source, &[&root], &[transfer], &[vec![staging]], StageOptions::default(), &page)?;
//! assert_eq!(batch.staged[0].digest(), Some(ingest_core::digest::of(b"irreplaceable")));
//! assert!(batch.staged[0].copies[0].outcome.is_ok());
//!
//! let published = publish(&root, &[staging], &[b"shoot/A001.mov"], &page);
//! assert!(published[0].is_ok());
//! assert_eq!(std::fs::read(archive.path().join("shoot/A001.mov"))?, b"irreplaceable");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod again;
mod algorithms;
mod behind;
mod buffer;
mod checks;
mod clone;
mod conclude;
mod content;
mod copy;
mod devices;
pub mod digest;
mod direct;
mod error;
mod exchange;
mod flush;
mod folders;
mod gather;
mod inspect;
mod lanes;
mod leftover;
mod memory;
mod mend;
mod mismatch;
mod parents;
#[cfg(test)]
mod pattern;
mod place;
mod platform;
mod progress;
mod prove;
mod publish;
mod pump;
mod readback;
mod resume;
mod ring;
mod root;
mod sample;
mod sink;
mod source;
mod spread;
mod stage;
mod start;
mod story;
mod threads;
mod told;
mod trail;
mod transfer;
pub mod tree;
mod verify;
pub mod volume;
mod window;

pub use algorithms::{Algorithm, Algorithms, Sum, Sums};
pub use buffer::{buffer_is_valid, BUFFER_MAX, BUFFER_MIN};
pub use clone::Strategy;
pub use content::Content;
pub use error::{Error, Kind, Result};
pub use exchange::{exchange, Exchange};
pub use folders::{discard, make_folders, settle};
pub use inspect::{inspect, Inspection};
pub use memory::pages_in_memory;
pub use mend::{mend, Build, Mended, Wanted};
pub use platform::Stat;
pub use progress::{Page, WORDS};
pub use prove::{prove, Proof};
pub use publish::{publish, Publication};
pub use root::{Root, RootOptions};
pub use sink::SMALL;
pub use source::Mode;
pub use stage::{stage, FEW};
pub use told::{parts, Parts};
pub use trail::LEAST as TRAIL_LEAST;
pub use transfer::{Batch, Partial, Spent, StageOptions, Staged, Transfer, Verdict, THREADS_MAX};
pub use volume::{reliance, Method, Reliance};
