"""Kinds by extension (the specification's section 6), and the named litter that stays behind."""

from __future__ import annotations

from typing import Final

from ingest.model.item import Kind

RAW: Final = (
    "cr2 cr3 crw nef nrw arw srf sr2 dng raf rw2 rwl orf pef srw x3f 3fr fff dcr kdc mrw erf mef mos iiq raw gpr"
)
VIDEO: Final = "mp4 mov avi mkv mts m2ts mxf tod mod 3gp webm wmv flv m4v mpg mpeg vob dv r3d braw crm ari"
AUDIO: Final = "wav mp3 aac flac m4a aiff ogg wma bwf"
IMAGE: Final = "jpg jpeg jpe heic heif png tif tiff gif bmp webp avif jxl jp2 psd"
SIDECAR: Final = "xmp srt thm lrf xml json aae lrv edl fcpxml"

_KINDS: Final[dict[bytes, Kind]] = {
    extension.encode(): kind
    for kind, extensions in (
        (Kind.RAW, RAW), (Kind.VIDEO, VIDEO), (Kind.AUDIO, AUDIO), (Kind.IMAGE, IMAGE), (Kind.SIDECAR, SIDECAR),
    )
    for extension in extensions.split()
}  # fmt: skip

# What operating systems leave on cards. Everything else is somebody's file, dot or no dot.
_LITTER: Final = frozenset(
    name.lower()
    for name in (
        b".DS_Store", b"Thumbs.db", b"desktop.ini", b".Spotlight-V100", b".Trashes", b".fseventsd", b"@eaDir", b"__MACOSX",
    )
)  # fmt: skip


def kind_of(name: bytes) -> Kind:
    """What a file is, by its name."""
    _, dot, extension = name.rpartition(b".")
    return _KINDS.get(extension.lower(), Kind.OTHER) if dot else Kind.OTHER


def is_litter(name: bytes) -> bool:
    """Whether a name is a system's litter whatever is inside; AppleDouble twins are judged with their file."""
    return name.lower() in _LITTER


def is_staging(folder: bytes, name: bytes) -> bool:
    """Whether this is unfinished work of this program (`folder` is the parent's path below the source)."""
    if name == b"staging" and (folder == b".ingest" or folder.endswith(b"/.ingest")):
        return True
    return name.startswith(b".ingest-") and name.endswith(b".part")


def twin_of(name: bytes) -> bytes | None:
    """The file that an AppleDouble name (``._X``) belongs to, None for other names."""
    return name[2:] if name.startswith(b"._") and len(name) > 2 else None
