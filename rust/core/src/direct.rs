//! Reads that go around the page cache as long as that is possible, and say whether they did.
//!
//! A file system may take the wish for direct reads and then refuse every one of them, or only those that do not begin
//! with a block, as the one after the end of a file of odd length. Such a read is done again through the cache. What
//! that means for a claim does not depend on which read was refused, but on whether any byte came that way.

use std::fs::File;
use std::io::{self, Read};

use crate::platform;
use crate::volume::Method;

/// The reads of one open file.
pub(crate) struct Reads<'f> {
    file: &'f File,
    way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through the cache, if that is where the file's bytes are.
    Plain,
    /// Around it; of a file of which nobody has told: perhaps.
    Direct,
    /// A direct read was refused, and nothing has been read since.
    Left,
    /// As before, and bytes have come since.
    Cached,
}

impl<'f> Reads<'f> {
    /// Of a file that is read directly, or may be.
    pub(crate) fn new(file: &'f File, direct: bool) -> Self {
        Self { file, way: if direct { Way::Direct } else { Way::Plain } }
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &'f File {
        self.file
    }

    /// The bytes at an offset, as [`platform::read_at`] gives them.
    pub(crate) fn at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(|file| platform::read_at(file, buffer, offset))
    }

    /// The bytes from where the file stands.
    pub(crate) fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(|mut file| file.read(buffer))
    }

    /// Whether no direct read was refused.
    pub(crate) fn direct(&self) -> bool {
        self.way == Way::Direct
    }

    /// What may be claimed of all that was read, by this method as was thought when it began.
    pub(crate) fn claim(&self, method: Method) -> Method {
        match (method, self.way) {
            (Method::Direct, Way::Cached) => Method::Reread,
            _ => method,
        }
    }

    fn read(&mut self, mut call: impl FnMut(&'f File) -> io::Result<usize>) -> io::Result<usize> {
        let file = self.file;
        let mut once = || platform::retry(|| call(file));
        let read = match once() {
            Err(error) if self.way == Way::Direct && refused(&error) && platform::set_direct(file, false).is_ok() => {
                self.way = Way::Left;
                once()?
            }
            other => other?,
        };
        if self.way == Way::Left && read > 0 {
            self.way = Way::Cached;
        }
        Ok(read)
    }
}

fn refused(error: &io::Error) -> bool {
    matches!(platform::errno(error), libc::EINVAL | libc::EOPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A file of ten bytes whose direct reads are refused from the read on that begins here.
    struct Refusing {
        file: File,
        from: u64,
    }

    impl Refusing {
        fn new(from: u64) -> Self {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"0123456789").unwrap();
            Self { file, from }
        }

        /// Reads it to its end in steps of four bytes, and says what is claimed then.
        fn method(&self, method: Method) -> (usize, Method) {
            let mut reads = Reads::new(&self.file, method == Method::Direct);
            let (mut bytes, mut buffer) = (0, [0; 4]);
            loop {
                let mut refuses = reads.direct() && bytes as u64 >= self.from;
                let read = reads.read(|file| {
                    if std::mem::take(&mut refuses) {
                        return Err(io::Error::from_raw_os_error(libc::EINVAL));
                    }
                    platform::read_at(file, &mut buffer, bytes as u64)
                });
                match read.unwrap() {
                    0 => return (bytes, reads.claim(method)),
                    read => bytes += read,
                }
            }
        }
    }

    #[test]
    fn where_every_direct_read_is_refused_nothing_was_read_directly() {
        assert_eq!(Refusing::new(0).method(Method::Direct), (10, Method::Reread));
    }

    #[test]
    fn one_byte_through_the_cache_ends_the_claim() {
        assert_eq!(Refusing::new(8).method(Method::Direct), (10, Method::Reread));
    }

    #[test]
    fn the_look_behind_an_unaligned_end_takes_nothing_from_the_claim() {
        assert_eq!(Refusing::new(10).method(Method::Direct), (10, Method::Direct));
        assert_eq!(Refusing::new(11).method(Method::Direct), (10, Method::Direct));
    }

    #[test]
    fn other_methods_are_what_they_were() {
        assert_eq!(Refusing::new(0).method(Method::Evicted).1, Method::Evicted);
        assert_eq!(Refusing::new(0).method(Method::Reread).1, Method::Reread);
    }

    #[test]
    fn a_refusal_by_a_file_that_is_read_plainly_is_an_error() {
        let refusing = Refusing::new(0);
        let refusal = |_: &File| Err(io::Error::from_raw_os_error(libc::EINVAL));

        let error = Reads::new(&refusing.file, false).read(refusal).unwrap_err();

        assert_eq!(platform::errno(&error), libc::EINVAL);
    }
}
