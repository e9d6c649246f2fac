//! `mend`: a right file built of what is right in several.

use ingest_core::Wanted;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::columns::Paths;
use crate::errors::{fault, Fault};
use crate::page::{detached, Page};
use crate::root::{identity, Identity, Root};

type PyMended<'py> =
    (Option<Identity>, Vec<(u64, u64)>, u64, Option<&'static str>, Option<&'static str>, Option<Fault<'py>>);

/// Build the file that should stand at a path, of what is right in the one that does and in others; and prove it.
#[pyfunction]
#[pyo3(signature = (root, path, size, mtime, blake3, values, other, others, staging, *, page=None))]
// The columns of one row, and the places.
#[allow(clippy::too_many_arguments)]
pub fn mend<'py>(
    py: Python<'py>,
    root: &Bound<'py, Root>,
    path: PyBackedBytes,
    size: u64,
    mtime: i64,
    blake3: PyBackedBytes,
    values: PyBackedBytes,
    other: &Bound<'py, Root>,
    others: Paths,
    staging: Option<PyBackedBytes>,
    page: Option<&Bound<'py, Page>>,
) -> PyResult<PyMended<'py>> {
    let Ok(digest) = blake3[..].try_into() else {
        return Err(PyValueError::new_err(format!("a digest of {} bytes, not 32", blake3.len())));
    };
    if values.len() % 32 != 0 {
        return Err(PyValueError::new_err(format!("{} bytes of chaining values, no multiple of 32", values.len())));
    }
    let values: Vec<[u8; 32]> = values.chunks_exact(32).filter_map(|value| value.try_into().ok()).collect();
    let wanted = Wanted { path: &path, size, mtime_ns: mtime, digest, values: &values };
    let (root, other) = (&root.get().root, &other.get().root);
    let mended = detached(py, page, |page| ingest_core::mend(root, &wanted, other, &others, staging.as_deref(), page));
    let (build, fault) = match &mended.outcome {
        Ok(build) => (*build, None),
        Err(error) => (None, Some(fault(py, error))),
    };
    let (strategy, method) = (build.map(|build| build.strategy.word()), build.map(|build| build.method.word()));
    Ok((mended.stood.as_ref().map(identity), mended.ranges, mended.fetched, strategy, method, fault))
}
