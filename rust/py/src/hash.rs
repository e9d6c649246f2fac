//! `blake3`: the digest of some bytes in memory.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

/// The BLAKE3 digest of some bytes in memory.
#[pyfunction]
pub fn blake3(py: Python<'_>, data: PyBackedBytes) -> Bound<'_, PyBytes> {
    let digest = py.detach(|| ingest_core::digest::of(&data));
    PyBytes::new(py, &digest)
}
