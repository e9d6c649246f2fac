//! `stage`: copy a batch, each file read once, and prove every copy.

use ingest_core::{Algorithm, Batch, Mode, Partial, Spent, StageOptions, Strategy, Transfer, THREADS_MAX};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use crate::columns::{equal_lengths, valid_buffer, Paths};
use crate::errors::{exception, fault};
use crate::hash::algorithms;
use crate::page::{detached, Page};
use crate::root::Root;

type Words = Vec<Option<&'static str>>;
type PyCopies<'py> = (Words, Vec<i64>, Vec<i64>, Words, Bound<'py, PyDict>);
type PySpent = (u64, u64, u64);
type PyStaged<'py> = (
    Bound<'py, PyBytes>,
    Vec<u64>,
    Vec<i64>,
    Vec<i64>,
    Bound<'py, PyDict>,
    Vec<PyCopies<'py>>,
    PySpent,
    Bound<'py, PyDict>,
    Vec<Bound<'py, PyBytes>>,
    Bound<'py, PyDict>,
    Bound<'py, PyDict>,
    Vec<usize>,
);

/// Copy a batch of files, each read once, into staging files on every root, and prove them.
#[pyfunction]
#[pyo3(signature = (
    source, roots, items, paths, sizes, mtimes, staging, *,
    mode="read", buffer=1_048_576, threads=1, disks=Vec::new(), together=false, keep_cache=false, hashes=Vec::new(),
    strategy="copy", verify_source=false, trails=None, keys=Vec::new(), volume=None, page=None
))]
#[pyo3(
    text_signature = "(source, roots, items, paths, sizes, mtimes, staging, *, mode='read', buffer=1048576, threads=1, disks=(), together=False, keep_cache=False, hashes=(), strategy='copy', verify_source=False, trails=None, keys=(), volume=b'', page=None)"
)]
// One argument per column and option of the contract.
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
    threads: usize,
    disks: Vec<usize>,
    together: bool,
    keep_cache: bool,
    hashes: Vec<String>,
    strategy: &str,
    verify_source: bool,
    trails: Option<PyBackedBytes>,
    keys: Paths,
    volume: Option<PyBackedBytes>,
    page: Option<&Bound<'py, Page>>,
) -> PyResult<PyStaged<'py>> {
    let columns = [("items", items.len()), ("paths", paths.len()), ("sizes", sizes.len()), ("mtimes", mtimes.len())];
    equal_lengths(&columns)?;
    equal_lengths(&[("roots", roots.len()), ("staging", staging.len())])?;
    for column in &staging {
        equal_lengths(&[("items", items.len()), ("a column of staging", column.len())])?;
    }
    if trails.is_some() {
        equal_lengths(&[("roots", roots.len()), ("keys", keys.len())])?;
    }
    if !disks.is_empty() {
        equal_lengths(&[("roots", roots.len()), ("disks", disks.len())])?;
    }
    valid_buffer(buffer)?;
    if !(1..=THREADS_MAX).contains(&threads) {
        return Err(PyValueError::new_err(format!("threads must be from 1 to {THREADS_MAX}, not {threads}")));
    }
    let mode = match mode {
        "read" => Mode::Read,
        "mmap" => Mode::Mmap,
        "direct" => Mode::Direct,
        other => return Err(PyValueError::new_err(format!("mode must be read, mmap or direct, not {other:?}"))),
    };
    let hashes = algorithms(&hashes)?;
    let wanted = hashes.iter().copied().collect();
    let strategy = Strategy::of(strategy).ok_or_else(|| {
        PyValueError::new_err(format!("strategy must be copy, reflink or hardlink, not {strategy:?}"))
    })?;
    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
    let volume = volume.as_deref().unwrap_or_default();
    let partial = trails.as_deref().map(|folder| Partial { folder, keys: &keys, volume });
    let disks = disks.as_slice();
    let options = StageOptions {
        mode,
        buffer,
        threads,
        disks,
        together,
        keep_cache,
        hashes: wanted,
        strategy,
        verify_source,
        partial,
    };
    let source = &source.get().root;
    let roots: Vec<&ingest_core::Root> = roots.iter().map(|root| &root.get().root).collect();
    let batch = detached(py, page, |page| {
        let columns = items.iter().zip(&paths).zip(sizes.iter().zip(&mtimes));
        let transfers: Vec<Transfer<'_>> =
            columns.map(|((&item, path), (&size, &mtime_ns))| Transfer { item, path, size, mtime_ns }).collect();
        let staging: Vec<Vec<&[u8]>> =
            staging.iter().map(|column| column.iter().map(|path| &**path).collect()).collect();
        ingest_core::stage(source, &roots, &transfers, &staging, options, page)
    });
    match batch {
        Ok(batch) => columns_of(py, &batch, roots.len(), &hashes),
        Err(error) => Err(exception(py, &error)),
    }
}

/// The answer, turned from one record per file to columns: Python then makes no object per file that it does not
/// keep.
fn columns_of<'py>(py: Python<'py>, batch: &Batch, roots: usize, hashes: &[Algorithm]) -> PyResult<PyStaged<'py>> {
    let staged = &batch.staged;
    let digests = PyBytes::new_with(py, staged.len() * 32, |bytes| {
        for (place, one) in bytes.chunks_exact_mut(32).zip(staged) {
            place.copy_from_slice(&one.digest().unwrap_or_default());
        }
        Ok(())
    })?;
    let faults = PyDict::new(py);
    for (index, one) in staged.iter().enumerate() {
        if let Some(error) = &one.fault {
            faults.set_item(index, fault(py, error))?;
        }
    }
    let blocks = PyDict::new(py);
    for (index, one) in staged.iter().enumerate() {
        let Some(values) = one.content.as_ref().map(|content| content.blocks.as_flattened()) else { continue };
        if !values.is_empty() {
            blocks.set_item(index, PyBytes::new(py, values))?;
        }
    }
    let resumed = PyDict::new(py);
    for (index, one) in staged.iter().enumerate() {
        if one.resumed > 0 {
            resumed.set_item(index, one.resumed)?;
        }
    }
    let unshown = PyDict::new(py);
    for (index, one) in staged.iter().enumerate() {
        if !one.unshown.is_empty() {
            unshown.set_item(index, &one.unshown)?;
        }
    }
    let copies = (0..roots).map(|root| copies_of(py, batch, root)).collect::<PyResult<_>>()?;
    let more = hashes.iter().map(|&algorithm| sums_of(py, batch, algorithm)).collect::<PyResult<_>>()?;
    let Spent { copying, flushing, reading_back } = batch.spent;
    Ok((
        digests,
        staged.iter().map(|one| one.bytes_read).collect(),
        staged.iter().map(|one| one.started_ns).collect(),
        staged.iter().map(|one| one.copied_ns).collect(),
        faults,
        copies,
        (copying, flushing, reading_back),
        blocks,
        more,
        resumed,
        unshown,
        staged.iter().enumerate().filter(|(_, one)| one.warm).map(|(index, _)| index).collect(),
    ))
}

/// One digest of every file; zeros where there is none.
fn sums_of<'py>(py: Python<'py>, batch: &Batch, algorithm: Algorithm) -> PyResult<Bound<'py, PyBytes>> {
    let width = algorithm.width();
    PyBytes::new_with(py, batch.staged.len() * width, |bytes| {
        for (place, one) in bytes.chunks_exact_mut(width).zip(&batch.staged) {
            if let Some(sum) = one.content.as_ref().and_then(|content| content.sums.of(algorithm)) {
                place.copy_from_slice(sum);
            }
        }
        Ok(())
    })
}

fn copies_of<'py>(py: Python<'py>, batch: &Batch, root: usize) -> PyResult<PyCopies<'py>> {
    let copies = || batch.staged.iter().map(|one| &one.copies[root]);
    let faults = PyDict::new(py);
    for (index, (one, copy)) in batch.staged.iter().zip(copies()).enumerate() {
        if let (None, Err(error)) = (&one.fault, &copy.outcome) {
            faults.set_item(index, fault(py, error))?;
        }
    }
    Ok((
        copies().map(|copy| copy.outcome.as_ref().ok().map(|method| method.word())).collect(),
        copies().map(|copy| copy.validated_ns).collect(),
        copies().map(|copy| copy.mtime_ns).collect(),
        copies().map(|copy| copy.strategy.map(Strategy::word)).collect(),
        faults,
    ))
}
