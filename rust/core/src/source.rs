//! A source file: opened read-only, read exactly once, and known to have stood still meanwhile.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;

use memmap2::Mmap;

use crate::direct::Reads;
use crate::error::{Error, Kind, Result};
use crate::platform::{self, Dir, Stat};
use crate::window::{self, Window};

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

/// What was read is dropped from the page cache behind the reader, so many bytes at a time.
///
/// The kernel then uses the same warm pages again and again, instead of fetching memory that nobody used lately: on
/// a virtual machine whose host lends memory page by page, a prototype copied one cold file of 4 GiB in 2.1 s this way
/// and in 10 to 15 s without, and read it back in 1.4 s instead of 1.5 to 3 s; here, on cores shared with others, the
/// whole took 2.5 to 3.5 s of CPU time with it and 4 to 8 s without. It also keeps the card from pushing other programs
/// out of memory. Files that are
/// smaller stay: one call more for each of 3,000 files of 16 KiB gained nothing.
pub(crate) const STEP: u64 = 8 << 20;

/// An open source file, on its way from the first byte to the last.
pub(crate) struct Source {
    dir: Arc<Dir>,
    name: Vec<u8>,
    path: Vec<u8>,
    file: File,
    stat: Stat,
    mode: Mode,
    offset: u64,
    window: Option<Window>,
    /// The file's last bytes came in a read that had room for more, and nothing more came.
    ended: bool,
    /// Where the part begins that was read and not dropped from the cache; none if it is to be kept.
    kept_from: Option<u64>,
}

impl Source {
    /// Opens a regular file, whatever its size and time.
    pub(crate) fn open(dir: Arc<Dir>, name: &[u8], path: Vec<u8>, mode: Mode) -> Result<Self> {
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
        let name = name.to_vec();
        Ok(Self { dir, name, path, file, stat, mode, offset: 0, window: None, ended: false, kept_from: None })
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

    /// The file will be read from start to end, with `buffer` bytes at a time, and dropped behind the reader unless
    /// it is to stay in the cache. What one read takes whole needs no advice, unless it is opened `ahead` of its turn:
    /// then the device may begin.
    pub(crate) fn prepare(&mut self, buffer: usize, keep_cache: bool, ahead: bool) {
        if self.mode == Mode::Read && self.stat.size > buffer as u64 {
            platform::sequential(&self.file);
        }
        if self.mode != Mode::Direct && ahead {
            platform::will_need(&self.file);
        }
        self.kept_from = (!keep_cache && self.mode != Mode::Direct).then_some(0);
    }

    /// What the file was when it was opened.
    pub(crate) fn stat(&self) -> Stat {
        self.stat
    }

    /// Its full path.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The folder it was opened in, and its name there.
    pub(crate) fn place(&self) -> (&Dir, &[u8]) {
        (&self.dir, &self.name)
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
        if self.mode == Mode::Mmap {
            if let Some(bytes) = self.map(want)? {
                let from = self.offset;
                self.offset += bytes as u64;
                return self.mapped(from, bytes);
            }
        }
        self.drop_behind(STEP);
        self.ended = self.fill(buffer, want)?;
        self.offset += want as u64;
        Ok(&buffer[..want])
    }

    /// What comes before this offset is not read: the first byte is the one there.
    pub(crate) fn start_at(&mut self, offset: u64) -> Result<()> {
        if offset > 0 {
            self.file.seek(SeekFrom::Start(offset)).map_err(|error| self.fault("seek", &error))?;
            self.offset = offset;
            self.kept_from = self.kept_from.map(|_| offset);
        }
        Ok(())
    }

    /// Reads one piece at its offset, whatever else is read at the same time; never in a map.
    pub(crate) fn read_at(&self, piece: &mut [u8], want: usize, offset: u64) -> Result<()> {
        let mut reads = Reads::new(&self.file, self.mode == Mode::Direct);
        let mut have = 0;
        while have < want {
            // With room for more than is wanted, so that a file that is longer shows it without another call.
            match reads.at(&mut piece[have..], offset + have as u64) {
                Ok(0) => return Err(self.changed("it ended before the size it had")),
                Ok(bytes) => have += bytes,
                Err(error) => return Err(self.unread(offset + have as u64, offset + want as u64, &error)),
            }
        }
        let end = offset + want as u64;
        if have > want && end == self.stat.size {
            return Err(self.changed("it is longer than the size it had"));
        }
        Ok(())
    }

    /// Maps one piece by itself; none where the file must be read instead.
    pub(crate) fn map_at(&self, want: usize, offset: u64) -> Result<Option<Mmap>> {
        if self.mode != Mode::Mmap {
            return Ok(None);
        }
        let now = platform::stat_file(&self.file).map_err(|error| self.fault("fstat", &error))?;
        if now.size != self.stat.size {
            return Err(self.changed("its size changed while it was read"));
        }
        window::map(&self.file, want, offset).map_err(|error| self.fault("map", &error))
    }

    /// Drops a range from the cache that nobody reads any more.
    pub(crate) fn drop_range(&self, from: u64, to: u64) {
        if self.kept_from.is_some() && to > from {
            platform::evict_range(&self.file, from, to - from);
        }
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
        self.ended = false;
        self.mode = if platform::set_direct(&self.file, true).is_ok() { Mode::Direct } else { Mode::Read };
        platform::evict(&self.file);
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.fault("seek", &error))?;
        Ok(())
    }

    /// Reads what is wanted; true if there was room for more, and the file had no more.
    fn fill(&mut self, buffer: &mut [u8], want: usize) -> Result<bool> {
        let mut reads = Reads::new(&self.file, self.mode == Mode::Direct);
        let mut have = 0;
        while have < want {
            // The whole buffer even at the end of the file: what is too long shows itself without another call, and
            // direct reads must be whole blocks.
            match reads.next(&mut buffer[have..]) {
                Ok(0) => return Err(self.changed("it ended before the size it had")),
                Ok(bytes) => have += bytes,
                Err(error) => {
                    let (from, to) = (self.offset + have as u64, self.offset + want as u64);
                    return Err(self.unread(from, to, &error));
                }
            }
        }
        if have > want {
            return Err(self.changed("it is longer than the size it had"));
        }
        if self.mode == Mode::Direct && !reads.direct() {
            self.mode = Mode::Read;
        }
        Ok(want < buffer.len())
    }

    /// After the last byte, nothing may follow. Where the last read had no room for more, another one looks;
    /// [`Self::finish`] asks for the size besides.
    fn prove_end(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.window = None;
        self.drop_behind(STEP);
        if self.ended {
            return Ok(());
        }
        self.nothing_follows(buffer)
    }

    /// Looks behind the end, where bytes could stand that the size does not speak of. Maps end with the size, and
    /// direct reads were whole blocks.
    pub(crate) fn nothing_follows(&self, buffer: &mut [u8]) -> Result<()> {
        if self.mode != Mode::Read {
            return Ok(());
        }
        match platform::retry(|| platform::read_at(&self.file, &mut buffer[..1], self.stat.size)) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.changed("it is longer than the size it had")),
            Err(error) => Err(self.fault("read", &error)),
        }
    }

    /// Drops what was read from the cache, if that is at least so much.
    fn drop_behind(&mut self, least: u64) {
        if let Some(from) = self.kept_from {
            if self.offset - from >= least {
                platform::evict_range(&self.file, from, self.offset - from);
                self.kept_from = Some(self.offset);
            }
        }
    }

    /// Maps the window that the next bytes lie in, and says how many of the wanted ones it holds; none after falling
    /// back to reading.
    fn map(&mut self, want: usize) -> Result<Option<usize>> {
        let (start, end) = window::around(self.offset, self.stat.size);
        if self.window.as_ref().is_none_or(|window| window.start() != start) {
            // Unmapped first: two windows are never held at once, and only what nobody maps can be dropped.
            self.window = None;
            self.drop_behind(STEP);
            // A window fits into memory, on any machine.
            let length = usize::try_from(end - start).unwrap_or(want);
            let Some(map) = self.map_at(length, start)? else {
                self.mode = Mode::Read;
                self.file.seek(SeekFrom::Start(self.offset)).map_err(|error| self.fault("seek", &error))?;
                return Ok(None);
            };
            self.window = Some(Window::new(start, map));
        }
        Ok(Some(usize::try_from(end - self.offset).map_or(want, |rest| rest.min(want))))
    }

    fn mapped(&self, from: u64, bytes: usize) -> Result<&[u8]> {
        let found = self.window.as_ref().and_then(|window| window.bytes(from, bytes));
        found.ok_or_else(|| Error::found(Kind::Io, "map", self.path.clone(), "the window is too short"))
    }

    fn fault(&self, op: &'static str, error: &io::Error) -> Error {
        Error::io(op, self.path.clone(), error)
    }

    /// A read failed that asked for these bytes: a card that is dying does not give them.
    fn unread(&self, from: u64, to: u64, error: &io::Error) -> Error {
        Error { ranges: vec![(from, to)], ..self.fault("read", error) }
    }

    fn changed(&self, detail: impl Into<String>) -> Error {
        Error::found(Kind::Changed, "read", self.path.clone(), detail)
    }
}
