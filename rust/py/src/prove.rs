//! `prove`: hash files where they are.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::columns::{equal_lengths, valid_buffer, Paths};
use crate::errors::{fault, Fault};
use crate::page::{detached, Page};
use crate::root::Root;

type PyProof<'py> = (Option<Bound<'py, PyBytes>>, u64, i64, Option<&'static str>, Option<Fault<'py>>);

/// Hash files where they are; with `cold`, from the device as far as the file system allows, and say how.
#[pyfunction]
#[pyo3(signature = (root, paths, *, cold, items=Vec::new(), buffer=1_048_576, page=None))]
#[pyo3(text_signature = "(root, paths, *, cold, items=(), buffer=1048576, page=None)")]
pub fn prove<'py>(
    py: Python<'py>,
    root: &Bound<'py, Root>,
    paths: Paths,
    cold: bool,
    items: Vec<u64>,
    buffer: usize,
    page: Option<&Bound<'py, Page>>,
) -> PyResult<Vec<PyProof<'py>>> {
    if !items.is_empty() {
        equal_lengths(&[("paths", paths.len()), ("items", items.len())])?;
    }
    valid_buffer(buffer)?;
    let root = &root.get().root;
    let proofs = detached(py, page, |page| ingest_core::prove(root, &paths, &items, cold, buffer, page));
    let convert = |outcome: &ingest_core::Result<ingest_core::Proof>| match outcome {
        Ok(proof) => {
            let digest = PyBytes::new(py, &proof.digest);
            (Some(digest), proof.size, proof.mtime_ns, proof.method.map(ingest_core::Method::word), None)
        }
        Err(error) => (None, 0, 0, None, Some(fault(py, error))),
    };
    Ok(proofs.iter().map(convert).collect())
}
