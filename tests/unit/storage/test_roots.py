from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from ingest.errors import IngestError, MissingError, UsageError
from ingest.storage import roots
from ingest.storage.identity import Footing
from ingest.storage.marker import MARKER, STAGING, read_marker
from ingest.storage.roots import clear_staging, open_destination, pin, reopen_destination
from ingest.storage.volumes import volume_of

SHORT = "1a2b3c4d"


@pytest.fixture
def place(tree):
    return tree("root")


# Opening


def test_a_folder_becomes_a_root_the_first_time_only(place):
    first = open_destination(place.name)
    text = place.get(MARKER)
    again = open_destination(place.name)

    assert (first.fresh, again.fresh) == (True, False)
    assert again.marker == first.marker
    assert place.get(MARKER) == text


def test_a_root_is_known_again_wherever_it_is_mounted(place):
    first = open_destination(place.name)
    moved = place.path.with_name("mounted elsewhere")
    place.path.rename(moved)

    assert open_destination(os.fsencode(moved)).marker == first.marker


def test_a_folder_that_is_not_there_may_be_a_disk_that_is_not_mounted(tmp_path):
    missing = os.fsencode(tmp_path / "missing")

    with pytest.raises(MissingError, match="mounted") as caught:
        open_destination(missing)

    assert caught.value.path == missing
    assert not os.path.exists(missing)


def test_a_folder_is_made_with_its_parents_when_asked(tmp_path):
    deep = os.fsencode(tmp_path / "a/b/c")

    made = open_destination(deep, create=True)

    assert os.path.isdir(deep)
    assert made.fresh
    assert not open_destination(deep, create=True).fresh


def test_a_folder_that_is_made_is_flushed_with_its_parents(tmp_path):
    trace = tmp_path / "trace"
    deep = tmp_path / "a/b"
    code = f"from ingest.storage.roots import open_destination; open_destination({os.fsencode(deep)!r}, create=True)"
    command = ["strace", "-f", "-y", "-e", "trace=fsync", "-o", str(trace), sys.executable, "-c", code]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no strace here")

    flushed = {line.partition("<")[2].partition(">")[0] for line in trace.read_text().splitlines() if "= 0" in line}
    assert {str(tmp_path), str(tmp_path / "a")} <= flushed


def test_a_file_is_no_destination(tmp_path):
    (tmp_path / "file").touch()

    for create in (False, True):
        with pytest.raises(UsageError):
            open_destination(os.fsencode(tmp_path / "file"), create=create)


def test_a_path_through_a_file_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").touch()

    for create in (False, True):
        with pytest.raises(IngestError):
            open_destination(os.fsencode(tmp_path / "file" / "x"), create=create)


def test_a_dangling_link_is_not_followed_into_being(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(IngestError):
        open_destination(os.fsencode(tmp_path / "link"), create=True)

    assert not (tmp_path / "elsewhere").exists()


# A disk that is not there


@pytest.fixture
def mount_folder(tmp_path, monkeypatch):
    """A folder where disks are mounted, on the system disk."""
    folder = tmp_path / "mnt"
    folder.mkdir()
    monkeypatch.setattr(roots, "MOUNT_FOLDERS", (os.fsencode(folder.resolve()) + b"/",))
    if os.stat(folder).st_dev != os.stat("/").st_dev:
        pytest.skip("temporary files are not on the system disk here")
    return folder


def test_an_empty_mount_point_is_refused(mount_folder):
    (mount_folder / "DISK").mkdir()

    with pytest.raises(MissingError, match="system disk") as caught:
        open_destination(os.fsencode(mount_folder / "DISK"))

    assert "--new-root" in caught.value.advice
    assert list((mount_folder / "DISK").iterdir()) == []


def test_nothing_is_made_below_a_mount_point_whose_disk_is_away(mount_folder):
    (mount_folder / "DISK").mkdir()

    with pytest.raises(MissingError):
        open_destination(os.fsencode(mount_folder / "DISK/archive/2026"), create=True)

    assert list((mount_folder / "DISK").iterdir()) == []


def test_a_link_into_a_mount_folder_is_seen_through(mount_folder, tmp_path):
    (mount_folder / "DISK").mkdir()
    (tmp_path / "archive").symlink_to(mount_folder / "DISK")

    with pytest.raises(MissingError):
        open_destination(os.fsencode(tmp_path / "archive"))


def test_whoever_means_the_system_disk_can_say_so(mount_folder):
    (mount_folder / "DISK").mkdir()

    assert open_destination(os.fsencode(mount_folder / "DISK"), new_root=True).fresh
    assert open_destination(os.fsencode(mount_folder / "new"), create=True, new_root=True).fresh


def test_a_root_that_lives_there_already_is_opened(mount_folder):
    (mount_folder / "DISK").mkdir()
    open_destination(os.fsencode(mount_folder / "DISK"), new_root=True)

    assert not open_destination(os.fsencode(mount_folder / "DISK")).fresh


def test_another_file_system_below_a_mount_folder_is_a_disk(tmp_path, monkeypatch):
    if not os.path.ismount("/dev/shm"):
        pytest.skip("no second file system here")
    monkeypatch.setattr(roots, "MOUNT_FOLDERS", (b"/dev/",))
    folder = os.fsencode(f"/dev/shm/ingest-test-{os.getpid()}")
    os.mkdir(folder)
    try:
        assert open_destination(folder).fresh
    finally:
        subprocess.run([b"rm", b"-r", folder], check=True)


# A root that cannot be written


def test_a_folder_that_cannot_be_written_is_refused_before_anything_else(everybodys, as_nobody):
    archive = everybodys.path / "archive"
    archive.mkdir(mode=0o555)

    said = as_nobody(
        "from ingest.errors import DeniedError\nfrom ingest.storage.roots import open_destination",
        "try: open_destination(sys.argv[1].encode())\n"
        "except DeniedError as error: print(error.errno, int(error.exit_code), bool(error.advice))",
        str(archive),
    )

    assert said == "13 5 True\n"
    assert list(archive.iterdir()) == []


def test_a_root_that_cannot_be_written_any_more_is_refused(everybodys, as_nobody):
    archive = everybodys.path / "archive"
    archive.mkdir()
    open_destination(os.fsencode(archive))

    said = as_nobody(
        "from ingest.errors import DeniedError\nfrom ingest.storage.roots import open_destination",
        "try: open_destination(sys.argv[1].encode())\nexcept DeniedError as error: print(error.errno)",
        str(archive),
    )

    assert said == "13\n"


def test_a_source_gets_nothing(place):
    pin(place.name, source=True)

    assert list(place.path.iterdir()) == []


def test_a_folder_that_cannot_be_pinned_is_missing(tmp_path):
    with pytest.raises(MissingError, match="mounted"):
        pin(os.fsencode(tmp_path / "missing"))


# The same root again


def known(opened, **other):
    """What a session knows of a root, but for this."""
    seen = Footing(opened.root.dev, opened.root.ino, opened.marker.uuid, opened.volume.fs_uuid)
    return replace(seen, **other)


def test_a_session_s_root_is_reopened_by_its_marker(place):
    first = open_destination(place.name)

    again = reopen_destination(place.name, known(first))

    assert again.marker == first.marker
    assert not again.fresh


def test_another_root_in_its_place_is_not_taken_for_it(place):
    opened = open_destination(place.name)

    with pytest.raises(MissingError, match="another archive stands there"):
        reopen_destination(place.name, known(opened, marker="6fa459ea-ee8a-3ca4-894e-db77e160355e"))


def test_a_bare_folder_in_its_place_is_not_taken_for_it_nor_marked(place):
    opened = open_destination(place.name)
    shutil.rmtree(place.path / ".ingest")

    with pytest.raises(MissingError, match="its marker is gone"):
        reopen_destination(place.name, known(opened))

    assert not (place.path / ".ingest").exists()


# Two sessions at once


def test_two_sessions_that_meet_over_a_new_folder_agree_on_its_marker(tmp_path):
    code = (
        "import sys\n"
        "from ingest.storage.roots import open_destination\n"
        "sys.stdin.readline()\n"
        "for folder in sys.argv[1:]: print(open_destination(folder.encode()).marker.uuid)\n"
    )
    folders = [tmp_path / str(number) for number in range(8)]
    for folder in folders:
        folder.mkdir()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, folders)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=60)[0].split() for writer in writers]

    assert [len(uuids) for uuids in said] == [8, 8, 8]
    assert said[0] == said[1] == said[2] == [read_marker(pin(os.fsencode(f))).uuid for f in folders]
    for folder in folders:
        open_destination(os.fsencode(folder))
        assert list((folder / os.fsdecode(STAGING)).iterdir()) == []


# Staging


def test_staging_is_cleared_but_for_what_waits_for_its_name(place):
    for name in (b"1-1-1.part", b"2-1-2.part", b"items-0001-aa.part"):
        place.put(STAGING + b"/1a2b3c4d/" + name, name)
    place.put(STAGING + b"/ffffffff/1-1-1.part", b"another session's")

    clear_staging(place.root, SHORT, {STAGING + b"/1a2b3c4d/2-1-2.part"})

    assert os.listdir(place.path / os.fsdecode(STAGING) / SHORT) == ["2-1-2.part"]
    assert place.get(STAGING + b"/ffffffff/1-1-1.part") == b"another session's"


def test_a_staging_folder_that_is_empty_goes(place):
    place.put(STAGING + b"/1a2b3c4d/1-1-1.part", b"x")

    clear_staging(place.root, SHORT, set())

    assert os.listdir(place.path / os.fsdecode(STAGING)) == []


def test_a_root_without_staging_is_clear(place):
    clear_staging(place.root, SHORT, set())
    assert not (place.path / ".ingest").exists()


def test_clearing_never_follows_a_link(place, tree):
    outside = tree("outside")
    outside.put(b"precious", b"x")
    place.put(STAGING + b"/x", b"")
    os.symlink(outside.name, place.name + b"/" + STAGING + b"/1a2b3c4d")

    with pytest.raises(IngestError):
        clear_staging(place.root, SHORT, set())

    assert outside.get(b"precious") == b"x"


def test_what_cannot_be_cleared_is_told(place):
    os.makedirs(place.name + b"/" + STAGING + b"/1a2b3c4d/a-folder")

    with pytest.raises(IngestError) as caught:
        clear_staging(place.root, SHORT, set())

    assert b"1a2b3c4d" in caught.value.path


def test_memory_is_never_taken_for_an_empty_mount_point(mount_folder, monkeypatch):
    folder = os.fsencode(mount_folder / "DISK")
    os.mkdir(folder)
    memory = replace(volume_of(folder), type="tmpfs")
    monkeypatch.setattr(roots, "volume_of", lambda _: memory)

    assert open_destination(folder).fresh
