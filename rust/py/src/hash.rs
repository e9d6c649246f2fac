//! `blake3`: the digest of some bytes in memory; and the other digests, by name.

use ingest_core::Algorithm;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

/// The BLAKE3 digest of some bytes in memory.
#[pyfunction]
pub fn blake3(py: Python<'_>, data: PyBackedBytes) -> Bound<'_, PyBytes> {
    let digest = py.detach(|| ingest_core::digest::of(&data));
    PyBytes::new(py, &digest)
}

/// The constant `HASHES`: bytes of a digest, by the name of its algorithm.
pub fn widths(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let widths = PyDict::new(py);
    for algorithm in Algorithm::ALL {
        widths.set_item(algorithm.word(), algorithm.width())?;
    }
    Ok(widths)
}

/// The algorithms of these names, each of which must be known and stand there once.
pub fn algorithms(words: &[String]) -> PyResult<Vec<Algorithm>> {
    let mut found = Vec::with_capacity(words.len());
    for word in words {
        let Some(algorithm) = Algorithm::named(word) else {
            let known = Algorithm::ALL.map(Algorithm::word).join(", ");
            return Err(PyValueError::new_err(format!("hashes must be among {known}, not {word:?}")));
        };
        if found.contains(&algorithm) {
            return Err(PyValueError::new_err(format!("hashes must differ, and {word} stands there twice")));
        }
        found.push(algorithm);
    }
    Ok(found)
}
