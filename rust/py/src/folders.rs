//! `make_folders`: folders that a layout keeps, empty ones included.

use pyo3::prelude::*;

use crate::columns::{equal_lengths, Paths};
use crate::errors::{fault_of, Fault};
use crate::root::Root;

/// Make each folder where it is missing, durably, and give it its mtime (the deepest first).
#[pyfunction]
pub fn make_folders<'py>(
    py: Python<'py>,
    root: &Bound<'py, Root>,
    paths: Paths,
    mtimes: Vec<i64>,
) -> PyResult<Vec<Option<Fault<'py>>>> {
    equal_lengths(&[("paths", paths.len()), ("mtimes", mtimes.len())])?;
    let root = &root.get().root;
    let made = py.detach(|| ingest_core::make_folders(root, &paths, &mtimes));
    Ok(made.iter().map(|one| fault_of(py, one)).collect())
}
