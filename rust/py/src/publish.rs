//! `publish`: final names.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::columns::{equal_lengths, Paths};
use crate::errors::fault;
use crate::page::{detached, Page};
use crate::root::Root;

type PyPublished<'py> = (Vec<Option<&'static str>>, Bound<'py, PyDict>);

/// Give proven staging files their final names, without ever replacing one, and make the names durable.
#[pyfunction]
#[pyo3(signature = (root, staging, paths, *, page=None))]
pub fn publish<'py>(
    py: Python<'py>,
    root: &Bound<'py, Root>,
    staging: Paths,
    paths: Paths,
    page: Option<&Bound<'py, Page>>,
) -> PyResult<PyPublished<'py>> {
    equal_lengths(&[("staging", staging.len()), ("paths", paths.len())])?;
    let root = &root.get().root;
    let published = detached(py, page, |page| ingest_core::publish(root, &staging, &paths, page));
    let faults = PyDict::new(py);
    for (index, one) in published.iter().enumerate() {
        if let Err(error) = one {
            faults.set_item(index, fault(py, error))?;
        }
    }
    Ok((published.iter().map(|one| one.as_ref().ok().map(|how| how.word())).collect(), faults))
}
