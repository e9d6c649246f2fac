//! The extension module `ingest._native`. Its contract is `python/ingest/_native.pyi`; this crate only carries
//! arguments in and results out, one thin file per function, and never holds the interpreter while it works.

// Arguments arrive converted from Python objects, by value.
#![allow(clippy::needless_pass_by_value)]

use pyo3::prelude::*;

mod columns;
mod discard;
mod errors;
mod exchange;
mod folders;
mod hash;
mod inspect;
mod memory;
mod mend;
mod page;
mod process;
mod prove;
mod publish;
mod reliance;
mod root;
mod settle;
mod stage;
mod trail;

#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::discard::discard;
    #[pymodule_export]
    use crate::exchange::exchange;
    #[pymodule_export]
    use crate::folders::make_folders;
    #[pymodule_export]
    use crate::hash::blake3;
    #[pymodule_export]
    use crate::inspect::{block_of, inspect, root_of};
    #[pymodule_export]
    use crate::memory::pages_in_memory;
    #[pymodule_export]
    use crate::mend::mend;
    #[pymodule_export]
    use crate::page::Page;
    #[pymodule_export]
    use crate::process::die_with_parent;
    #[pymodule_export]
    use crate::prove::prove;
    #[pymodule_export]
    use crate::publish::publish;
    #[pymodule_export]
    use crate::reliance::reliance;
    #[pymodule_export]
    use crate::root::Root;
    #[pymodule_export]
    use crate::settle::settle;
    #[pymodule_export]
    use crate::stage::stage;
    #[pymodule_export]
    use crate::trail::trail;

    #[pymodule_export]
    const PAGE_WORDS: usize = ingest_core::WORDS;
    #[pymodule_export]
    const BUFFER_MIN: usize = ingest_core::BUFFER_MIN;
    #[pymodule_export]
    const BUFFER_MAX: usize = ingest_core::BUFFER_MAX;
    #[pymodule_export]
    const THREADS_MAX: usize = ingest_core::THREADS_MAX;
    #[pymodule_export]
    const TRAIL_LEAST: u64 = ingest_core::TRAIL_LEAST;
    #[pymodule_export]
    const SMALL: u64 = ingest_core::SMALL;
    #[pymodule_export]
    const FEW: usize = ingest_core::FEW;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("HASHES", crate::hash::widths(module.py())?)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
