from __future__ import annotations

import os
import shutil
import struct
import subprocess
from types import SimpleNamespace

import pytest

from ingest.storage import space
from ingest.storage.quota import Quota, left, quotas
from ingest.storage.space import free_on, room_for

NOW = 1_000_000.0


def answer(*, hard=0, soft=0, used=0, files_hard=0, files_soft=0, files=0, end=0, files_end=0):
    """What the kernel answers: limits of blocks in KiB, their use in bytes."""
    return struct.pack("=8QI4x", hard, soft, used, files_hard, files_soft, files, end, files_end, 0x3F)


@pytest.mark.parametrize(
    ("told", "size", "inodes"),
    [
        ({}, None, None),
        ({"used": 10**12, "files": 10**6}, None, None),
        ({"hard": 10, "used": 1024}, 9 * 1024, None),
        ({"hard": 10, "used": 20 * 1024}, 0, None),
        ({"files_hard": 100, "files": 40}, None, 60),
        # Above the soft limit there is a grace, and when it has ended, nothing.
        ({"hard": 10, "soft": 5, "used": 6 * 1024, "end": 1_000_001}, 4 * 1024, None),
        ({"hard": 10, "soft": 5, "used": 6 * 1024, "end": 999_999}, 0, None),
        ({"soft": 5, "used": 4 * 1024}, None, None),
        ({"files_soft": 5, "files": 6, "files_end": 999_999}, None, 0),
    ],
)
def test_what_a_quota_leaves(told, size, inodes):
    assert left("a quota", answer(**told), NOW) == Quota("a quota", size, inodes)


@pytest.fixture
def limited(monkeypatch, tmp_path):
    """A volume with 1,000 blocks of 1 KiB and 100 inodes free, under quotas."""

    def under(*limits):
        figures = {"f_frsize": 1024, "f_blocks": 10_000, "f_bavail": 1000, "f_files": 500, "f_favail": 100}
        monkeypatch.setattr("os.fstatvfs", lambda _: SimpleNamespace(**figures))
        monkeypatch.setattr(space, "quotas", lambda _: list(limits))

    return under


def test_the_smallest_limit_counts_and_is_named(limited):
    limited(Quota("the quota of user 7", 5000, None), Quota("the quota of group 8", 400_000, 20))

    free = free_on(0)

    assert (free.bytes, free.inodes) == (5000, 20)
    room = room_for(0, 1, 10_000)
    assert not room.enough
    assert room.shortage.endswith("5,000 are left by the quota of group 8")


def test_a_quota_that_leaves_more_than_the_disk_is_not_spoken_of(limited):
    limited(Quota("the quota of user 7", 10**9, 10**6))

    assert (free_on(0).bytes, free_on(0).inodes, free_on(0).quota) == (1000 * 1024, 100, "")
    assert room_for(0, 1, 10**7).shortage.endswith("are free")


def test_a_quota_that_is_used_up_leaves_nothing(limited):
    limited(Quota("the quota of user 7", 0, 0))

    assert (free_on(0).bytes, free_on(0).inodes) == (0, 0)
    assert not room_for(0, 1, 1).enough


def test_where_no_quota_is_kept_there_is_none(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert quotas(descriptor) == []
    finally:
        os.close(descriptor)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["user", "group"])
def test_the_kernel_s_quotas_are_asked(tmp_path, as_nobody, kind):
    """Nobody's own quotas on a disk that keeps some; root, whom they do not bind, has none."""
    if shutil.which("setquota") is None:
        pytest.skip("setquota is not installed")
    image, point = tmp_path / "disk.img", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "quota", image], check=True, timeout=60)
    point.mkdir()
    done = subprocess.run(
        ["mount", "-o", "loop", image, point], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        pytest.skip(f"this kernel keeps no quotas on ext4: {done.stderr.strip()}")
    try:
        limits = ["setquota", f"--{kind}", "65534", "1024", "2048", "0", "10", point]
        subprocess.run(limits, check=True, timeout=60, capture_output=True)
        descriptor = os.open(point, os.O_RDONLY)
        try:
            assert quotas(descriptor) == []
            os.set_inheritable(descriptor, True)
        finally:
            os.close(descriptor)
        point.chmod(0o755)
        for folder in (tmp_path, *tmp_path.parents[:1]):
            folder.chmod(0o755)
        said = as_nobody(
            "import ctypes\nfrom ingest.storage.quota import quotas\nfd = os.open(sys.argv[1], os.O_RDONLY)",
            "print([(q.whose, q.bytes, q.inodes) for q in quotas(fd) if q.bytes is not None])",
            str(point),
        )
        assert said.strip() == str([(f"the quota of {kind} 65534", 2048 << 10, 10)])
    finally:
        subprocess.run(["umount", point], check=True, timeout=60)
