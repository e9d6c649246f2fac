//! Columns of a batch: how they come in, and that they fit together.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// A column of paths, borrowed from the Python objects that hold them.
pub type Paths = Vec<PyBackedBytes>;

/// Fails unless every column is as long as the first.
pub fn equal_lengths(columns: &[(&str, usize)]) -> PyResult<()> {
    let Some((first, length)) = columns.first() else { return Ok(()) };
    match columns.iter().find(|(_, other)| other != length) {
        None => Ok(()),
        Some((name, other)) => Err(PyValueError::new_err(format!("{name} has {other} entries, {first} has {length}"))),
    }
}

/// Fails unless the buffer size is one that the engine takes.
pub fn valid_buffer(bytes: usize) -> PyResult<()> {
    if ingest_core::buffer_is_valid(bytes) {
        return Ok(());
    }
    let (least, most) = (ingest_core::BUFFER_MIN, ingest_core::BUFFER_MAX);
    Err(PyValueError::new_err(format!("buffer must be a power of two from {least} to {most}, not {bytes}")))
}
