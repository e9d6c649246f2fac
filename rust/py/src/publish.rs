//! `publish`: final names.

use pyo3::prelude::*;

use crate::columns::{equal_lengths, Paths};
use crate::errors::{fault_of, Fault};
use crate::page::{detached, Page};
use crate::root::Root;

type PyPublished<'py> = (Option<&'static str>, Option<Fault<'py>>);

/// Give proven staging files their final names, without ever replacing one, and make the names durable.
#[pyfunction]
#[pyo3(signature = (root, staging, paths, *, page=None))]
pub fn publish<'py>(
    py: Python<'py>,
    root: &Bound<'py, Root>,
    staging: Paths,
    paths: Paths,
    page: Option<&Bound<'py, Page>>,
) -> PyResult<Vec<PyPublished<'py>>> {
    equal_lengths(&[("staging", staging.len()), ("paths", paths.len())])?;
    let root = &root.get().root;
    let published = detached(py, page, |page| ingest_core::publish(root, &staging, &paths, page));
    Ok(published.iter().map(|one| (one.as_ref().ok().map(|how| how.word()), fault_of(py, one))).collect())
}
