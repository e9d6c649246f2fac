//! `reliance`: what the choices of a copy rest on.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// Whether one flush of the file system that a path is on may stand for one of each file, and whether what was written
/// there can be dropped from memory.
#[pyfunction]
#[pyo3(signature = (path, *, served=false))]
pub fn reliance(py: Python<'_>, path: PyBackedBytes, served: bool) -> (bool, bool) {
    let found = py.detach(|| ingest_core::reliance(&path, served));
    (found.together, found.evictable)
}
