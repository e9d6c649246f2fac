//! One read, one hash, N copies: the bytes of one file on their way, by one thread.

use crate::content::{Content, Contents};
use crate::error::{Error, Kind, Result};
use crate::lanes::Summing;
use crate::progress::Page;
use crate::sink::Sink;
use crate::source::Source;
use crate::start::Start;

/// Moves the bytes from the source to every sink, and counts those that were read; no content if no copy was left to
/// write to. A sink that fails ends alone.
pub(crate) fn pump(
    source: &mut Source,
    sinks: &mut [Result<Sink>],
    buffer: &mut [u8],
    mut summing: Summing<'_>,
    start: &Start,
    bytes_read: &mut u64,
    page: &Page,
) -> Result<Option<Content>> {
    let mut contents = Contents::new(source.stat().size, start);
    loop {
        if page.cancelled() {
            return Err(Error::cancelled("read", source.path().to_vec()));
        }
        if !sinks.is_empty() && sinks.iter().all(Result::is_err) {
            return Ok(None);
        }
        let bytes = source.next(buffer)?;
        if bytes.is_empty() {
            break;
        }
        *bytes_read += bytes.len() as u64;
        page.read(bytes.len());
        summing.update(bytes);
        contents.update(bytes);
        for (root, slot) in sinks.iter_mut().enumerate() {
            let page = page.at(root);
            page.written(write(slot, bytes, &page));
        }
    }
    let content = contents.finish().and_then(|content| Some(Content { sums: summing.finish()?, ..content }));
    content.map(Some).ok_or_else(|| Error::found(Kind::Io, "read", source.path().to_vec(), "a piece is missing"))
}

/// Writes to a copy that is still alive and says how many bytes went (none to one that shares the source's); a failure
/// ends that copy alone.
pub(crate) fn write(slot: &mut Result<Sink>, bytes: &[u8], page: &Page) -> usize {
    let Ok(sink) = slot else { return 0 };
    match sink.write(bytes, page) {
        Ok(written) => written,
        Err(error) => {
            if let Ok(sink) = std::mem::replace(slot, Err(error.clone())) {
                *slot = Err(sink.condemn(error));
            }
            0
        }
    }
}
