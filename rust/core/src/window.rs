//! Windows of a file that is read by being mapped.

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

use crate::platform;
use crate::source::STEP;

/// Bytes mapped at a time: what is to be dropped from the cache must be unmapped first, and a file that shrank is
/// noticed between windows.
const WINDOW: u64 = STEP;

/// A part of a file, mapped.
pub(crate) struct Window {
    start: u64,
    map: Mmap,
}

/// Where the window around an offset begins and ends, in a file of this size.
pub(crate) fn around(offset: u64, size: u64) -> (u64, u64) {
    let start = offset - offset % WINDOW;
    (start, size.min(start + WINDOW))
}

impl Window {
    pub(crate) fn new(start: u64, map: Mmap) -> Self {
        Self { start, map }
    }

    /// Where in the file it begins.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// So many bytes from an offset of the file on; none if they are not all within it.
    pub(crate) fn bytes(&self, from: u64, bytes: usize) -> Option<&[u8]> {
        let at = usize::try_from(from.checked_sub(self.start)?).ok()?;
        self.map.get(at..at.checked_add(bytes)?)
    }
}

/// Maps a part of a file that is a source, and was just seen to be as long as it should be; none where it must be read
/// instead.
pub(crate) fn map(file: &File, length: usize, offset: u64) -> io::Result<Option<Mmap>> {
    // SAFETY: the map is only read, and dropped before the file. Its bytes may change if someone writes to the
    // source meanwhile: they are only hashed and written, never interpreted, and every copy is read back and
    // compared with the hash. A source that is cut off beneath the map ends the process with SIGBUS, which is
    // this mode's documented price.
    match unsafe { MmapOptions::new().offset(offset).len(length).map(file) } {
        Ok(map) => {
            #[cfg(unix)]
            let _hint = map.advise(memmap2::Advice::Sequential);
            Ok(Some(map))
        }
        Err(error) if matches!(platform::errno(&error), libc::ENODEV | libc::EINVAL | libc::EACCES) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn windows_follow_each_other_to_the_end_of_the_file() {
        let size = 2 * WINDOW + 5;
        assert_eq!(around(0, size), (0, WINDOW));
        assert_eq!(around(WINDOW - 1, size), (0, WINDOW));
        assert_eq!(around(WINDOW, size), (WINDOW, 2 * WINDOW));
        assert_eq!(around(size - 1, size), (2 * WINDOW, size));
    }

    #[test]
    fn a_window_gives_the_bytes_that_lie_in_it_and_no_others() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();

        let window = Window::new(0, map(&file, 8, 0).unwrap().unwrap());

        assert_eq!(window.bytes(2, 3), Some(&b"234"[..]));
        assert_eq!(window.bytes(6, 2), Some(&b"67"[..]));
        assert_eq!((window.bytes(6, 3), window.bytes(9, 0)), (None, None));
        assert_eq!(Window::new(4096, window.map).bytes(0, 1), None);
    }
}
