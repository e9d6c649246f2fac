//! The devices that a call writes to: roots on one of them take turns, several are worked on side by side.

use std::sync::Arc;

use crate::behind::Behind;
use crate::root::Root;
use crate::volume;

/// Roots that share a device, and are worked on in turn.
pub(crate) struct Device {
    pub(crate) roots: Vec<usize>,
    /// Small files here may be flushed by one request for the file system.
    pub(crate) together: bool,
    /// Where big files go while they are written; none where pages cannot be dropped, or none are big.
    pub(crate) behind: Option<Arc<Behind>>,
}

/// The devices of these roots, in the order of the first root on each. `big`: files come that are worth writing behind.
pub(crate) fn devices(roots: &[&Root], together: bool, big: bool) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for (index, root) in roots.iter().enumerate() {
        let together = together && volume::flushes_together(root.magic());
        let behind = (big && root.coldness().evictable).then(Arc::default);
        match devices.iter_mut().find(|device| roots[device.roots[0]].dev() == root.dev()) {
            Some(device) => device.roots.push(index),
            None => devices.push(Device { roots: vec![index], together, behind }),
        }
    }
    devices
}
