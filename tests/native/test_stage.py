"""stage: one read, one hash, many proven copies."""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from mmap import mmap
from pathlib import Path

import pytest

from ingest import _native

MIB = 1 << 20


def pattern(length: int) -> bytes:
    return (bytes(range(251)) * (length // 251 + 1))[:length]


@pytest.mark.parametrize("mode", ["read", "mmap", "direct"])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1])
def test_what_arrives_is_what_was_there(card, archive, stage, mode, size):
    data = pattern(size)
    name = card.write("A/clip.mov", data)

    [(digest, read, started, copied, fault, verdicts)] = stage(card, [archive], name, mode=mode, buffer=4096)

    assert digest == _native.blake3(data)
    assert (read, fault) == (size, None)
    [(method, validated, mtime, strategy, copy_fault)] = verdicts
    assert method in {"direct", "evicted", "reread"}
    assert copy_fault is None
    assert strategy == "copy"
    assert 0 < started <= copied <= validated
    assert mtime == os.stat(card.path / os.fsdecode(name)).st_mtime_ns
    assert archive.read("staging/0") == data


@pytest.mark.parametrize("strategy", ["copy", "hardlink"])
def test_a_source_is_read_twice_if_that_is_asked_for(card, archive, strategy):
    sizes = [0, 1, 70_000, 2 * MIB + 1]
    names = [card.write(f"{size}.mov", pattern(size)) for size in sizes]
    times = [os.stat(card.path / os.fsdecode(name)).st_mtime_ns for name in names]
    page = _native.Page()

    staged = _native.stage(
        card.root(), [archive.root()], range(4), names, sizes, times, [[b"staging/%d" % at for at in range(4)]],
        strategy=strategy, verify_source=True, page=page,
    )  # fmt: skip

    assert staged[1] == [2 * size for size in sizes]
    assert not staged[4]
    read_back, hashed = page.words()[3], page.words()[5 + _native.THREADS_MAX]
    assert (read_back, hashed) == (sum(sizes), sum(sizes)), "what is read again moves at the source, not at a root"


def test_it_is_said_where_the_second_read_may_have_come_from_memory(card, archive, mounts):
    memory = mounts.tmpfs("size=4m")
    assert memory.root().cold == "reread"
    for number, place in enumerate((memory, card)):
        names = [place.write(name, b"clip") for name in ("a.mov", "b.mov")]
        times = [os.stat(place.path / os.fsdecode(name)).st_mtime_ns for name in names]
        staging = [[b"staging/%d-%d" % (number, at) for at in range(2)]]

        staged = _native.stage(
            place.root(), [archive.root()], [0, 1], names, [4, 4], times, staging, verify_source=True
        )

        assert not staged[4]
        assert staged[11] == ([0, 1] if place.root().cold == "reread" else [])


def test_verdicts_come_in_the_order_of_the_roots_and_answers_in_the_order_of_the_items(card, archive, disk, stage):
    names = [card.write(f"{number}.xml", b"%d" % number) for number in range(5)]

    staged = stage(card, [archive, disk], *names)

    assert [digest for digest, *_ in staged] == [_native.blake3(b"%d" % number) for number in range(5)]
    assert all(len(verdicts) == 2 for *_, verdicts in staged)
    assert disk.files() == archive.files() == {f"staging/{number}" for number in range(5)}


def test_times_are_kept_to_the_nanosecond(card, archive, stage):
    name = card.write("clip.mov", b"x")
    os.utime(card.path / "clip.mov", ns=(5, 1_234_567_890_123_456_789))

    stage(card, [archive], name)

    assert (archive.path / "staging/0").stat().st_mtime_ns == 1_234_567_890_123_456_789


def test_the_disk_of_the_repository_is_read_back_cold(card, disk, stage):
    root = disk.root()
    if root.magic != 0xEF53:
        pytest.skip("the repository is not on ext4")
    name = card.write("clip.mov", pattern(3 * MIB + 1))

    [(*_, verdicts)] = stage(card, [disk], name)

    assert root.cold in {"evicted", "direct"}
    assert verdicts[0][0] == root.cold


def test_memory_is_never_cold(card, mounts, stage):
    memory = mounts.tmpfs("size=4m")
    name = card.write("clip.mov", b"x")

    [(*_, verdicts)] = stage(card, [memory], name)

    assert memory.root().cold == verdicts[0][0] == "reread"


def test_the_source_is_opened_once_for_reading_only_and_each_byte_is_read_once(card, archive, traced):
    card.write("clip.mov", pattern(3 * MIB + 1))

    result, calls = traced(STAGE, card.path, archive.path, trace="openat,openat2,read,pread64,readv,mmap")

    assert result[4] == {}
    opened = [call for call in calls if call.startswith("open") and '"clip.mov"' in call]
    assert len(opened) == 1
    assert "O_RDONLY" in opened[0]
    # A call that another thread's came between is told in two lines.
    since = calls[calls.index(opened[0]) + 1 :]
    read = [call for call in since if "/card/clip.mov>" in call or "read resumed>" in call]
    read = [call for call in read if "open" not in call.split("(")[0]]
    done = [call for call in read if not call.endswith("<unfinished ...>")]
    assert sum(int(call.rsplit("= ", 1)[1]) for call in done) == 3 * MIB + 1


def test_each_copy_is_flushed_exactly_once(card, archive, traced):
    card.write("clip.mov", b"x")

    _, calls = traced(STAGE, card.path, archive.path, trace="fsync,fdatasync,syncfs,sync")

    assert len([call for call in calls if "staging/0>" in call]) == 1


STAGE = """
card, archive = sys.argv[1:]
seen = os.stat(card + "/clip.mov")
result = _native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive))], [0], [b"clip.mov"],
    [seen.st_size], [seen.st_mtime_ns], [[b"staging/0"]],
)
"""


def test_a_failed_flush_condemns_the_copy_and_is_never_tried_again(card, archive, traced, rows):
    card.write("clip.mov", b"x")
    (archive.path / "staging").mkdir()

    result, calls = traced(STAGE, card.path, archive.path, trace="fsync", inject=("fsync:error=EIO",))

    [(digest, _, _, _, fault, [(method, *_, copy_fault)])] = rows(result)
    assert digest == _native.blake3(b"x")
    assert (fault, method) == (None, None)
    assert copy_fault[:3] == ("io", "fsync", errno.EIO)
    assert len([call for call in calls if "fsync(" in call]) == 1
    assert archive.files() == set()


def test_space_refused_in_advance_is_a_fault_and_unknown_preallocation_is_none(card, archive, traced):
    card.write("clip.mov", pattern(2 * MIB))

    full, _ = traced(STAGE, card.path, archive.path, trace="fallocate", inject=("fallocate:error=ENOSPC",))
    unknown, _ = traced(STAGE, card.path, archive.path, trace="fallocate", inject=("fallocate:error=EOPNOTSUPP",))

    assert full[5][0][-1][0][:3] == ("io", "fallocate", errno.ENOSPC)
    assert unknown[5][0][-1] == {}


def test_a_kernel_without_openat2_is_walked_component_by_component(card, archive, traced):
    card.write("clip.mov", b"x")

    result, calls = traced(STAGE, card.path, archive.path, trace="openat2", inject=("openat2:error=ENOSYS",))

    assert result[5][0][-1] == {}
    assert len(calls) == 1, "asked once, and then no more"
    assert archive.read("staging/0") == b"x"


def test_a_root_that_is_full_fails_alone(card, archive, mounts, stage):
    small = mounts.tmpfs("size=256k")
    name = card.write("clip.mov", pattern(500_000))

    [(digest, _, _, _, fault, verdicts)] = stage(card, [small, archive], name, buffer=65536)

    assert digest is not None
    assert fault is None
    assert verdicts[0][-1][:3] == ("io", "write", errno.ENOSPC)
    assert verdicts[1][-1] is None
    assert small.files() == set()


def test_inodes_can_run_out_before_bytes_do(card, mounts, stage):
    small = mounts.tmpfs("size=4m,nr_inodes=5")
    names = [card.write(f"{number}", b"x") for number in range(8)]

    staged = stage(card, [small], *names)

    faults = [verdicts[0][-1] for *_, verdicts in staged]
    assert faults[0] is None
    assert faults[-1][:3] == ("io", "create", errno.ENOSPC)
    assert len(small.files()) == faults.count(None)


def test_a_read_only_root_refuses(card, mounts, stage):
    sealed = mounts.tmpfs("size=1m")
    mounts.read_only(sealed)
    name = card.write("clip.mov", b"x")

    [(*_, verdicts)] = stage(card, [sealed], name)

    assert verdicts[0][-1][0] == "io"
    assert verdicts[0][-1][2] == errno.EROFS


def test_a_destination_never_crosses_a_mount_and_a_source_only_when_allowed(card, archive, mounts, stage):
    mounts.tmpfs("size=1m", at=archive.path / "staging")
    inner = mounts.tmpfs("size=1m", at=card.path / "inner")
    inner.write("clip.mov", b"x")
    plain = card.write("plain.mov", b"x")

    [(*_, into_mount)] = stage(card, [archive], plain)
    [(_, _, _, _, refused, _)] = stage(card, [archive], b"inner/clip.mov")
    [(digest, *_)] = stage(card, [], b"inner/clip.mov", cross=True)

    assert into_mount[0][-1][2] == errno.EXDEV
    assert refused[2] == errno.EXDEV
    assert digest == _native.blake3(b"x")
    assert archive.files() == set()


def test_a_mount_that_goes_away_is_not_mistaken_for_the_folder_beneath(card, tmp_path, mounts):
    place = mounts.tmpfs("size=1m")
    root = place.root()
    name = card.write("clip.mov", b"x")
    seen = (card.path / "clip.mov").stat()

    subprocess.run(["umount", "-l", place.path], check=True)
    _native.stage(card.root(), [root], [0], [name], [seen.st_size], [seen.st_mtime_ns], [[b"part"]])

    assert place.files() == set(), "nothing may reach the disk underneath"
    with pytest.raises(OSError, match="another folder") as caught:
        root.check()
    assert caught.value.errno == errno.ESTALE


@pytest.mark.parametrize("name", [b"caf\xe9", b"new\nline", b"\xff\xfe\xfd", b"n" * 255, b" ", b"-rf", b"\\"])
def test_names_are_bytes(card, archive, stage, name):
    card.write(name, b"x")

    [(digest, *_)] = stage(card, [archive], name)
    published = _native.publish(archive.root(), [b"staging/0"], [name])

    assert digest == _native.blake3(b"x")
    assert published == (["noreplace"], {})
    assert archive.read(name) == b"x"


def special(card, kind: str) -> None:
    path = card.path / "odd"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(os.fsencode(path))
        case "device":
            try:
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: it would never end
            except PermissionError:
                pytest.skip("making a device node needs root")
        case "folder":
            path.mkdir()


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder"])
def test_what_is_no_regular_file_is_a_fault_and_never_blocks(card, archive, kind, rows, gone):
    special(card, kind)

    [(digest, read, _, _, fault, verdicts)] = rows(
        _native.stage(card.root(), [archive.root()], [0], [b"odd"], [0], [0], [[b"part"]])
    )

    assert (digest, read) == (None, 0)
    assert fault[:2] == ("io", "open")
    assert verdicts == [gone]
    assert archive.files() == set()


def test_a_link_is_never_followed(card, archive):
    card.write("real", b"x")
    (card.path / "link").symlink_to("real")
    seen = (card.path / "real").stat()

    staged = _native.stage(card.root(), [archive.root()], [0], [b"link"], [1], [seen.st_mtime_ns], [[b"part"]])

    assert staged[4][0][:3] == ("io", "open", errno.ELOOP)


def test_an_unreadable_file_is_a_fault_with_its_path():
    code = """if True:
        import os, sys
        from ingest import _native
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        place = os.fsencode(sys.argv[1])
        seen = os.stat(place + b"/secret")
        root = _native.Root(place)
        staged = _native.stage(root, [root], [0], [b"secret"], [1], [seen.st_mtime_ns], [[b"part"]])
        print(staged[4][0][:4] == ("io", "open", 13, place + b"/secret"))
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        secret = Path(folder, "secret")
        secret.write_bytes(b"x")
        secret.chmod(0)

        ran = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)

    assert ran.stdout == "True\n", ran.stderr


@pytest.mark.parametrize(("size", "mtime"), [(2, 0), (1, 1)])
def test_a_source_that_is_not_what_the_scan_saw_is_changed(card, archive, size, mtime, rows, gone):
    name = card.write("clip.mov", b"x")
    seen = (card.path / "clip.mov").stat().st_mtime_ns

    [(digest, _, _, _, fault, verdicts)] = rows(
        _native.stage(card.root(), [archive.root()], [0], [name], [size], [seen + mtime], [[b"part"]])
    )

    assert (digest, fault[0]) == (None, "changed")
    assert verdicts == [gone]


def test_a_copy_that_reads_back_wrong_names_the_bytes(card, archive, stage):
    data = pattern(64 * MIB)
    name = card.write("clip.mov", data)
    page = _native.Page()

    def damage():
        while page.words()[2] < 2 * MIB:
            pass
        with open(archive.path / "staging/0", "r+b") as file:
            file.seek(1000)
            file.write(b"\xff" * 10)

    thread = threading.Thread(target=damage)
    thread.start()
    [(digest, _, _, _, fault, [(method, *_, copy_fault)])] = stage(card, [archive], name, buffer=4096, page=page)
    thread.join()

    assert (digest, fault, method) == (_native.blake3(data), None, None)
    assert copy_fault[:3] == ("mismatch", "verify", 0)
    assert copy_fault[5] == [(1000, 1010)]
    assert archive.files() == set()


def test_cancelling_from_another_thread_takes_effect_within_a_buffer(card, archive, stage, gone):
    with open(card.path / "huge.mov", "wb") as file:
        file.truncate(4096 * MIB)
    page = _native.Page()
    cancelled_at = []

    def cancel():
        while page.words()[1] < MIB:
            pass
        cancelled_at.append(time.monotonic())
        page.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    [(digest, _, _, _, fault, verdicts)] = stage(card, [archive], b"huge.mov", buffer=65536, page=page)
    ended_at = time.monotonic()
    thread.join()

    assert (digest, fault[0], verdicts) == (None, "cancelled", [gone])
    assert ended_at - cancelled_at[0] < 1.0  # 100 ms are promised; a busy machine may schedule us late
    assert archive.files() == set()


def test_the_page_tells_what_is_worked_on(card, archive, stage):
    names = [card.write(f"{number}", pattern(1000)) for number in range(3)]
    page = _native.Page()

    stage(card, [archive], *names, page=page)

    words = page.words()
    assert words[:4] == [0, 3000, 3000, 3000]
    assert words[4] >= 3
    assert words[5] == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_the_page_tells_what_moved_at_each_root(card, archive, place, tmp_path, stage, threads):
    """Written and read back, and perhaps waited for on its way to the device; nothing at one that failed at once."""
    size = 20 * MIB + 7
    name = card.write("clip.mov", pattern(size))
    taken = place(tmp_path / "taken")
    taken.write("staging/0", b"somebody's")
    page = _native.Page()

    stage(card, [archive, taken, place(tmp_path / "third")], name, page=page, threads=threads)

    hashed, first, failed, third, *rest = page.words()[5 + _native.THREADS_MAX :]
    assert hashed == 0
    assert 2 * size <= first <= 4 * size
    assert 2 * size <= third <= 4 * size
    assert failed == 0
    assert set(rest) == {0}


MAPPED = """
import os, sys
from mmap import mmap
from ingest import _native
card, archive, page = sys.argv[1:]
seen = os.stat(card + "/clip.mov")
with open(page, "r+b") as file:
    shared = mmap(file.fileno(), 4096)
_native.stage(
    _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive))], [0], [b"clip.mov"],
    [seen.st_size], [seen.st_mtime_ns], [[b"part"]], mode="mmap", buffer=4096, page=_native.Page(shared),
)
"""


def test_a_source_cut_off_beneath_its_map_kills_the_process_with_sigbus(card, archive, tmp_path):
    """The price of the mode, which the supervisor answers with one retry by ``read``."""
    window = 8 * MIB
    with open(card.path / "clip.mov", "wb") as file:
        file.truncate(64 * window)
    (tmp_path / "page").write_bytes(bytes(4096))
    with open(tmp_path / "page", "r+b") as file:
        page = mmap(file.fileno(), 4096)
    words = memoryview(page).cast("Q")
    child = subprocess.Popen([sys.executable, "-c", MAPPED, card.path, archive.path, tmp_path / "page"])
    # Stopped well inside a window, so that it meets the end of the file before it looks at the size again.
    stopped_inside = False
    while not stopped_inside and child.poll() is None:
        if words[1] == 0:
            continue
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        stopped_inside = 0 < words[1] % window < window // 2
        if not stopped_inside:
            child.send_signal(signal.SIGCONT)
    assert child.poll() is None, "it ended before the source was cut off"

    os.truncate(card.path / "clip.mov", 0)
    child.send_signal(signal.SIGCONT)

    assert child.wait(60) == -signal.SIGBUS
    words.release()
    page.close()


@pytest.mark.parametrize("threads", [0, _native.THREADS_MAX + 1])
def test_threads_must_be_within_limits(card, archive, threads):
    with pytest.raises(ValueError, match="threads"):
        _native.stage(card.root(), [archive.root()], [], [], [], [], [[]], threads=threads)


def test_columns_must_fit_together(card, archive):
    root, target = card.root(), archive.root()
    for items, paths, sizes, mtimes, staging in [
        ([0, 1], [b"a"], [1], [1], [[b"p"]]),
        ([0], [b"a"], [], [1], [[b"p"]]),
        ([0], [b"a"], [1], [1], [[]]),
        ([0], [b"a"], [1], [1], []),
    ]:
        with pytest.raises(ValueError, match="entries"):
            _native.stage(root, [target], items, paths, sizes, mtimes, staging)


@pytest.mark.parametrize("buffer", [0, 2048, 5000, 1 << 27])
def test_a_buffer_must_be_a_power_of_two_within_limits(card, archive, buffer):
    with pytest.raises(ValueError, match="power of two"):
        _native.stage(card.root(), [archive.root()], [], [], [], [], [[]], buffer=buffer)


def test_an_unknown_mode_is_refused(card, archive):
    with pytest.raises(ValueError, match="mode"):
        _native.stage(card.root(), [archive.root()], [], [], [], [], [[]], mode="reflink")


def test_an_empty_batch_is_no_work(card, archive):
    staged = _native.stage(card.root(), [archive.root()], [], [], [], [], [[]])

    assert staged[:6] == (b"", [], [], [], {}, [([], [], [], [], {})])
