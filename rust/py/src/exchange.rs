//! `exchange`: a proven file in the place of a damaged one.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::{fault, Fault};
use crate::page::{detached, Page};
use crate::root::{Identity, Root};

/// Give a proven staging file the name of a damaged one, and the damaged one the name `slot`, which must be free.
#[pyfunction]
#[pyo3(signature = (root, staging, path, slot, stood, *, page=None))]
pub fn exchange<'py>(
    py: Python<'py>,
    root: &Bound<'py, Root>,
    staging: PyBackedBytes,
    path: PyBackedBytes,
    slot: PyBackedBytes,
    stood: Identity,
    page: Option<&Bound<'py, Page>>,
) -> (Option<&'static str>, Option<Fault<'py>>) {
    let root = &root.get().root;
    let (mode, size, mtime_ns, dev, ino, nlink) = stood;
    let stood = ingest_core::Stat { mode, size, mtime_ns, dev, ino, nlink };
    match detached(py, page, |page| ingest_core::exchange(root, &staging, &path, &slot, &stood, page)) {
        Ok(how) => (Some(how.word()), None),
        Err(error) => (None, Some(fault(py, &error))),
    }
}
