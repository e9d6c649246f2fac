"""What is no regular file is neither followed nor read: it is skipped, with the reason, and that is no error."""

from __future__ import annotations

import os
import socket
import stat

import pytest


def reasons(rows, archive):
    listed = rows(archive, "SELECT source_path, state, reason FROM copies WHERE state NOT IN ('finalized')")
    return {os.path.basename(row["source_path"]): (row["state"], row["reason"]) for row in listed}


def test_links_are_skipped_wherever_they_lead(tell, card, tmp_path, archive, rows):
    (tmp_path / "secret").write_bytes(b"not on the card")
    (card / "to_file").symlink_to("DCIM/100EOSR5/MVI_0002.MP4")
    (card / "to_folder").symlink_to("DCIM")
    (card / "dangling").symlink_to("nowhere")
    (card / "outside").symlink_to(tmp_path / "secret")
    (card / "round").symlink_to(".")

    told = tell("copy", card, archive)

    assert told.code == 0, told.errors
    assert told.document["items"]["skipped"] == 5
    assert told.document["items"]["finalized"] == 6
    assert set(reasons(rows, archive).values()) == {("skipped", "symlink")}
    assert not any(
        os.path.lexists(archive / "EOS_DIGITAL" / name) for name in ("to_file", "to_folder", "dangling", "outside")
    )
    assert not any(path.is_symlink() for path in archive.rglob("*"))


def test_pipes_and_sockets_are_skipped_without_waiting_for_their_other_end(ingest, card, archive, rows, monkeypatch):
    os.mkfifo(card / "fifo.mp4")
    monkeypatch.chdir(card)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")

        done = ingest.run("copy", card, archive)

    assert done.returncode == 0, done.stderr
    assert reasons(rows, archive) == {"fifo.mp4": ("skipped", "special"), "sock": ("skipped", "special")}
    assert "2 entries skipped: sockets, pipes and devices hold no footage." in done.stdout


@pytest.mark.root
def test_devices_are_skipped(tell, card, archive, rows):
    if os.geteuid() != 0:
        pytest.skip("device nodes need root")
    os.mknod(card / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(card / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 0))

    told = tell("copy", card, archive)

    assert told.code == 0, told.errors
    assert reasons(rows, archive) == {"null": ("skipped", "special"), "disk": ("skipped", "special")}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("nowhere", path)])
def test_a_source_that_is_no_file_and_no_folder_is_refused(tell, tmp_path, archive, make):
    make(tmp_path / "odd")

    told = tell("copy", tmp_path / "odd", archive)

    assert told.code in (2, 4)
    assert told.error["path"] == str(tmp_path / "odd")


def test_hard_links_arrive_as_files_each(tell, card, archive):
    os.link(card / "DCIM/100EOSR5/MVI_0002.MP4", card / "DCIM/100EOSR5/SAME.MP4")

    told = tell("copy", card, archive)

    assert told.document["items"]["finalized"] == 7
    folder = archive / "EOS_DIGITAL/DCIM/100EOSR5"
    assert (folder / "SAME.MP4").read_bytes() == (folder / "MVI_0002.MP4").read_bytes()


def test_a_sparse_file_arrives_with_all_its_zeros(tell, tmp_path, archive):
    (tmp_path / "card").mkdir()
    with (tmp_path / "card" / "sparse.r3d").open("wb") as file:
        file.truncate(3_000_000)
        file.seek(1_500_000)
        file.write(b"in the middle")

    told = tell("copy", tmp_path / "card", archive)

    assert told.code == 0, told.errors
    assert (archive / "card/sparse.r3d").read_bytes() == (tmp_path / "card/sparse.r3d").read_bytes()


def test_a_sparse_file_larger_than_any_disk_is_refused_before_a_byte_is_read(tell, ingest, tmp_path, archive):
    (tmp_path / "card").mkdir()
    (tmp_path / "card/small.jpg").write_bytes(b"small")
    with (tmp_path / "card/huge.r3d").open("wb") as file:
        try:
            file.truncate(8 << 40)
        except OSError:
            pytest.skip("this file system holds no file of 8 TiB")
    assert os.statvfs(archive).f_bavail * os.statvfs(archive).f_frsize < 8 << 40

    told = tell("copy", tmp_path / "card", archive)

    assert told.code == 8
    assert told.document["state"] == "paused(space)"
    assert told.document["bytes"]["read"] == 0
    assert not (archive / "card").exists()
    (tmp_path / "card/huge.r3d").unlink()
    assert tell("copy", tmp_path / "card", archive).code == 0


@pytest.mark.slow
def test_holes_of_gigabytes_arrive_as_zeros(tell, tmp_path, archive):
    (tmp_path / "card").mkdir()
    size = 2 << 30
    with (tmp_path / "card/sparse.r3d").open("wb") as file:
        file.truncate(size)
        for at in (0, (1 << 30) + 7, size - 5):
            file.seek(at)
            file.write(b"bytes")

    told = tell("copy", tmp_path / "card", archive)

    assert told.code == 0, told.errors
    with (archive / "card/sparse.r3d").open("rb") as file:
        assert file.seek(0, os.SEEK_END) == size
        for at in (0, (1 << 30) + 7, size - 5):
            file.seek(at)
            assert file.read(5) == b"bytes"
        for at in (5, 1 << 29, (1 << 30) + 12, (1 << 31) - (1 << 20)):
            file.seek(at)
            assert not any(file.read(1 << 19))
    assert tell("verify", archive).document["ok"] == 1
    (archive / "card/sparse.r3d").unlink()
