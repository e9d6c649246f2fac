from __future__ import annotations

import pytest

from ingest.media.groups import kin


@pytest.mark.parametrize(
    "members",
    [
        (b"D/IMG_1.CR3", b"D/IMG_1.JPG", b"D/img_1.jpg", b"D/IMG_1.XMP", b"D/IMG_1.CR3.xmp"),
        (b"MVI_2.MP4", b"MVI_2.THM", b"MVI_2.WAV", b"MVI_2.MP4.XML"),
        (b"IMG_3.HEIC", b"IMG_3.MOV", b"IMG_3.AAE"),
        (b"a/notes", b"a/Notes"),
    ],
)
def test_what_belongs_together_has_one_kin(members):
    assert len({kin(path) for path in members}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"D/IMG_1.CR3", b"E/IMG_1.JPG"),
        (b"IMG_1.CR3", b"IMG_10.CR3"),
        (b"shot.0001.dpx", b"shot.0002.dpx"),
        (b"clip.001", b"clip.002"),
        (b".cameraid", b".cameraid2"),
        (b"IMG_1.CR3", b"IMG_1-2.JPG"),
    ],
)
def test_what_does_not_has_two(one, other):
    assert kin(one) != kin(other)


@pytest.mark.parametrize("path", [b".xmp", b"a/.jpg", b"\xff.mov", b"a", b"a/b/c.mov.mov.xmp"])
def test_any_name_has_one(path):
    assert kin(path).startswith(path.rpartition(b"/")[0])
    assert not kin(path).endswith(b"/")
