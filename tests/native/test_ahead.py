"""stage with many small files: some are opened and asked for before their turn, and nobody is blamed for another."""

import re

import pytest

FILES = 60
AHEAD = 16

STAGE = """
card, archive, files = sys.argv[1:]
names = [b"%03d" % number for number in range(int(files))]
seen = [os.stat(card + "/" + name.decode()) for name in names]
page = _native.Page()

def stage():
    return _native.stage(
        _native.Root(os.fsencode(card)), [_native.Root(os.fsencode(archive))], list(range(len(names))), names,
        [each.st_size for each in seen], [each.st_mtime_ns for each in seen],
        [[b"staging/" + name for name in names]], page=page,
    )
"""

WATCHED = (
    STAGE
    + """
import threading, time
stays, over = {}, threading.Event()

def watch():
    while not over.is_set():
        item = page.words()[5]
        stays[item] = stays.get(item, 0) + 1
        time.sleep(0.005)

watcher = threading.Thread(target=watch)
watcher.start()
staged = stage()
over.set()
watcher.join()
result = max(stays, key=stays.get) - 1, staged[4], staged[5][0][4]
"""
)


@pytest.fixture
def many(card):
    for number in range(FILES):
        card.write(f"{number:03}", b"%d" % number * 1000)
    return card


def places(calls: list[str], what: str, path: str) -> list[int]:
    return [at for at, call in enumerate(calls) if call.startswith(what) and path in call]


def test_sixteen_sources_are_opened_ahead_and_no_more(many, disk, traced):
    (disk.path / "staging").mkdir()

    _, calls = traced(STAGE + "result = stage()[4]", many.path, disk.path, str(FILES), trace="openat,openat2,read")

    opened = {number: places(calls, "open", f'"{number:03}"')[0] for number in range(FILES)}
    read = {number: places(calls, "read(", f"/card/{number:03}>")[0] for number in range(FILES)}
    ahead = [sum(opened[later] < read[number] for later in range(number, FILES)) for number in range(FILES)]
    assert ahead[0] == AHEAD
    assert max(ahead) == AHEAD
    assert sorted(opened, key=opened.get) == sorted(read, key=read.get) == list(range(FILES))


def test_a_copy_is_asked_for_after_it_was_dropped_and_before_it_is_read_back(many, disk, traced):
    if disk.root().cold != "evicted":
        pytest.skip("the cache cannot be seen to be empty here")
    (disk.path / "staging").mkdir()

    _, calls = traced(STAGE + "result = stage()[4]", many.path, disk.path, str(FILES), trace="fadvise64,read")

    for number in range(FILES):
        about = [call for call in calls if f"/staging/{number:03}>" in call]
        steps = [re.search(r"POSIX_FADV_\w+|^read", call)[0] for call in about]
        assert steps[:3] == ["POSIX_FADV_DONTNEED", "POSIX_FADV_WILLNEED", "read"], about


@pytest.mark.parametrize("phase", ["source", "copy"])
def test_one_that_hangs_in_its_opening_is_the_one_that_is_named(many, disk, traced, phase):
    (disk.path / "staging").mkdir()
    arguments = (many.path, disk.path, str(FILES))
    # Which of all calls of that program opens the 42nd file; a copy is opened for the second time to be read back.
    _, calls = traced(WATCHED, *arguments, trace="openat,openat2")
    for path in (disk.path / "staging").iterdir():
        path.unlink()
    # A read-only call opens it, and there is only one of the source and one of the copy.
    where = "/card" if phase == "source" else "/staging"
    mine = [call for call in calls if '"041"' in call and f"{where}>" in call and "O_CREAT" not in call]
    assert len(mine) == 1, mine
    kind = mine[0].split("(")[0]
    when = [call for call in calls if call.startswith(kind + "(")].index(mine[0]) + 1

    (named, faults, troubles), _ = traced(
        WATCHED, *arguments, trace=kind, inject=(f"{kind}:delay_enter=3s:when={when}",)
    )

    assert (named, faults, troubles) == (41, {}, {})
