//! `Root`: a pinned folder.

use ingest_core::RootOptions;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::columns::Paths;
use crate::errors::exception;

/// What `_native.pyi` calls an `Identity`.
pub type Identity = (u32, u64, i64, u64, u64, u64);

/// What one path is, as a tuple.
pub fn identity(stat: &ingest_core::Stat) -> Identity {
    (stat.mode, stat.size, stat.mtime_ns, stat.dev, stat.ino, stat.nlink)
}

/// A folder, pinned: the directory is opened once and everything happens beneath that descriptor.
#[pyclass(frozen, module = "ingest._native")]
pub struct Root {
    pub root: ingest_core::Root,
}

#[pymethods]
impl Root {
    #[new]
    #[pyo3(signature = (path, *, cross=false, served=false))]
    fn new(py: Python<'_>, path: pyo3::pybacked::PyBackedBytes, cross: bool, served: bool) -> PyResult<Self> {
        let root = py.detach(|| ingest_core::Root::open(&path, RootOptions { cross, served }));
        root.map(|root| Self { root }).map_err(|error| exception(py, &error))
    }

    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.root.path())
    }

    #[getter]
    fn dev(&self) -> u64 {
        self.root.dev()
    }

    #[getter]
    fn ino(&self) -> u64 {
        self.root.ino()
    }

    /// The file system's type, as statfs(2) numbers it; 0 where it is not known.
    #[getter]
    fn magic(&self) -> u64 {
        self.root.magic()
    }

    /// How copies here can be read back: evicted, direct or reread.
    #[getter]
    fn cold(&self) -> &'static str {
        self.root.cold().word()
    }

    /// Raise `OSError` unless the root's path still leads to the pinned folder.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.root.check()).map_err(|error| exception(py, &error))
    }

    /// What stands at each path: None where nothing does, the error where that cannot be told.
    fn lstat<'py>(&self, py: Python<'py>, paths: Paths) -> PyResult<Bound<'py, PyList>> {
        let found = py.detach(|| self.root.lstat(&paths));
        let entry = |outcome| -> PyResult<Bound<'py, PyAny>> {
            match outcome {
                Ok(None) => Ok(py.None().into_bound(py)),
                Ok(Some(stat)) => Ok(identity(&stat).into_pyobject(py)?.into_any()),
                Err(error) => Ok(exception(py, &error).into_value(py).into_bound(py).into_any()),
            }
        };
        PyList::new(py, found.into_iter().map(entry).collect::<PyResult<Vec<_>>>()?)
    }

    /// A new descriptor of a folder beneath the root, for use as `dir_fd`. The caller closes it.
    fn open_folder(&self, py: Python<'_>, path: pyo3::pybacked::PyBackedBytes) -> PyResult<i32> {
        py.detach(|| self.root.open_folder(&path)).map_err(|error| exception(py, &error))
    }

    fn __repr__(&self) -> String {
        format!("Root({:?})", String::from_utf8_lossy(self.root.path()))
    }
}
