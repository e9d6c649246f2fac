"""Groups by name: files of one folder that belong together, as cameras and editors name them (the specification's section 6).

`IMG_1.CR3` and `IMG_1.JPG`, `MVI_2.MP4`, `MVI_2.THM` and `MVI_2.MP4.xmp`: one stem, whatever its case. Only known
extensions are taken off, so that frames of a sequence (`shot.0001.dpx`) are not one group of a hundred thousand. What
needs a look inside (a Live Photo's identifier) is not told here; those have equal stems, too, nearly always.
"""

from __future__ import annotations

from ingest.media.kinds import kind_of
from ingest.model.item import Kind


def kin(path: bytes) -> bytes:
    """What files that belong together have in common: their folder and stem, as bytes that are equal for all of them."""
    folder, slash, name = path.rpartition(b"/")
    stem = name
    if kind_of(stem) is Kind.SIDECAR:
        stem = stem.rpartition(b".")[0]
    if kind_of(stem) is not Kind.OTHER:
        stem = stem.rpartition(b".")[0]
    return folder + slash + (stem or name).lower()
