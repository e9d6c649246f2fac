//! `stage`: copy a batch, each file read once, and prove every copy.

use ingest_core::{Mode, StageOptions, Staged, Transfer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::columns::{equal_lengths, valid_buffer, Paths};
use crate::errors::{exception, fault, fault_of, Fault};
use crate::page::{detached, Page};
use crate::root::Root;

type PyVerdict<'py> = (Option<&'static str>, i64, i64, i64, Option<Fault<'py>>);
type PyStaged<'py> = (Option<Bound<'py, PyBytes>>, u64, i64, i64, Option<Fault<'py>>, Vec<PyVerdict<'py>>);

/// Copy a batch of files, each read once, into staging files on every root, and prove them.
#[pyfunction]
#[pyo3(signature = (source, roots, items, paths, sizes, mtimes, staging, *, mode="read", buffer=1_048_576, page=None))]
#[pyo3(
    text_signature = "(source, roots, items, paths, sizes, mtimes, staging, *, mode='read', buffer=1048576, page=None)"
)]
// One argument per column of the contract.
#[allow(clippy::too_many_arguments)]
pub fn stage<'py>(
    py: Python<'py>,
    source: &Bound<'py, Root>,
    roots: Vec<Bound<'py, Root>>,
    items: Vec<u64>,
    paths: Paths,
    sizes: Vec<u64>,
    mtimes: Vec<i64>,
    staging: Vec<Paths>,
    mode: &str,
    buffer: usize,
    page: Option<&Bound<'py, Page>>,
) -> PyResult<Vec<PyStaged<'py>>> {
    let columns = [("items", items.len()), ("paths", paths.len()), ("sizes", sizes.len()), ("mtimes", mtimes.len())];
    equal_lengths(&columns)?;
    equal_lengths(&[("roots", roots.len()), ("staging", staging.len())])?;
    for column in &staging {
        equal_lengths(&[("items", items.len()), ("a column of staging", column.len())])?;
    }
    valid_buffer(buffer)?;
    let mode = match mode {
        "read" => Mode::Read,
        "mmap" => Mode::Mmap,
        "direct" => Mode::Direct,
        other => return Err(PyValueError::new_err(format!("mode must be read, mmap or direct, not {other:?}"))),
    };
    let source = &source.get().root;
    let roots: Vec<&ingest_core::Root> = roots.iter().map(|root| &root.get().root).collect();
    let staged = detached(py, page, |page| {
        let columns = items.iter().zip(&paths).zip(sizes.iter().zip(&mtimes));
        let transfers: Vec<Transfer<'_>> =
            columns.map(|((&item, path), (&size, &mtime_ns))| Transfer { item, path, size, mtime_ns }).collect();
        let staging: Vec<Vec<&[u8]>> =
            staging.iter().map(|column| column.iter().map(|path| &**path).collect()).collect();
        ingest_core::stage(source, &roots, &transfers, &staging, StageOptions { mode, buffer }, page)
    });
    match staged {
        Ok(staged) => Ok(staged.iter().map(|one| convert(py, one)).collect()),
        Err(error) => Err(exception(py, &error)),
    }
}

fn convert<'py>(py: Python<'py>, staged: &Staged) -> PyStaged<'py> {
    let digest = staged.digest.map(|digest| PyBytes::new(py, &digest));
    let verdicts = staged.copies.iter().map(|copy| {
        let method = copy.outcome.as_ref().ok().map(|method| method.word());
        (method, copy.flushed_ns, copy.validated_ns, copy.mtime_ns, fault_of(py, &copy.outcome))
    });
    let source_fault = staged.fault.as_ref().map(|error| fault(py, error));
    (digest, staged.bytes_read, staged.started_ns, staged.copied_ns, source_fault, verdicts.collect())
}
