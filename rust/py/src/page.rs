//! `Page`: a view of a worker's shared page.

use std::ptr::NonNull;

use ingest_core::WORDS;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A view of a worker's shared page, `PAGE_WORDS` words of memory that another process may read and set while
/// work goes on. Without a buffer the page is private to this object.
#[pyclass(frozen, module = "ingest._native")]
pub struct Page {
    pub page: ingest_core::Page,
}

#[pymethods]
impl Page {
    #[new]
    #[pyo3(signature = (buffer=None))]
    fn new(buffer: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(buffer) = buffer else { return Ok(Self { page: ingest_core::Page::private() }) };
        let view = PyUntypedBuffer::get(buffer)?;
        let words = view.buf_ptr().cast::<u64>();
        let problem = match () {
            () if view.readonly() => "the buffer is read-only",
            () if !view.is_c_contiguous() => "the buffer is not contiguous",
            () if view.len_bytes() < WORDS * size_of::<u64>() => "the buffer is too small",
            () if !words.is_aligned() => "the buffer is not aligned to 8 bytes",
            () => "",
        };
        let Some(words) = NonNull::new(words).filter(|_| problem.is_empty()) else {
            return Err(PyValueError::new_err(problem));
        };
        // SAFETY: the memory is writable, contiguous, aligned and long enough, as checked above. The view is the
        // owner: while it is held, the buffer protocol forbids the exporter to move or free the memory. Other
        // processes and Python code access the page by whole words, as its contract asks; one that does not
        // can at worst see or leave a torn number.
        let page = unsafe { ingest_core::Page::over(words, Box::new(view)) };
        Ok(Self { page })
    }

    /// The page's words, as they are at this moment.
    fn words(&self) -> Vec<u64> {
        self.page.words()
    }

    /// Set the cancel flag: work that shows this page stops within one buffer.
    fn cancel(&self) {
        self.page.cancel();
    }
}

/// Runs `work` without the interpreter, on the page given or on one that nobody sees.
pub fn detached<T: Send>(
    py: Python<'_>,
    page: Option<&Bound<'_, Page>>,
    work: impl FnOnce(&ingest_core::Page) -> T + Send,
) -> T {
    match page {
        Some(page) => {
            let page = &page.get().page;
            py.detach(|| work(page))
        }
        None => py.detach(|| work(&ingest_core::Page::private())),
    }
}
