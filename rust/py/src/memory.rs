//! `pages_in_memory`: what of files this machine has in memory.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::columns::Paths;
use crate::errors::exception;
use crate::root::Root;

/// How many pages of each file the page cache holds, None where nobody can tell, the error where it cannot be opened.
#[pyfunction]
pub fn pages_in_memory<'py>(py: Python<'py>, root: &Bound<'py, Root>, paths: Paths) -> PyResult<Bound<'py, PyList>> {
    let root = &root.get().root;
    let told = py.detach(|| ingest_core::pages_in_memory(root, &paths));
    let entry = |outcome| -> PyResult<Bound<'py, PyAny>> {
        match outcome {
            Ok(None) => Ok(py.None().into_bound(py)),
            Ok(Some(pages)) => Ok(u64::into_pyobject(pages, py)?.into_any()),
            Err(error) => Ok(exception(py, &error).into_value(py).into_bound(py).into_any()),
        }
    };
    PyList::new(py, told.into_iter().map(entry).collect::<PyResult<Vec<_>>>()?)
}
