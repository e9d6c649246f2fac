"""mend and exchange: what the extension promises of them, on real file systems, call by call."""

import errno
import os
import re

import pytest

from ingest import _native

MIB = 1 << 20
RIGHT = b"".join(number.to_bytes(8, "big") + bytes(range(256)) * 4096 for number in range(3))[: 3 * MIB]


def values(data, place):
    """The chaining values of a file's blocks."""
    name = place.write("values-of", data)
    ((found, _, _, fault),) = _native.inspect(place.root(), [name], [len(data)])
    assert fault is None
    os.unlink(place.path / "values-of")
    return found


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def mended(archive, other, right=RIGHT, others=(b"clip",), **options):
    kept = values(right, other) if len(right) > MIB else b""
    return _native.mend(
        archive.root(), b"clip", len(right), 1_600_000_000_123_456_700, _native.blake3(right), kept, other.root(), others,
        options.pop("staging", b"s/part"), **options,
    )  # fmt: skip


def test_the_answer_is_what_the_contract_says(archive, card):
    archive.write("clip", flipped(RIGHT, MIB + 7))
    card.write("clip", RIGHT)
    page = _native.Page()

    stood, ranges, fetched, strategy, method, fault = mended(archive, card, page=page)

    facts = os.stat(archive.path / "clip")
    assert stood == (facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_dev, facts.st_ino, facts.st_nlink)
    assert (ranges, fetched, fault) == ([(MIB, 2 * MIB)], MIB, None)
    assert strategy in ("reflink", "copy")
    assert method == archive.root().cold
    assert archive.read("s/part") == RIGHT
    assert page.words()[1] == MIB
    assert page.words()[3] == 2 * len(RIGHT), "the damaged file was read once, and the new one read back"


def test_arguments_that_make_no_sense_are_refused(archive, card):
    arguments = [archive.root(), b"clip", 5, 0, _native.blake3(b"x"), b"", card.root(), [], None]
    for at, wrong, said in ((4, b"short", "32"), (5, b"x" * 33, "multiple")):
        with pytest.raises(ValueError, match=said):
            _native.mend(*arguments[:at], wrong, *arguments[at + 1 :])


@pytest.mark.root
@pytest.mark.parametrize(
    ("kind", "strategy"), [("xfs", "reflink"), ("btrfs", "reflink"), ("ext4", "copy"), ("tmpfs", "copy")]
)
def test_what_is_right_is_shared_where_the_file_system_can(make_disk, card, kind, strategy):
    disk = type(card)(make_disk(kind))
    card.write("clip", RIGHT)
    for wrong in (flipped(RIGHT, 5), RIGHT[: MIB + 9], RIGHT + b"more"):
        disk.write("clip", wrong)

        _, _, _, how, method, fault = mended(disk, card)

        assert (how, fault) == (strategy, None)
        assert method == disk.root().cold
        assert disk.read("s/part") == RIGHT
        assert disk.read("clip") == wrong, "writing to the one leaves the other as it was"
        os.unlink(disk.path / "s/part")


MEND = """
root, other = (_native.Root(os.fsencode(path)) for path in sys.argv[1:3])
right = open(sys.argv[2] + "/clip", "rb").read()
((kept, *_),) = _native.inspect(other, [b"clip"], [len(right)])
result = _native.mend(root, b"clip", len(right), 0, _native.blake3(right), kept, other, [b"clip"], b"s/part")
"""


def test_only_the_damaged_block_is_read_from_the_other_place_and_nothing_is_written_there(archive, card, traced):
    archive.write("clip", flipped(RIGHT, 2 * MIB + 7))
    card.write("clip", RIGHT)
    code = MEND.replace("right = open", "os.write(1, b''); right = open")

    (_, _, fetched, *_, fault), calls = traced(
        code, archive.path, card.path, trace="pread64,pwrite64,write,openat2", about=card.path / "clip"
    )

    assert (fetched, fault) == (MIB, None)
    read = [call for call in calls if call.startswith("pread64(")]
    # The values were made by reading it whole; then the one block.
    assert [int(call.rsplit("= ", 1)[1]) for call in read[-1:]] == [MIB]
    assert re.search(rf", {2 * MIB}\) ", read[-1])
    assert len(read) == 4
    assert not [call for call in calls if "write" in call.split("(")[0]]


@pytest.mark.parametrize(
    ("inject", "operation", "number"),
    [
        ("pwrite64:error=ENOSPC:when=2", "write", errno.ENOSPC),
        ("fsync:error=EIO:when=1", "fsync", errno.EIO),
        ("ftruncate:error=EFBIG", "ftruncate", errno.EFBIG),
    ],
)
def test_a_fault_leaves_nothing_behind_and_the_damaged_file_as_it_was(archive, card, traced, inject, operation, number):
    wrong = flipped(RIGHT, 2 * MIB + 7)
    archive.write("clip", wrong)
    card.write("clip", RIGHT)
    (archive.path / "s").mkdir()

    (*_, strategy, method, fault), _ = traced(
        MEND, archive.path, card.path, trace="pwrite64,fsync,ftruncate", inject=(inject,), about=archive.path / "s/part"
    )

    assert (strategy, method) == (None, None)
    assert fault[:3] == ("io", operation, number)
    assert archive.files() == {"clip"}
    assert archive.read("clip") == wrong


def test_what_cannot_be_read_of_the_damaged_file_is_fetched(archive, card, traced):
    archive.write("clip", RIGHT)
    card.write("clip", RIGHT)

    (_, ranges, fetched, strategy, _, fault), _ = traced(
        MEND,
        archive.path,
        card.path,
        trace="pread64",
        inject=("pread64:error=EIO:when=2",),
        about=archive.path / "clip",
    )

    assert fault is None
    assert (ranges, fetched) == ([(MIB, 2 * MIB)], MIB)
    assert strategy
    assert archive.read("s/part") == RIGHT


def test_a_read_error_of_the_other_place_is_said(archive, card, traced):
    archive.write("clip", flipped(RIGHT, 5))
    card.write("clip", RIGHT)

    (_, _, _, _, _, fault), _ = traced(
        MEND, archive.path, card.path, trace="pread64", inject=("pread64:error=EIO:when=4",), about=card.path / "clip"
    )

    assert fault[:3] == ("mismatch", "mend", 0)
    assert fault[5] == [(0, MIB)]
    assert str(card.path / "clip") in fault[4]


EXCHANGE = """
root = _native.Root(os.fsencode(sys.argv[1]))
(stood,) = root.lstat([b"2024/clip"])
result = _native.exchange(root, b"s/part", b"2024/clip", b"q/2024/clip", stood)
"""


def prepared(archive):
    archive.write("s/part", b"proven")
    archive.write("2024/clip", b"damaged")


def test_names_change_at_one_moment_and_every_folder_is_flushed(archive, traced):
    prepared(archive)

    result, calls = traced(EXCHANGE, archive.path, trace="renameat2,fsync")

    assert result == ("exchange", None)
    assert (archive.read("2024/clip"), archive.read("q/2024/clip")) == (b"proven", b"damaged")
    assert archive.files() == {"2024/clip", "q/2024/clip"}
    renames = [at for at, call in enumerate(calls) if call.startswith("renameat2(")]
    assert "RENAME_EXCHANGE" in calls[renames[0]]
    assert "RENAME_NOREPLACE" in calls[renames[1]]
    top = str(archive.path)

    def flushed(some):
        return {call.split("<")[1].split(">")[0] for call in some if call.startswith("fsync(")}

    assert flushed(calls[: renames[0]]) >= {top, f"{top}/q"}, "the slot's folders stand before anything moves"
    assert flushed(calls[renames[0] : renames[1]]) == {f"{top}/2024", f"{top}/s"}
    assert flushed(calls[renames[1] :]) == {f"{top}/2024", f"{top}/s", f"{top}/q/2024"}


@pytest.mark.parametrize(
    ("inject", "how"),
    [
        (("renameat2:error=EINVAL:when=1",), "noreplace"),
        (("renameat2:error=ENOSYS",), "link"),
        (("renameat2:error=EINVAL",), "link"),
    ],
)
def test_where_names_cannot_change_at_once_they_change_in_turn(archive, traced, inject, how):
    prepared(archive)

    result, _ = traced(EXCHANGE, archive.path, trace="renameat2,linkat", inject=inject)

    assert result == (how, None)
    assert (archive.read("2024/clip"), archive.read("q/2024/clip")) == (b"proven", b"damaged")
    assert archive.files() == {"2024/clip", "q/2024/clip"}


def test_when_the_new_file_gets_no_name_the_damaged_one_has_it_back(archive, traced):
    prepared(archive)

    # The exchange is unknown, the damaged file moves away, and the new one can take the name in no way.
    inject = ("renameat2:error=EINVAL:when=1+2", "linkat:error=EACCES")
    (how, fault), _ = traced(EXCHANGE, archive.path, trace="renameat2,linkat", inject=inject)

    assert how is None
    assert fault[:3] == ("io", "link", errno.EACCES)
    assert (archive.read("2024/clip"), archive.read("s/part")) == (b"damaged", b"proven")
    assert archive.files() == {"2024/clip", "s/part"}


RACED = """
import threading, time
root = _native.Root(os.fsencode(sys.argv[1]))
(stood,) = root.lstat([b"2024/clip"])
clip, old = sys.argv[1] + "/2024/clip", sys.argv[1] + "/2024/old"

def swap():
    # The exchange waits in the kernel's door, after its last look.
    time.sleep(0.3)
    os.rename(clip, old)
    with open(clip, "wb") as file:
        file.write(b"mine")

thread = threading.Thread(target=swap)
thread.start()
result = _native.exchange(root, b"s/part", b"2024/clip", b"q/2024/clip", stood)
thread.join()
"""


@pytest.mark.parametrize("known", [True, False], ids=["at-once", "in-turn"])
def test_a_file_that_came_after_the_last_look_is_put_back(archive, traced, known):
    prepared(archive)
    # The first call is the exchange; where that is unknown the second moves the damaged file away.
    late = "renameat2:delay_enter=1000000:when=1" if known else "renameat2:error=EINVAL:delay_enter=1000000:when=1"

    (how, fault), _ = traced(RACED, archive.path, trace="renameat2", inject=(late,))

    assert how is None
    assert fault[0] == "changed"
    assert (archive.read("2024/clip"), archive.read("2024/old"), archive.read("s/part")) == (
        b"mine",
        b"damaged",
        b"proven",
    )
    assert not archive.exists("q/2024/clip")


SWAPPED = """
root = _native.Root(os.fsencode(sys.argv[1]))
(stood,) = root.lstat([b"2024/clip"])
# Somebody is quicker: the look has been, the name leads to another file now.
os.rename(sys.argv[1] + "/2024/clip", sys.argv[1] + "/2024/old")
open(sys.argv[1] + "/2024/clip", "wb").write(b"mine")
result = _native.exchange(root, b"s/part", b"2024/clip", b"q/2024/clip", stood)
"""


def test_another_file_under_the_name_is_left_alone(archive, traced):
    prepared(archive)

    (how, fault), _ = traced(SWAPPED, archive.path, trace="renameat2")

    assert how is None
    assert fault[0] == "changed"
    assert (archive.read("2024/clip"), archive.read("2024/old"), archive.read("s/part")) == (
        b"mine",
        b"damaged",
        b"proven",
    )
    assert not archive.exists("q/2024/clip")


TAKEN = """
import threading, time
root = _native.Root(os.fsencode(sys.argv[1]))
(stood,) = root.lstat([b"2024/clip"])
clip, old = sys.argv[1] + "/2024/clip", sys.argv[1] + "/2024/old"

def take():
    # Once the names have been exchanged: the next call waits in the kernel's door.
    while open(clip, "rb").read() != b"proven":
        time.sleep(0.01)
    time.sleep(0.3)
    os.rename(clip, old)
    with open(clip, "wb") as file:
        file.write(b"mine")

thread = threading.Thread(target=take)
thread.start()
result = _native.exchange(root, b"s/part", b"2024/clip", b"q/2024/clip", stood)
thread.join()
"""


def test_names_that_were_exchanged_are_not_exchanged_back_when_somebody_has_taken_one(archive, traced):
    prepared(archive)

    # The exchange succeeds; meanwhile the damaged file waits for its slot, and does not get it.
    inject = ("renameat2:error=EACCES:delay_enter=1500000:when=2",)
    (how, fault), calls = traced(TAKEN, archive.path, trace="renameat2", inject=inject)

    assert how is None
    assert fault[:3] == ("io", "rename", errno.EACCES)
    assert "leads to something else" in fault[4]
    assert "s/part" in fault[4]
    assert len([call for call in calls if "RENAME_EXCHANGE" in call]) == 1
    found = [archive.read(name) for name in ("2024/clip", "2024/old", "s/part")]
    assert found == [b"mine", b"proven", b"damaged"], "each file is where it was, and none is lost"
    assert not archive.exists("q/2024/clip")


def test_what_came_between_the_look_and_the_exchange_back_is_said_and_not_lost(archive, traced):
    prepared(archive)
    archive.write("q/2024/clip", b"older")

    # The slot is taken; the exchange back waits, after its look.
    inject = ("renameat2:delay_enter=1500000:when=3",)
    (how, fault), calls = traced(TAKEN, archive.path, trace="renameat2", inject=inject)

    assert how is None
    assert fault[:3] == ("io", "rename", errno.EEXIST)
    assert "meanwhile" in fault[4]
    assert len([call for call in calls if "RENAME_EXCHANGE" in call]) == 2
    found = [archive.read(name) for name in ("2024/clip", "2024/old", "s/part", "q/2024/clip")]
    assert found == [b"damaged", b"proven", b"mine", b"older"], "nothing is done to what nobody has looked at"


def test_names_are_exchanged_back_when_the_slot_is_refused(archive, traced):
    prepared(archive)

    (how, fault), _ = traced(EXCHANGE, archive.path, trace="renameat2", inject=("renameat2:error=EACCES:when=2",))

    assert how is None
    assert fault[:3] == ("io", "rename", errno.EACCES)
    assert (archive.read("2024/clip"), archive.read("s/part")) == (b"damaged", b"proven")
    assert archive.files() == {"2024/clip", "s/part"}


def test_an_exchange_back_that_is_refused_is_said(archive, traced):
    prepared(archive)

    (how, fault), _ = traced(EXCHANGE, archive.path, trace="renameat2", inject=("renameat2:error=EACCES:when=2+",))

    assert how is None
    assert fault[:3] == ("io", "rename", errno.EACCES)
    assert "s/part" in fault[4]
    assert (archive.read("2024/clip"), archive.read("s/part")) == (b"proven", b"damaged")
