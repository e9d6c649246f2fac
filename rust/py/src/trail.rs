//! `trail`: the parts that a trail speaks of.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::exception;

type PyTrail<'py> = (u64, Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>);

/// What a trail says of the half-made copies of its file; None where there is none that can be believed.
#[pyfunction]
pub fn trail(py: Python<'_>, path: PyBackedBytes) -> PyResult<Option<PyTrail<'_>>> {
    let found = py.detach(|| ingest_core::parts(&path)).map_err(|error| exception(py, &error))?;
    let pair = |(key, name): &(Vec<u8>, Vec<u8>)| (PyBytes::new(py, key), PyBytes::new(py, name));
    Ok(found.map(|parts| (parts.size, parts.names.iter().map(pair).collect())))
}
