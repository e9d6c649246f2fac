//! Written copies on their way to the device.
//!
//! A file that is still open is sent on its way with all others, and then flushed by itself. Small files that were
//! closed are flushed together, by one request for their file system; its answer holds for all of them, and so does
//! its error.

use std::io;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use crate::error::{Kind, Result};
use crate::platform::{self, Dir};
use crate::progress::Page;
use crate::sink::{Sink, Written};
use crate::transfer::Transfer;

/// A copy that is written to its end, and not known to be on the device.
pub(crate) enum Copy {
    /// To be flushed by itself.
    Open(Sink),
    /// To be flushed with its file system.
    Closed(Written),
}

/// The copies of a part on one root, in the order of its transfers.
pub(crate) type Column<T> = Vec<Result<T>>;

/// Flushes columns whose `roots` share a device. `barrier` is a folder of its file system that was opened before the
/// first of them was written; `thread` is the word of the page that says what is being waited for.
pub(crate) fn flush(
    part: &[Transfer<'_>],
    mut columns: Vec<Column<Copy>>,
    roots: &[usize],
    barrier: Option<Arc<Dir>>,
    thread: usize,
    page: &Page,
) -> Vec<Column<Written>> {
    for (transfer, copy) in columns.iter_mut().flat_map(|column| part.iter().zip(column)) {
        start(transfer, copy, page);
    }
    // Those with a flush of their own first: each shows when it is done, and little is left for the request that
    // shows nothing.
    let mut ahead: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let mut flushed: Vec<Vec<_>> = Vec::with_capacity(ahead.len());
    for (column, root) in roots.iter().enumerate() {
        let page = &page.at(*root);
        let mut done = Vec::with_capacity(part.len());
        for transfer in part {
            done.extend(ahead[column].next().map(|copy| match copy {
                Ok(Copy::Open(sink)) => {
                    page.item(thread, Some(transfer.item));
                    (finish(transfer, sink, page, &ahead), false)
                }
                Ok(Copy::Closed(written)) => (Ok(written), true),
                Err(error) => (Err(error), false),
            }));
        }
        flushed.push(done);
    }
    let waiting = || flushed.iter().flat_map(|column| part.iter().zip(column)).find(|(_, (_, closed))| *closed);
    let together = match waiting() {
        Some((transfer, _)) => {
            page.item(thread, Some(transfer.item));
            all(barrier, page)
        }
        None => Ok(()),
    };
    page.item(thread, None);
    let verdict = |(copy, closed): (Result<Written>, bool)| match (copy, &together) {
        (Ok(written), Err(trouble)) if closed => Err(written.place.remove(match trouble {
            Trouble::Cancelled => written.place.cancelled(),
            Trouble::System(error) => written.place.fault("syncfs", error),
        })),
        (copy, _) => copy,
    };
    flushed.into_iter().map(|column| column.into_iter().map(verdict).collect()).collect()
}

/// Every file starts on its way to the device before any is waited for.
fn start(transfer: &Transfer<'_>, copy: &mut Result<Copy>, page: &Page) {
    let Ok(Copy::Open(sink)) = copy else { return };
    if page.cancelled() {
        return;
    }
    page.operation();
    if let Err(error) = sink.start_flush(transfer.mtime_ns) {
        if let Ok(Copy::Open(sink)) = std::mem::replace(copy, Err(error.clone())) {
            *copy = Err(sink.condemn(error));
        }
    }
}

/// Flushes one of several; where it is left for now, those that are still `ahead` will be, too.
fn finish(
    transfer: &Transfer<'_>,
    sink: Sink,
    page: &Page,
    ahead: &[std::vec::IntoIter<Result<Copy>>],
) -> Result<Written> {
    page.operation();
    let drained = if page.cancelled() { Err(sink.cancelled()) } else { sink.drain(transfer.size, page) };
    match drained {
        // What is left for the flush is small beside what was waited for, but of small files it is all.
        Ok(()) => sink.finish().inspect(|_| page.drained(transfer.size)),
        Err(error) if error.kind == Kind::Cancelled => {
            for copy in ahead.iter().flat_map(std::vec::IntoIter::as_slice).flatten() {
                if let Copy::Open(sink) = copy {
                    sink.abandon();
                }
            }
            Err(sink.leave(error))
        }
        Err(error) => Err(sink.condemn(error)),
    }
}

enum Trouble {
    Cancelled,
    System(io::Error),
}

/// How often the request to stop is looked for while the file system is flushed.
const GLANCE: Duration = Duration::from_millis(50);

/// One flush for all files that were closed. It is never tried again: what it could not write is marked clean.
///
/// It waits for everything that was written to that file system, by whomever, and says nothing meanwhile: so a thread
/// of its own waits in the kernel, while this one heeds the request to stop and counts as long as pages are written.
fn all(barrier: Option<Arc<Dir>>, page: &Page) -> std::result::Result<(), Trouble> {
    page.operation();
    if page.cancelled() {
        return Err(Trouble::Cancelled);
    }
    // Nothing is closed early without a barrier; were it so, nothing would be known of it.
    let barrier = barrier.ok_or_else(|| Trouble::System(io::ErrorKind::Unsupported.into()))?;
    let (tell, told) = mpsc::channel();
    // The folder's own flush reaches the device where the file system's does not (the old ext2 driver).
    let flushed = |barrier: &Dir| platform::sync_all(barrier).and_then(|()| barrier.sync());
    let theirs = Arc::clone(&barrier);
    let waits = move || {
        // Whoever was to hear it may have stopped waiting.
        let _unheard = tell.send(flushed(&theirs));
    };
    if thread::Builder::new().name("syncfs".to_owned()).spawn(waits).is_err() {
        // No thread is to be had: then a request to stop is heeded only afterwards.
        let answer = flushed(&barrier).map_err(Trouble::System);
        page.operation();
        return answer;
    }
    drop(barrier);
    let mut written = platform::pages_written();
    loop {
        match told.recv_timeout(GLANCE) {
            Ok(answer) => {
                page.operation();
                return answer.map_err(Trouble::System);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Trouble::System(io::ErrorKind::Other.into())),
            Err(mpsc::RecvTimeoutError::Timeout) if page.cancelled() => return Err(Trouble::Cancelled),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let now = platform::pages_written();
                if now != written {
                    page.operation();
                    written = now;
                }
            }
        }
    }
}
