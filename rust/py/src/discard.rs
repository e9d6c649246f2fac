//! `discard`: remove files.

use pyo3::prelude::*;

use crate::columns::Paths;
use crate::errors::{fault_of, Fault};
use crate::root::Root;

/// Remove files; one that is already gone is no fault.
#[pyfunction]
pub fn discard<'py>(py: Python<'py>, root: &Bound<'py, Root>, paths: Paths) -> Vec<Option<Fault<'py>>> {
    let root = &root.get().root;
    let removed = py.detach(|| ingest_core::discard(root, &paths));
    removed.iter().map(|one| fault_of(py, one)).collect()
}
