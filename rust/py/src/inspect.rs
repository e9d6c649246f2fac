//! `inspect`: the chaining values of files' blocks, and `block_of` a size.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::columns::{equal_lengths, Paths};
use crate::errors::{fault, Fault};
use crate::page::{detached, Page};
use crate::root::Root;

type PyInspection<'py> = (Option<Bound<'py, PyBytes>>, u64, Option<&'static str>, Option<Fault<'py>>);

/// Value the blocks of files where they are, from the device as far as the file system allows, and say how.
#[pyfunction]
#[pyo3(signature = (root, paths, sizes, *, page=None))]
pub fn inspect<'py>(
    py: Python<'py>,
    root: &Bound<'py, Root>,
    paths: Paths,
    sizes: Vec<u64>,
    page: Option<&Bound<'py, Page>>,
) -> PyResult<Vec<PyInspection<'py>>> {
    equal_lengths(&[("paths", paths.len()), ("sizes", sizes.len())])?;
    let root = &root.get().root;
    let found = detached(py, page, |page| ingest_core::inspect(root, &paths, &sizes, page));
    let convert = |outcome: &ingest_core::Result<ingest_core::Inspection>| match outcome {
        Ok(found) => (Some(PyBytes::new(py, found.blocks.as_flattened())), found.size, Some(found.method.word()), None),
        Err(error) => (None, 0, None, Some(fault(py, error))),
    };
    Ok(found.iter().map(convert).collect())
}

/// The length of a block in a file of this size, in bytes.
#[pyfunction]
#[pyo3(signature = (size))]
pub fn block_of(size: u64) -> u64 {
    ingest_core::tree::block_of(size)
}

/// The BLAKE3 of a file of this size, from the chaining values of its blocks.
#[pyfunction]
#[pyo3(signature = (size, values))]
pub fn root_of<'py>(py: Python<'py>, size: u64, values: &[u8]) -> Option<Bound<'py, PyBytes>> {
    let whole = values.len() % 32 == 0;
    let values: Vec<[u8; 32]> = values.chunks_exact(32).filter_map(|value| value.try_into().ok()).collect();
    let tree = ingest_core::tree::Tree::of(size, ingest_core::tree::block_of(size), &values);
    tree.filter(|_| whole).map(|tree| PyBytes::new(py, &tree.root()))
}
