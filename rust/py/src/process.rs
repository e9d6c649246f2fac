//! `die_with_parent`: a worker must not outlive its supervisor.

use pyo3::prelude::*;

/// Ask the kernel to kill this process when its parent ends; False where no such request exists.
#[pyfunction]
pub fn die_with_parent() -> bool {
    #[cfg(target_os = "linux")]
    let asked = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).is_ok();
    #[cfg(not(target_os = "linux"))]
    let asked = false;
    asked
}
