//! The only place where the engine's errors become Python's.

use ingest_core::Error;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// What `_native.pyi` calls a `Fault`.
pub type Fault<'py> = (&'static str, &'static str, i32, Bound<'py, PyBytes>, String, Vec<(u64, u64)>);

/// An error as data, for results that are said per file.
pub fn fault<'py>(py: Python<'py>, error: &Error) -> Fault<'py> {
    let path = PyBytes::new(py, &error.path);
    (error.kind.word(), error.op, error.errno, path, error.detail.clone(), error.ranges.clone())
}

/// The fault of a result, if it has one.
pub fn fault_of<'py, T>(py: Python<'py>, result: &ingest_core::Result<T>) -> Option<Fault<'py>> {
    result.as_ref().err().map(|error| fault(py, error))
}

/// An error as an exception; Python makes it `FileNotFoundError`, `PermissionError` … by its number.
pub fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let detail = format!("{}: {}", error.op, error.detail);
    PyOSError::new_err((error.errno, detail, PyBytes::new(py, &error.path).unbind()))
}
