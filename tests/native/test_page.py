"""Page: a view of memory that another process may read and set."""

import subprocess
import sys
from mmap import mmap

import pytest

from ingest import _native


def test_a_private_page_starts_at_zero():
    assert _native.Page().words() == [0] * _native.PAGE_WORDS


def test_what_is_done_to_the_memory_is_seen_in_the_page_and_back():
    memory = bytearray(_native.PAGE_WORDS * 8)
    page = _native.Page(memory)

    memoryview(memory).cast("Q")[7] = 2**64 - 1
    page.cancel()

    assert page.words()[7] == 2**64 - 1
    assert memoryview(memory).cast("Q")[0] == 1


def test_the_memory_stays_while_the_page_does():
    memory = bytearray(_native.PAGE_WORDS * 8)
    page = _native.Page(memory)

    with pytest.raises(BufferError):
        memory.extend(b"more")
    del page
    memory.extend(b"more")


def test_another_process_sets_the_flag(tmp_path):
    path = tmp_path / "page"
    path.write_bytes(bytes(4096))
    with open(path, "r+b") as file:
        shared = mmap(file.fileno(), 4096)
    page = _native.Page(shared)
    code = (
        "import sys; from mmap import mmap; from ingest import _native\n"
        "with open(sys.argv[1], 'r+b') as file: _native.Page(mmap(file.fileno(), 4096)).cancel()"
    )

    subprocess.run([sys.executable, "-c", code, path], check=True)

    assert page.words()[0] == 1


@pytest.mark.parametrize(
    ("buffer", "problem"),
    [
        (bytes(512), "read-only"),
        (bytearray(511), "too small"),
        (memoryview(bytearray(521))[1:513], "aligned"),
        (memoryview(bytearray(1024))[::2], "contiguous"),
    ],
)
def test_memory_that_does_not_do_is_refused(buffer, problem):
    with pytest.raises(ValueError, match=problem):
        _native.Page(buffer)


def test_what_is_no_memory_is_refused():
    with pytest.raises(TypeError):
        _native.Page(7)
