//! A source file: opened read-only, read exactly once, and known to have stood still meanwhile.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use memmap2::{Mmap, MmapOptions};

use crate::error::{Error, Kind, Result};
use crate::platform::{self, Dir, Stat};

/// How source bytes are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// read(2) into the buffer.
    #[default]
    Read,
    /// Mapped in windows, hashed and written from the mapped pages. A source that shrinks or vanishes beneath
    /// the map ends the process with SIGBUS: whoever chooses this mode lives with that.
    Mmap,
    /// Around the page cache (`O_DIRECT`).
    Direct,
}

/// Bytes mapped at a time: large enough that mapping costs nothing, small enough that a worker's memory stays
/// modest and a file that shrank is noticed between windows. A multiple of every buffer size.
const WINDOW: u64 = 64 << 20;

/// An open source file, on its way from the first byte to the last.
pub(crate) struct Source {
    dir: Rc<Dir>,
    name: Vec<u8>,
    path: Vec<u8>,
    file: File,
    stat: Stat,
    mode: Mode,
    offset: u64,
    window: Option<(u64, Mmap)>,
}

impl Source {
    /// Opens a regular file, whatever its size and time.
    pub(crate) fn open(dir: Rc<Dir>, name: &[u8], path: Vec<u8>, mode: Mode) -> Result<Self> {
        let file = dir.open_file(name).map_err(|error| Error::io("open", path.clone(), &error))?;
        let stat = platform::stat_file(&file).map_err(|error| Error::io("fstat", path.clone(), &error))?;
        if !stat.is_file() {
            let errno = if stat.is_folder() { libc::EISDIR } else { libc::EINVAL };
            return Err(Error::refused("open", path, errno, "this is not a regular file"));
        }
        let mode = match mode {
            // An empty file cannot be mapped, and needs not be.
            Mode::Mmap if stat.size == 0 => Mode::Read,
            Mode::Direct if platform::set_direct(&file, true).is_err() => Mode::Read,
            other => other,
        };
        if mode == Mode::Read {
            platform::sequential(&file);
        }
        Ok(Self { dir, name: name.to_vec(), path, file, stat, mode, offset: 0, window: None })
    }

    /// Fails unless the file is what the scan saw. Inodes are not compared: FAT makes them up at every mount.
    pub(crate) fn expect(&self, size: u64, mtime_ns: i64) -> Result<()> {
        if (self.stat.size, self.stat.mtime_ns) == (size, mtime_ns) {
            return Ok(());
        }
        let what = if self.stat.size == size { "modification time" } else { "size" };
        let detail = format!("its {what} is not what the scan saw");
        Err(Error::found(Kind::Changed, "open", self.path.clone(), detail))
    }

    /// What the file was when it was opened.
    pub(crate) fn stat(&self) -> Stat {
        self.stat
    }

    /// Its full path.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The open file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The next bytes, at most a buffer of them; none after the last. What is returned may lie in the buffer or
    /// in the map.
    pub(crate) fn next<'a>(&'a mut self, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        let left = self.stat.size - self.offset;
        let want = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if want == 0 {
            self.prove_end(buffer)?;
            return Ok(&[]);
        }
        if self.mode != Mode::Mmap || !self.map(want)? {
            self.fill(buffer, want)?;
            self.offset += want as u64;
            return Ok(&buffer[..want]);
        }
        // The window lies around the offset and is at most `WINDOW` bytes, so that every number fits.
        #[allow(clippy::cast_possible_truncation)]
        let from = (self.offset % WINDOW) as usize;
        let mapped = self.window.as_ref().and_then(|(_, map)| map.get(from..from + want));
        self.offset += want as u64;
        mapped.ok_or_else(|| Error::found(Kind::Io, "map", self.path.clone(), "the window is too short"))
    }

    /// Proves that the file stood still: what is open, and what stands at its path, is what was opened.
    pub(crate) fn finish(&self) -> Result<()> {
        let now = platform::stat_file(&self.file).map_err(|error| self.fault("fstat", &error))?;
        if !now.unchanged(&self.stat) {
            return Err(self.changed("it was written to while it was read"));
        }
        match self.dir.stat(&self.name) {
            Ok(there) if there.unchanged(&self.stat) => Ok(()),
            Ok(_) => Err(self.changed("another file took its place while it was read")),
            Err(error) if platform::errno(&error) == libc::ENOENT => {
                Err(self.changed("it was removed or renamed while it was read"))
            }
            Err(error) => Err(self.fault("stat", &error)),
        }
    }

    /// Starts again at the first byte, from the device as far as that is possible, reading into the buffer.
    pub(crate) fn rewind_cold(&mut self) -> Result<()> {
        self.window = None;
        self.offset = 0;
        self.mode = if platform::set_direct(&self.file, true).is_ok() { Mode::Direct } else { Mode::Read };
        platform::evict(&self.file);
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.fault("seek", &error))?;
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8], want: usize) -> Result<()> {
        let mut have = 0;
        while have < want {
            // Direct reads take the whole buffer even at the end of the file: lengths must be whole blocks.
            let room = if self.mode == Mode::Direct { buffer.len() } else { want };
            match self.file.read(&mut buffer[have..room]) {
                Ok(0) => return Err(self.changed("it ended before the size it had")),
                Ok(bytes) => have += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.leave_direct(&error) => {}
                Err(error) => return Err(self.fault("read", &error)),
            }
        }
        if have > want {
            Err(self.changed("it is longer than the size it had"))
        } else {
            Ok(())
        }
    }

    /// After the last byte, nothing may follow.
    fn prove_end(&mut self, buffer: &mut [u8]) -> Result<()> {
        if self.mode == Mode::Read && self.window.is_none() {
            let mut probe = |file: &mut File| file.read(&mut buffer[..1]);
            return match platform::retry(|| probe(&mut self.file)) {
                Ok(0) => Ok(()),
                Ok(_) => Err(self.changed("it is longer than the size it had")),
                Err(error) => Err(self.fault("read", &error)),
            };
        }
        self.window = None;
        let now = platform::stat_file(&self.file).map_err(|error| self.fault("fstat", &error))?;
        if now.size == self.stat.size {
            Ok(())
        } else {
            Err(self.changed("its size changed while it was read"))
        }
    }

    /// Leaves direct reading where the file system or an unaligned rest does not allow it.
    fn leave_direct(&mut self, error: &io::Error) -> bool {
        let refused = matches!(platform::errno(error), libc::EINVAL | libc::EOPNOTSUPP);
        if self.mode != Mode::Direct || !refused || platform::set_direct(&self.file, false).is_err() {
            return false;
        }
        self.mode = Mode::Read;
        true
    }

    /// Maps the window that the next bytes lie in; false after falling back to reading.
    fn map(&mut self, want: usize) -> Result<bool> {
        let start = self.offset - self.offset % WINDOW;
        if self.window.as_ref().is_some_and(|(at, _)| *at == start) {
            return Ok(true);
        }
        // Unmapped first: two windows are never held at once.
        self.window = None;
        let now = platform::stat_file(&self.file).map_err(|error| self.fault("fstat", &error))?;
        if now.size != self.stat.size {
            return Err(self.changed("its size changed while it was read"));
        }
        let bytes = usize::try_from((self.stat.size - start).min(WINDOW)).unwrap_or(want);
        // SAFETY: the map is private to this value, is only read, and is dropped before the file. Its bytes may
        // change if someone writes to the source meanwhile: they are only hashed and written, never interpreted,
        // and every copy is read back and compared with the hash. A source that is cut off beneath the map ends
        // the process with SIGBUS, which is this mode's documented price.
        match unsafe { MmapOptions::new().offset(start).len(bytes).map(&self.file) } {
            Ok(map) => {
                #[cfg(unix)]
                let _hint = map.advise(memmap2::Advice::Sequential);
                self.window = Some((start, map));
                Ok(true)
            }
            Err(error) if matches!(platform::errno(&error), libc::ENODEV | libc::EINVAL | libc::EACCES) => {
                self.mode = Mode::Read;
                self.file.seek(SeekFrom::Start(self.offset)).map_err(|error| self.fault("seek", &error))?;
                Ok(false)
            }
            Err(error) => Err(self.fault("map", &error)),
        }
    }

    fn fault(&self, op: &'static str, error: &io::Error) -> Error {
        Error::io(op, self.path.clone(), error)
    }

    fn changed(&self, detail: impl Into<String>) -> Error {
        Error::found(Kind::Changed, "read", self.path.clone(), detail)
    }
}
