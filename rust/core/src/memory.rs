//! What of a file this machine has in memory.

use crate::error::{Error, Result};
use crate::parents::Parents;
use crate::platform;
use crate::root::Root;

/// How many pages of each file the page cache holds. `None` where nobody can tell: the kernel has no cachestat(2), or
/// it holds none and that says nothing, because the file system keeps its data elsewhere in memory too.
///
/// The files are opened to be read and left as they are.
#[must_use]
pub fn pages_in_memory<P: AsRef<[u8]>>(root: &Root, paths: &[P]) -> Vec<Result<Option<u64>>> {
    let mut parents = Parents::new(root);
    paths.iter().map(|path| pages(root, &mut parents, path.as_ref())).collect()
}

fn pages(root: &Root, parents: &mut Parents<'_>, path: &[u8]) -> Result<Option<u64>> {
    let (dir, name) = parents.of(path)?;
    let file = dir.open_file(name).map_err(|error| Error::io("open", root.absolute(path), &error))?;
    Ok(platform::cached(&file).map(|cached| cached.present).filter(|&held| held > 0 || root.coldness().evictable))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;
    use crate::root::RootOptions;

    #[test]
    fn what_was_just_written_is_in_memory_and_an_error_hides_nothing_else() {
        if !platform::knows_cached() {
            eprintln!("skipped: this kernel has no cachestat");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join("file")).unwrap().write_all(&[1; 10_000]).unwrap();
        let root = Root::open(folder.path().as_os_str().as_encoded_bytes(), RootOptions::default()).unwrap();

        let told = pages_in_memory(&root, &["missing", "file"]);

        assert_eq!(told[0].as_ref().unwrap_err().errno, libc::ENOENT);
        match told[1].as_ref().unwrap() {
            Some(pages) => assert!(*pages >= 3, "10,000 bytes are three pages, not {pages}"),
            None => assert!(!root.coldness().evictable, "nothing is in memory of what was just written"),
        }
    }
}
