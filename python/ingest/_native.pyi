"""How bytes move: the contract of the compiled extension.

Promises: every function works beneath a pinned :class:`Root`, never follows a symbolic link inside it, never
replaces a file, releases the interpreter while it works, and reports what went wrong per file, as a
:data:`Fault`, so that one bad file never hides the others. What is not promised: policy. The extension knows no
session, no retry and no database.

Paths are bytes, relative to their root, with ``/`` between components. Times are nanoseconds since the Unix
epoch. Sizes are bytes. Digests are the 32 raw bytes of BLAKE3, unless another algorithm is named.
"""

from collections.abc import Sequence
from typing import TypeAlias, final

__version__: str

PAGE_WORDS: int
"""Length of a worker's shared page, in unsigned 64-bit words. Word 0 is the cancel flag (set it to 1), 1 bytes
read from sources to be copied, 2 bytes written to destinations, 3 bytes read back, 4 operations done (moves even when
no byte does, so that a stall can be told from a long queue of small files), 5 to 5 + :data:`THREADS_MAX` - 1 the
item that each thread of a call works on (item number + 1, 0 when idle; a call with one thread uses word 5 alone,
save that devices which are waited for side by side have a word each), 5 + :data:`THREADS_MAX` bytes of files that
:func:`prove` hashed as they came, and of sources that were read again. In the rest :func:`stage` counts, root by root, the bytes that moved there: written,
on the device, read back, each time once more; the last word is that of all further roots."""

BUFFER_MIN: int
"""Smallest buffer, 4 KiB."""

BUFFER_MAX: int
"""Largest buffer, 64 MiB."""

THREADS_MAX: int
"""Most threads of one call, 32."""

HASHES: dict[str, int]
"""The other digests that :func:`stage` can make in the same read: bytes of each, by its name. ``xxh64``, ``xxh3`` (its
64 bits) and ``xxh128``, with seed 0 and the most significant byte first, as hash lists write them; ``md5``, ``sha1``,
``sha256``, ``sha512``."""
TRAIL_LEAST: int
"""Files from this size on leave a trail, 64 MiB."""

SMALL: int
"""Files below this size are small, 1 MiB: they may be flushed together, and their blocks are not reserved."""

FEW: int
"""Of fewer small files than this, 32, each is flushed by itself: a flush of the file system waits for what everybody has
written there."""

Fault: TypeAlias = tuple[str, str, int, bytes, str, list[tuple[int, int]]]
"""What went wrong with one file: ``(kind, operation, errno, path, detail, ranges)``.

``kind``: ``io`` (the system refused; ``errno`` says why) · ``changed`` (the source is not what the scan saw, or
changed while it was read) · ``unstable`` (the source gave different bytes when it was read again) ·
``mismatch`` (the copy does not read back as written; ``ranges`` holds up to 16 differing byte ranges) ·
``cancelled``.
``operation``: the system call or step, as in ``open``, ``read``, ``write``, ``fsync``, ``verify``, ``rename``.
``ranges``: also the bytes that a failed read of a source was asked for.
``errno``: 0 where no system call failed. ``path``: the file concerned, absolute, as far as it is known.
``detail``: one English sentence."""

Identity: TypeAlias = tuple[int, int, int, int, int, int]
"""``(st_mode, size, mtime_ns, dev, ino, nlink)`` of a path, its own and not its target's if it is a link."""

Copies: TypeAlias = tuple[list[str | None], list[int], list[int], list[str | None], dict[int, Fault]]
"""The copies of a batch on one root, as columns: ``(verify method, validated, mtime, strategy, faults)``. Per file the
method is ``direct``, ``evicted`` or ``reread``; ``validated`` says when it was proven, ``mtime`` is the time that the
copy has, as its file system keeps it; the strategy is ``copy``, ``reflink`` or ``hardlink``, as the copy came to be.
Method and strategy are None, and both times are 0, exactly where there is no copy: with a fault of the copy, which
``faults`` holds by the index of the file in the call, or with one of its source, which is not repeated there."""

Staged: TypeAlias = tuple[
    bytes,
    list[int],
    list[int],
    list[int],
    dict[int, Fault],
    list[Copies],
    tuple[int, int, int],
    dict[int, bytes],
    list[bytes],
    dict[int, int],
    dict[int, list[int]],
    list[int],
]
"""A batch, as columns:
``(digests, bytes read, started, copied, faults, copies, spent, blocks, more, resumed, unshown, warm)``.

``digests``: 32 bytes per file, one after the other; 32 zero bytes where the source was not read to its end.
``bytes read``: from the source, per file, those included that were read again to know it, or to compare. ``started``, ``copied``: when
work on the file began, and when its last byte was hashed and written (not yet flushed; 0 if that did not happen).
``faults``: of the sources, by the index of the file in the call; such a file has no copy on any root. ``copies``: one
per root, in the order given. ``spent``: nanoseconds of this call that went into copying, flushing and reading back.
``blocks``: by the index of the file, for each that is longer than one block (:func:`block_of`) and was read to its end,
the chaining values of its blocks in order, 32 bytes each. ``more``: one for each of the other digests that was asked
for, in that order: of all files, one after the other, as wide as :data:`HASHES` says; zero bytes where the source was
not read to its end. ``resumed``: by the index of the file, the bytes of half-made copies that were proven and not
written again, summed over the copies that arrived. ``unshown``: by the index of the file, the roots, by
theirs, on which a half-made copy was made anew because nothing shows what its device holds: it could not be read past
this machine's memory. ``warm``: of the files that were read a second time and equal, the indices of those for which
nothing shows that the second reading came from their device."""

Proof: TypeAlias = tuple[bytes | None, int, int, str | None, Fault | None]
"""One file that was read: ``(blake3, size, mtime_ns, verify method, fault)``. The method is None where no cold
read was asked for."""

Inspection: TypeAlias = tuple[bytes | None, int, str | None, Fault | None]
"""One file, block by block: ``(chaining values, size, verify method, fault)``: 32 bytes for each block that it has of
the size it should have, and the bytes that it does have."""

Mended: TypeAlias = tuple[Identity | None, list[tuple[int, int]], int, str | None, str | None, Fault | None]
"""One file that was to be mended: ``(stood, ranges, fetched, strategy, verify method, fault)``.

``stood``: what stands under the name, as it was when it was opened; None where nothing does. ``ranges``: what of it is
wrong, each [start, end): whole blocks, what is missing at its end, what follows its end. ``fetched``: bytes read from
the other place, right and wrong ones. ``strategy``: ``reflink`` (the new file shares what was right with the damaged
one) or ``copy``; None, and so is the method, where nothing was built: with a fault, without a place for it, or because
nothing is wrong (no ranges). A fault of operation ``mend`` and kind ``mismatch`` says which ranges nobody has right."""

Published: TypeAlias = tuple[list[str | None], dict[int, Fault]]
"""Renames, as columns: ``(publish methods, faults)``. Per file the method is ``noreplace``, ``link`` or
``unguarded``, and None exactly where ``faults`` has an entry for its index in the call. A name that is taken is a
fault of kind ``io`` with errno EEXIST, and nothing was changed."""

@final
class Page:
    """A view of a worker's shared page, :data:`PAGE_WORDS` words of memory that another process may read and
    set while work goes on. Without a buffer the page is private to this object.

    Raises ``ValueError`` for a buffer that is too small, misaligned or read-only.
    """

    def __new__(cls, buffer: object | None = None) -> Page: ...
    def words(self) -> list[int]:
        """The page's words, as they are at this moment."""
    def cancel(self) -> None:
        """Set the cancel flag: work that shows this page stops within one buffer."""

@final
class Root:
    """A folder, pinned: the directory is opened once and everything happens beneath that descriptor, so that a
    mount that goes away can never be mistaken for the folder it covered.

    ``cross`` lets paths cross mount points beneath the root (sources may, destinations do not).
    ``served`` says that a FUSE file system forwards to a server (sshfs, rclone), whose own memory nobody can
    drop; without it a FUSE file system's read-back counts as ``reread``.

    Raises ``OSError`` where the folder cannot be opened.
    """

    def __new__(cls, path: bytes, *, cross: bool = False, served: bool = False) -> Root: ...
    @property
    def path(self) -> bytes: ...
    @property
    def dev(self) -> int: ...
    @property
    def ino(self) -> int: ...
    @property
    def magic(self) -> int:
        """The file system's type, as statfs(2) numbers it; 0 where it is not known."""
    @property
    def cold(self) -> str:
        """How copies here can be read back: ``evicted``, ``direct`` or ``reread``."""
    def check(self) -> None:
        """Raise ``OSError`` (ENOENT, ENOTCONN …, or ESTALE if another folder has taken its place) unless the
        root's path still leads to the pinned folder.
        """
    def lstat(self, paths: Sequence[bytes]) -> list[Identity | OSError | None]:
        """What stands at each path: None where nothing does, the error where that cannot be told."""
    def open_folder(self, path: bytes) -> int:
        """A new descriptor of a folder beneath the root (``b""`` is the root itself), for use as ``dir_fd``.

        Raises ``OSError``. The caller closes it.
        """

def reliance(path: bytes, *, served: bool = False) -> tuple[bool, bool]:
    """What the choices of a copy rest on, where a path is (its links are followed).

    First whether one flush of the whole file system may stand for one of each file: it waits for all of it and tells of
    every write that failed. Then whether what was written can be dropped from memory for good, so that big files can be
    sent to the device while they are written. ``served`` as for :class:`Root`.
    """

def stage(
    source: Root,
    roots: Sequence[Root],
    items: Sequence[int],
    paths: Sequence[bytes],
    sizes: Sequence[int],
    mtimes: Sequence[int],
    staging: Sequence[Sequence[bytes]],
    *,
    mode: str = "read",
    buffer: int = 1048576,
    threads: int = 1,
    disks: Sequence[int] = (),
    together: bool = False,
    keep_cache: bool = False,
    hashes: Sequence[str] = (),
    strategy: str = "copy",
    verify_source: bool = False,
    trails: bytes | None = None,
    keys: Sequence[bytes] = (),
    volume: bytes = b"",
    page: Page | None = None,
) -> Staged:
    """Copy a batch of files, each read once, into staging files on every root, and prove them.

    ``items``, ``paths``, ``sizes`` and ``mtimes`` are columns of equal length: item number (for the page), path
    beneath ``source``, and the size and mtime that the scan saw. ``staging[r][i]`` is where file ``i`` goes on
    ``roots[r]``; its folder is made if it is missing. Each file is created exclusively (an existing name is a
    fault), preallocated, written while it is hashed, given its mtime, flushed once, and read back cold. A file
    whose source, write, flush or read-back failed is removed before the call returns, but for parts with a trail.

    With ``trails``, the absolute path of a folder on this machine, an attempt at a file of at least
    :data:`TRAIL_LEAST` bytes goes on where the last one ended. While the file is copied, the chaining values of its
    blocks go to ``<trails>/<item>.trail`` within a second, and to the disk within five. Where its source cannot be read
    further, the caller asks to stop or the process dies, the part stays; one of which a write, flush or close failed is
    condemned in the trail, durably, before it is removed. The next attempt requires equal path, size, mtime and
    ``volume`` (what the source is stored on, in the caller's words), reads the first, the last and 16 other finished
    blocks again from the source, then flushes each part and reads it cold, up to the first block that is not what the
    source's was; the rest is cut off, the part gets this attempt's name, and the copy goes on from there. Anything else
    is removed and made anew. ``keys`` has one for each root, by which it is known wherever it is mounted. A trail that
    another process holds, be it only in the kernel, is left with its parts, and a new one begun. A trail that cannot be
    written is no fault. The caller removes trails.

    A call works in parts, of up to 1 GiB and 128 open copies (1,000 files where small ones need none): a part is
    copied, then flushed, then read back. Roots on different disks are flushed and read back side by side, one
    thread for each; those on one disk in turn. Roots of one file system (``st_dev``) are on one disk; ``disks``, if it is
    given, has a number for each root, and those of one number are, too.

    ``mode`` is ``read``, ``mmap`` or ``direct``; the last two fall back to ``read`` where the file system knows
    neither. ``buffer`` is a power of two from :data:`BUFFER_MIN` to :data:`BUFFER_MAX`.

    ``threads``, from 1 to :data:`THREADS_MAX`, share the reading, hashing and reading back of each file from 16 MiB
    on, and the reading back of smaller ones. A source is still read once, each copy written from start to end, and
    the digest the standard one. Each thread takes 4 MiB of memory, or a buffer if that is larger. Where the system
    has no thread to give, fewer do the same work.

    ``together`` closes files below :data:`SMALL` as soon as they are written, and flushes those of a part by one syncfs
    on a descriptor that was opened before them, if there are :data:`FEW` of them. If it fails, every one of them is removed, with a fault of operation
    ``syncfs``. Where a syncfs cannot be trusted to report errors (Linux before 5.8; servers, FUSE and file systems
    that are not ext, xfs, f2fs, btrfs or tmpfs: see :func:`reliance`) each file is flushed by itself all the same.

    What was read from a source is dropped from the page cache behind the reader, unless ``keep_cache``. Copies of
    1 MiB and more are sent to their device in windows of 8 MiB while they are written, and dropped from the cache, by
    one thread for each disk; a writer waits when its call has 256 MiB before a disk (on Linux, where pages can be
    dropped for good: not on tmpfs, overlayfs and most of FUSE). Of files below 1 MiB sixteen are opened ahead of their
    turn.

    ``hashes`` names digests to make beside BLAKE3 (see :data:`HASHES`), each once; no byte of a source is read again
    for them: of a file that is gone on with, what is there already comes from one of its parts. For files from 1 MiB on
    each of ``md5`` and the ``sha`` takes a thread of its own, and all of them together 2 MiB and a buffer of memory.

    ``strategy`` says how copies come to be on roots of the source's own file system. ``copy``: their bytes are written.
    ``reflink``: the staging file is a clone of the source (FICLONE), ``hardlink``: a second name of it; both are made
    before the source is read and hashed, and flushed and read back cold like any copy. Nothing of a hard link is
    touched: it has the time and the permissions of its source, whose count of names and change time its making changes.
    On other file systems, and where the kernel refuses it (EXDEV, EOPNOTSUPP, ENOTTY, ENOSYS, EINVAL, EPERM, EMLINK,
    ETXTBSY; the first four for the rest of the call), the bytes are written. What is not written is not counted as
    written on the page.

    With ``verify_source`` every source of which a copy is left is read once more after the copies of its part were
    flushed, while they are read back (afterwards, if a root is on the source's own device): taken out of memory first,
    or read around it, as far as its file system allows. One that reads otherwise is a fault of kind ``unstable`` and
    operation ``verify``, and has no copy. What is read again counts on the page as read back.

    Raises ``ValueError`` for columns of different length, a bad mode, strategy, buffer or number of threads, and a name
    in ``hashes`` that is unknown or stands there twice; everything else is a fault.
    """

def trail(path: bytes) -> tuple[int, list[tuple[bytes, bytes]]] | None:
    """What a trail (absolute path) says of the half-made copies of its file: ``(size of the file, parts)``, each part
    the key of its root and a staging name; one that is being renamed has two names, of which one is there. None where
    there is no trail that can be believed.

    Raises ``OSError`` where it cannot be read.
    """

def publish(root: Root, staging: Sequence[bytes], paths: Sequence[bytes], *, page: Page | None = None) -> Published:
    """Give proven staging files their final names, without ever replacing one, and make the names durable.

    Missing folders are made; after all renames each touched folder is flushed once and, the first time that this
    root meets a folder, the whole way up from it.
    A folder that cannot be flushed is a fault of every file in it (operation ``fsync_folder``): the names stand,
    but may not survive a power cut. Where no-replace renames are unknown: link and unlink, where those are
    missing too: check and rename (``unguarded``). The page's cancel flag is not heeded: what is proven gets its name.
    """

def prove(
    root: Root,
    paths: Sequence[bytes],
    *,
    cold: bool,
    items: Sequence[int] = (),
    buffer: int = 1048576,
    page: Page | None = None,
) -> list[Proof]:
    """Hash files where they are; with ``cold``, from the device as far as the file system allows, and say how.

    A file that changes while it is read is a fault of kind ``changed``.
    """

def inspect(root: Root, paths: Sequence[bytes], sizes: Sequence[int], *, page: Page | None = None) -> list[Inspection]:
    """Value the blocks of files where they are, from the device as far as the file system allows, and say how.

    ``sizes`` are the bytes that each file should have: they decide how long its blocks are, and what lies beyond is
    not read. A last block that is shorter than it should be has another value. A file that changes while it is read is
    a fault of kind ``changed``. Raises ``ValueError`` for columns of different length.
    """

def pages_in_memory(root: Root, paths: Sequence[bytes]) -> list[int | OSError | None]:
    """How many pages of each file the page cache holds; the error where it cannot be opened.

    None where nobody can tell: the kernel has no cachestat(2) (Linux before 6.5), or the cache holds none and that says
    nothing, because the file system keeps its data elsewhere in memory too (overlayfs, ZFS, most of FUSE).
    """

def mend(
    root: Root,
    path: bytes,
    size: int,
    mtime: int,
    blake3: bytes,
    values: bytes,
    other: Root,
    others: Sequence[bytes],
    staging: bytes | None,
    *,
    page: Page | None = None,
) -> Mended:
    """Build the file that should stand at a path, of what is right in the one that does and of what the files at
    ``others``, beneath another root, have right, in that order; and prove it.

    ``size``, ``mtime`` and ``blake3`` say what is wanted. ``values`` are the chaining values of its blocks, 32 bytes
    each, and empty where none were kept, or it is one block or less: then it is taken as a whole from whoever has it.
    Values that do not make the digest count as none. A block is right if it has its value, whatever the name, size or
    time of the file that has it; what cannot be read is wrong. The file at the path is read once, from the device; of
    ``others`` only blocks are read that it does not have right. Nothing but the staging file is written.

    The new file is created exclusively at ``staging`` (its folder is made), shares the bytes of the damaged one where
    the file system can, and has copies of them elsewhere; it is given its mtime, flushed once, read back cold and
    compared. After any fault it is removed. Where ``staging`` is None everything is read as it would be, and nothing
    written.

    On the page ``others`` count as read, everything else as read back. Raises ``ValueError`` for a digest that is not
    32 bytes long, or values that are no multiple of it.
    """

def exchange(
    root: Root, staging: bytes, path: bytes, slot: bytes, stood: Identity, *, page: Page | None = None
) -> tuple[str | None, Fault | None]:
    """Give a proven staging file the name of a damaged one, and the damaged one the name ``slot``, which must be free:
    ``(how, fault)``, one of them None.

    ``stood`` is what was looked at under the name. Anything else that is found there, before or after, stays there or
    is put back: a fault of kind ``changed``. Where a name no longer leads to what was put there,
    all stays, and the fault says where. ``how`` is ``exchange`` where both names changed at one moment; elsewhere the
    damaged file is moved first and the new one published then, neither replacing anything, and ``how`` is the
    publish method. Keep a durable note of the names until this returns: if the process ends in between, the same call
    (or :func:`publish`, where nothing stands under the name) finishes the work. All folders concerned are flushed; a
    folder that cannot be is a fault (``fsync_folder``), and the names stand. The page's cancel flag is not heeded.
    """

def block_of(size: int) -> int:
    """The length of a block in a file of this size, in bytes: 1 MiB, doubled above 64 GiB until there are at most
    65,536.
    """

def root_of(size: int, values: bytes) -> bytes | None:
    """The BLAKE3 of a file of this size, from the chaining values of its blocks; None if they do not fit the size, or
    it has one block only.
    """

def settle(root: Root, paths: Sequence[bytes]) -> list[Fault | None]:
    """Flush the folders that lead to each path, up to the root: what makes a name durable that was found."""

def make_folders(root: Root, paths: Sequence[bytes], mtimes: Sequence[int]) -> list[Fault | None]:
    """Make each folder where it is missing, durably, and give it its mtime (the deepest first)."""

def discard(root: Root, paths: Sequence[bytes]) -> list[Fault | None]:
    """Remove files; one that is already gone is no fault."""

def blake3(data: bytes) -> bytes:
    """The BLAKE3 digest of some bytes in memory."""

def die_with_parent() -> bool:
    """Ask the kernel to kill this process when its parent ends; False where no such request exists."""
