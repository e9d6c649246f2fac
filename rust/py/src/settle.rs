//! `settle`: flush the folders that lead to files.

use pyo3::prelude::*;

use crate::columns::Paths;
use crate::errors::{fault_of, Fault};
use crate::root::Root;

/// Flush the folders that lead to each path, up to the root: what makes a name durable that was found.
#[pyfunction]
pub fn settle<'py>(py: Python<'py>, root: &Bound<'py, Root>, paths: Paths) -> Vec<Option<Fault<'py>>> {
    let root = &root.get().root;
    let settled = py.detach(|| ingest_core::settle(root, &paths));
    settled.iter().map(|one| fault_of(py, one)).collect()
}
