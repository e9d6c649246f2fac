//! What went wrong with one file, said so that a person can act on it and a program can decide on it.

use std::fmt;
use std::io;

use crate::platform;

/// What sort of failure this is, and so who has to act: the system, the source, the copy or the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The system refused; the error number says why.
    Io,
    /// The source is not what the scan saw, or changed while it was read.
    Changed,
    /// The source gave different bytes when it was read a second time.
    Unstable,
    /// The copy does not read back as it was written.
    Mismatch,
    /// The caller asked to stop.
    Cancelled,
}

impl Kind {
    /// The word for this kind, the same in logs, manifests and Python.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Changed => "changed",
            Self::Unstable => "unstable",
            Self::Mismatch => "mismatch",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One failure: what was tried, on which file, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The sort of failure.
    pub kind: Kind,
    /// The system call or step: `open`, `read`, `write`, `fsync`, `verify`, `rename` …
    pub op: &'static str,
    /// The file concerned, absolute as far as it is known, as bytes.
    pub path: Vec<u8>,
    /// The system's error number, 0 where no system call failed.
    pub errno: i32,
    /// One English sentence.
    pub detail: String,
    /// Up to 16 differing byte ranges of a mismatch, or those that a read of a source asked for in vain, each
    /// `(start, end)` with `end` excluded.
    pub ranges: Vec<(u64, u64)>,
}

/// What every fallible function here returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A system call failed.
    #[must_use]
    pub fn io(op: &'static str, path: Vec<u8>, error: &io::Error) -> Self {
        let errno = platform::errno(error);
        let detail = match errno {
            libc::ELOOP => "a symbolic link stands in the way, and links are never followed".to_owned(),
            libc::EXDEV if op != "rename" && op != "link" => {
                "the path leads to another mount, or out of its root".to_owned()
            }
            // The number has its own field; the standard library appends it to the sentence.
            _ => error.to_string().split(" (os error").next().unwrap_or_default().to_owned(),
        };
        Self { kind: Kind::Io, op, path, errno, detail, ranges: Vec::new() }
    }

    /// A failure that no system call reported.
    #[must_use]
    pub fn found(kind: Kind, op: &'static str, path: Vec<u8>, detail: impl Into<String>) -> Self {
        Self { kind, op, path, errno: 0, detail: detail.into(), ranges: Vec::new() }
    }

    /// A refusal that the system would have answered with `errno`.
    #[must_use]
    pub fn refused(op: &'static str, path: Vec<u8>, errno: i32, detail: impl Into<String>) -> Self {
        Self { kind: Kind::Io, op, path, errno, detail: detail.into(), ranges: Vec::new() }
    }

    /// The caller set the cancel flag.
    #[must_use]
    pub fn cancelled(op: &'static str, path: Vec<u8>) -> Self {
        Self::found(Kind::Cancelled, op, path, "cancelled on request")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {}", self.op, String::from_utf8_lossy(&self.path), self.detail)
    }
}

impl std::error::Error for Error {}
