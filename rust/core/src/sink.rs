//! A staging file on one root: created exclusively, written once, flushed once, or removed; or left as it is, where a
//! trail tells what it holds.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

use crate::behind::{Behind, Wake};
use crate::clone::Strategy;
use crate::error::{Error, Kind, Result};
use crate::place::{remove, Place};
use crate::platform::{self, Stat};
use crate::progress::Page;

/// Files below this size are small: they may be closed before their flush and flushed together (3,000 of 16 KiB on ext4:
/// 0.05 s instead of 0.28 s). Larger ones get their blocks reserved, and go to the device while they are written; below,
/// those calls cost more than they save.
pub const SMALL: u64 = 1 << 20;

/// What is waited for at a time before a file is flushed: a line that takes 100 KB/s shows within ten seconds, which is
/// the watch's deadline, that it moves. Of what has arrived, a thousand of these are asked for in a millisecond.
pub(crate) const SLICE: u64 = 1 << 20;

/// A file that is being written. [`Sink::finish`], [`Sink::close`], [`Sink::condemn`] and [`Sink::leave`] are its only
/// ends.
pub(crate) struct Sink {
    place: Place,
    file: Arc<File>,
    /// Bytes that it held when it was gone on with, and how many of those are still to come and to be passed over.
    had: u64,
    skip: u64,
    /// None where pages go as the system pleases.
    wake: Option<Wake>,
    strategy: Strategy,
}

/// A file that was written and closed.
pub(crate) struct Written {
    pub(crate) place: Place,
    /// Bytes that were there before, and proven.
    pub(crate) had: u64,
    pub(crate) stat: Stat,
    pub(crate) strategy: Strategy,
}

impl Sink {
    /// Creates the file, which must not exist, and reserves its blocks. With `behind` it goes to the device while it is
    /// written, and stays in memory no longer than that takes.
    pub(crate) fn create(place: Place, size: u64, behind: Option<&Arc<Behind>>) -> Result<Self> {
        let file = place.dir.create_new(&place.name).map_err(|error| place.fault("create", &error))?;
        if size >= SMALL {
            if let Err(error) = platform::preallocate(&file, size) {
                drop(file);
                return Err(place.remove(place.fault("fallocate", &error)));
            }
        }
        let wake = behind.filter(|_| size >= SMALL).map(|behind| Wake::new(Arc::clone(behind), 0));
        Ok(Self { place, file: Arc::new(file), had: 0, skip: 0, wake, strategy: Strategy::Copy })
    }

    /// A file that shares what its source holds: there is nothing to write.
    pub(crate) fn shared(place: Place, file: File, strategy: Strategy) -> Self {
        Self { place, file: Arc::new(file), had: 0, skip: 0, wake: None, strategy }
    }

    /// Goes on with a part that holds its first `had` bytes, and nothing else. If its blocks cannot be reserved it stays
    /// as it is: no write has failed.
    pub(crate) fn go_on(place: Place, file: File, had: u64, size: u64, behind: Option<&Arc<Behind>>) -> Result<Self> {
        (&file).seek(SeekFrom::Start(had)).map_err(|error| place.fault("seek", &error))?;
        platform::preallocate(&file, size).map_err(|error| place.fault("fallocate", &error))?;
        let wake = behind.map(|behind| Wake::new(Arc::clone(behind), had));
        Ok(Self { place, file: Arc::new(file), had, skip: 0, wake, strategy: Strategy::Copy })
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Bytes that it held when it was gone on with.
    pub(crate) fn had(&self) -> u64 {
        self.had
    }

    /// The bytes to come begin at this offset, which is none behind those that it holds.
    pub(crate) fn expect(&mut self, offset: u64) {
        self.skip = self.had.saturating_sub(offset);
    }

    /// Appends bytes, all of them but those that the file has already; says how many were written.
    pub(crate) fn write(&mut self, bytes: &[u8], page: &Page) -> Result<usize> {
        if self.strategy != Strategy::Copy {
            return Ok(0);
        }
        let held = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
        self.skip -= held as u64;
        let bytes = &bytes[held..];
        let mut rest = bytes;
        while !rest.is_empty() {
            match (&*self.file).write(rest) {
                Ok(0) => {
                    let detail = "the system accepted no byte and gave no reason";
                    return Err(Error::found(Kind::Io, "write", self.place.path.clone(), detail));
                }
                Ok(bytes) => rest = &rest[bytes..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.place.fault("write", &error)),
            }
        }
        if let Some(wake) = &mut self.wake {
            wake.wrote(&self.file, bytes.len(), page).map_err(|error| self.place.fault("write", &error))?;
        }
        Ok(bytes.len())
    }

    /// Lets the file, which is empty, share the bytes of another one of its file system; false where that cannot be, and
    /// bytes have to be written instead. What they say of each other is proven when the file is read back.
    pub(crate) fn share(&self, from: &File) -> bool {
        platform::clone_file(from, &self.file).is_ok()
    }

    /// Reserves the blocks of a file for which that was not done when it was created.
    pub(crate) fn reserve(&self, size: u64) -> Result<()> {
        platform::preallocate(&self.file, size).map_err(|error| self.place.fault("fallocate", &error))
    }

    /// Writes bytes at an offset, all of them.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match platform::write_at(&self.file, &bytes[done..], offset + done as u64) {
                Ok(0) => {
                    let detail = "the system accepted no byte and gave no reason";
                    return Err(Error::found(Kind::Io, "write", self.place.path.clone(), detail));
                }
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.place.fault("write", &error)),
            }
        }
        Ok(())
    }

    /// Gives the file its size, where what it shares is longer.
    pub(crate) fn cut(&self, size: u64) -> Result<()> {
        platform::retry(|| self.file.set_len(size)).map_err(|error| self.place.fault("ftruncate", &error))
    }

    /// All is written: the rest may go to the device, too, while others are written.
    pub(crate) fn complete(mut self, page: &Page) -> Result<Self> {
        match self.wake.as_mut().map(|wake| wake.send(&self.file, page)) {
            Some(Err(error)) => {
                let error = self.place.fault("write", &error);
                Err(self.condemn(error))
            }
            _ => Ok(self),
        }
    }

    /// Gives the file its time and starts its way to the device, if it is not on it, without waiting.
    pub(crate) fn start_flush(&self, mtime_ns: i64) -> Result<()> {
        self.set_time(mtime_ns)?;
        if self.wake.is_some() {
            return Ok(());
        }
        platform::write_back(&self.file, 0, 0).map_err(|error| self.place.fault("write", &error))
    }

    fn set_time(&self, mtime_ns: i64) -> Result<()> {
        if self.strategy == Strategy::Hardlink {
            // It has its source's time, and to set it would be to touch the source.
            return Ok(());
        }
        match platform::set_mtime(&self.file, mtime_ns) {
            // Some network and FUSE file systems keep no times, or only for the owner that they made up.
            Err(error) if !matches!(platform::errno(&error), libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM) => {
                Err(self.place.fault("utimens", &error))
            }
            _ => Ok(()),
        }
    }

    /// Gives the file its time and closes it: its flush comes with that of the whole file system.
    pub(crate) fn close(self, mtime_ns: i64) -> Result<Written> {
        if let Err(error) = self.set_time(mtime_ns) {
            return Err(self.condemn(error));
        }
        let stat = platform::stat_file(&self.file);
        let Self { place, file, had, strategy, .. } = self;
        match (close(file), stat) {
            (Ok(()), Ok(stat)) => Ok(Written { place, had, stat, strategy }),
            (Err(error), _) => Err(place.remove(place.fault("close", &error))),
            (_, Err(error)) => Err(place.remove(place.fault("fstat", &error))),
        }
    }

    /// Waits for the write-back of a big file, slice by slice, so that a slow disk shows that it moves: one fsync of
    /// gigabytes on a stick is minutes without a sign of life, and cannot be stopped.
    pub(crate) fn drain(&self, size: u64, page: &Page) -> Result<()> {
        if let Some(wake) = &self.wake {
            wake.arrived(page).map_err(|error| self.place.fault("write", &error))?;
            return if page.cancelled() { Err(self.cancelled()) } else { Ok(()) };
        }
        match drained(&self.file, size, page) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.cancelled()),
            Err(error) => Err(self.place.fault("write", &error)),
        }
    }

    /// Flushes once and closes. After any error the file is removed and must be copied again from its source:
    /// the kernel marks pages clean after a failed flush, and a second flush would say that all is well.
    pub(crate) fn finish(self) -> Result<Written> {
        let Self { place, file, had, strategy, .. } = self;
        let stat = platform::stat_file(&file);
        let flushed = platform::sync_file(&file);
        let closed = close(file);
        let outcome = match (flushed, closed, stat) {
            (Err(error), _, _) => Err(place.fault("fsync", &error)),
            (_, Err(error), _) => Err(place.fault("close", &error)),
            (_, _, Err(error)) => Err(place.fault("fstat", &error)),
            (Ok(()), Ok(()), Ok(stat)) => Ok(stat),
        };
        match outcome {
            Ok(stat) => Ok(Written { place, had, stat, strategy }),
            Err(error) => Err(place.remove(error)),
        }
    }

    /// What this copy ends with when the caller asked to stop.
    pub(crate) fn cancelled(&self) -> Error {
        self.place.cancelled()
    }

    /// The file will be given up: nothing more of it is sent to the device. Of several this is said to all before the
    /// first of them ends, so that they are waited for together.
    pub(crate) fn abandon(&self) {
        self.wake.iter().for_each(Wake::abandon);
    }

    /// Gives the file up, and removes it.
    pub(crate) fn condemn(self, why: Error) -> Error {
        let Self { place, file, wake, .. } = self;
        // What went wrong on the way to the device changes nothing any more.
        let _outcome = wake.map(|wake| wake.leave(|_| ()));
        drop(file);
        place.remove(why)
    }

    /// Removes the file, which turned out not to be needed.
    pub(crate) fn discard(self) -> Result<()> {
        remove(&self.place.dir, &self.place.name).map_err(|error| self.place.fault("unlink", &error))
    }

    /// Gives the file up for now. It stays where a trail tells what it holds, unless something went wrong with it.
    pub(crate) fn leave(self, why: Error) -> Error {
        let Self { place, file, wake, .. } = self;
        let place = Arc::new(place);
        // Where its last bytes are still on their way, who sends them has it open, and hears what becomes of them. Until
        // then the trail is locked, and nobody goes on with the file.
        let late = Arc::clone(&place);
        let lost = move |error: &io::Error| drop(late.remove(late.fault("write", error)));
        let failed = wake.is_some_and(|wake| wake.leave(lost).is_err());
        let closed = Arc::into_inner(file).map_or(Ok(()), platform::close);
        if failed || closed.is_err() {
            return place.remove(why);
        }
        place.leave(why)
    }
}

/// Waits for the write-back of a big file, slice by slice; false if the caller asked to stop.
pub(crate) fn drained(file: &File, size: u64, page: &Page) -> io::Result<bool> {
    let mut offset = 0;
    while size > SLICE && offset < size {
        if page.cancelled() {
            return Ok(false);
        }
        platform::wait_back(file, offset, SLICE)?;
        page.drained(SLICE.min(size - offset));
        offset += SLICE;
    }
    Ok(true)
}

/// Closes a file that nobody else has open.
fn close(file: Arc<File>) -> io::Result<()> {
    let file = Arc::into_inner(file).ok_or_else(|| io::Error::other("it is still being written to the device"))?;
    platform::close(file)
}
