//! The disks that a call writes to: roots on one of them take turns, several are worked on side by side.
//!
//! Roots of one file system are on one disk. Whether two file systems are is not to be seen from here: the caller says so
//! where it matters, which is where the disk seeks.

use std::sync::Arc;

use crate::behind::Behind;
use crate::root::Root;
use crate::volume;

/// File systems that are worked on in turn.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) devices: Vec<Device>,
    /// Where big files go while they are written; none where pages cannot be dropped, or none are big.
    pub(crate) behind: Option<Arc<Behind>>,
}

/// Roots that share a file system.
pub(crate) struct Device {
    pub(crate) roots: Vec<usize>,
    /// Small files here may be flushed by one request for the file system.
    pub(crate) together: bool,
    /// Pages here can be dropped, and so big files can be written behind.
    evictable: bool,
}

impl Disk {
    /// The roots on it, those of one file system after those of another.
    pub(crate) fn roots(&self) -> impl Iterator<Item = usize> + '_ {
        self.devices.iter().flat_map(|device| device.roots.iter().copied())
    }
}

/// The disks of these roots, in the order of the first root on each. `named` has a number for each root, equal for
/// those on one disk, or is empty. `big`: files come that are worth writing behind.
pub(crate) fn disks(roots: &[&Root], named: &[usize], together: bool, big: bool) -> Vec<Disk> {
    let mut disks: Vec<Disk> = Vec::new();
    for (index, root) in roots.iter().enumerate() {
        let beside = |other: usize| {
            roots[other].dev() == root.dev() || named.get(index).is_some_and(|name| named.get(other) == Some(name))
        };
        let at = disks.iter().position(|disk| disk.roots().any(beside)).unwrap_or_else(|| {
            disks.push(Disk::default());
            disks.len() - 1
        });
        let disk = &mut disks[at];
        let evictable = root.coldness().evictable;
        if big && evictable {
            disk.behind.get_or_insert_with(Arc::default);
        }
        if let Some(device) = disk.devices.iter_mut().find(|device| roots[device.roots[0]].dev() == root.dev()) {
            device.roots.push(index);
        } else {
            let together = together && volume::flushes_together(root.magic());
            disk.devices.push(Device { roots: vec![index], together, evictable });
        }
    }
    disks
}

/// Who writes a root's big files behind.
pub(crate) fn behind(disks: &[Disk], root: usize) -> Option<&Arc<Behind>> {
    let on = |disk: &&Disk| disk.devices.iter().any(|device| device.evictable && device.roots.contains(&root));
    disks.iter().find(on)?.behind.as_ref()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;
    use crate::root::RootOptions;

    /// Two folders of one file system and one of another, in the order one, other, one; none where there is no other.
    fn roots() -> Option<[Root; 3]> {
        let open = |path: &Path| Root::open(path.as_os_str().as_bytes(), RootOptions::default()).ok();
        let here = std::env::temp_dir();
        let [one, other, same] = [open(&here)?, open(Path::new("/dev/shm"))?, open(&here)?];
        if one.dev() == other.dev() {
            return None;
        }
        Some([one, other, same])
    }

    fn grouped(named: &[usize]) -> Option<Vec<Vec<Vec<usize>>>> {
        let roots = roots()?;
        let roots: Vec<&Root> = roots.iter().collect();
        let disks = disks(&roots, named, true, true);
        Some(disks.into_iter().map(|disk| disk.devices.into_iter().map(|device| device.roots).collect()).collect())
    }

    #[test]
    fn roots_of_one_file_system_take_turns_and_two_are_worked_on_side_by_side() {
        for named in [[].as_slice(), &[0, 1, 0], &[0, 1, 2]] {
            let Some(grouped) = grouped(named) else { return eprintln!("skipped: there is only one file system here") };

            assert_eq!(grouped, [vec![vec![0, 2]], vec![vec![1]]]);
        }
    }

    #[test]
    fn file_systems_on_one_disk_take_turns_and_each_keeps_its_own_flush() {
        let Some(grouped) = grouped(&[7, 7, 7]) else {
            return eprintln!("skipped: there is only one file system here");
        };

        assert_eq!(grouped, [vec![vec![0, 2], vec![1]]]);
    }

    #[test]
    fn what_lives_in_memory_is_not_written_behind_though_its_neighbour_is() {
        let Some(roots) = roots() else { return eprintln!("skipped: there is only one file system here") };
        let roots: Vec<&Root> = roots.iter().collect();
        let disks = disks(&roots, &[7, 7, 7], true, true);

        for (index, root) in roots.iter().enumerate() {
            assert_eq!(behind(&disks, index).is_some(), root.coldness().evictable);
        }
        assert!(disks.iter().all(|disk| disk.behind.is_some()) || !roots[0].coldness().evictable);
    }
}
