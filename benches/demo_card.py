"""Make a small camera card of real JPEG and video files, as a camera would leave it.

The pictures are photographs of nothing: gradients and noise, with EXIF times. The clips are Motion JPEG in AVI,
which many cameras wrote; any player opens them. With them come what cards carry: a sidecar, an index, an empty
folder, and a system's litter.

    python benches/demo_card.py FOLDER [--pictures N] [--clips N]
"""

from __future__ import annotations

import argparse
import io
import os
import random
import struct
from datetime import datetime, timedelta
from pathlib import Path

from PIL import Image

SIZE = (1600, 1200)
FRAME = (640, 480)
FRAMES = 50
RATE = 25
EXIF_DATE_TIME_ORIGINAL = 0x9003
EXIF_IFD = 0x8769
SHOT = datetime(2026, 5, 23, 14, 30)  # noqa: DTZ001 - cameras write local time without a zone


def picture(seed: int, size: tuple[int, int], when: datetime | None = None) -> bytes:
    """A JPEG."""
    shades = random.Random(seed)
    base = Image.linear_gradient("L").resize(size).rotate(shades.randrange(360))
    noise = Image.effect_noise(size, shades.uniform(20, 80))
    image = Image.merge("RGB", (base, noise, Image.blend(base, noise, shades.random())))
    out = io.BytesIO()
    exif = Image.Exif()
    if when is not None:
        exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R6"
        exif.get_ifd(EXIF_IFD)[EXIF_DATE_TIME_ORIGINAL] = when.strftime("%Y:%m:%d %H:%M:%S")
    image.save(out, "JPEG", quality=90, exif=exif)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """One RIFF chunk, padded to an even length."""
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def clip(seed: int) -> bytes:
    """An AVI of Motion JPEG frames (the format's two header structures, and an index)."""
    frames = [picture(seed * 1000 + number, FRAME) for number in range(FRAMES)]
    largest = max(map(len, frames))
    main = struct.pack("<14I", 1_000_000 // RATE, largest * RATE, 0, 0x10, FRAMES, 0, 1, largest, *FRAME, 0, 0, 0, 0)
    stream = b"vids" + b"MJPG" + struct.pack("<10I4H", 0, 0, 0, 1, RATE, 0, FRAMES, largest, 0, 0, 0, 0, *FRAME)
    bitmap = struct.pack("<IiiHH4sIiiII", 40, *FRAME, 1, 24, b"MJPG", FRAME[0] * FRAME[1] * 3, 0, 0, 0, 0)
    streams = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", bitmap))
    index, movie = b"", b"movi"
    for frame in frames:
        index += b"00dc" + struct.pack("<III", 0x10, len(movie), len(frame))
        movie += chunk(b"00dc", frame)
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + streams)
    return chunk(b"RIFF", b"AVI " + header + chunk(b"LIST", movie) + chunk(b"idx1", index))


def make(card: Path, pictures: int, clips: int) -> None:
    """Fill the card."""
    dcim = card / "DCIM" / "100CANON"
    for folder in (dcim, card / "DCIM" / "101CANON", card / "MISC"):
        folder.mkdir(parents=True)
    for number in range(1, pictures + 1):
        when = SHOT + timedelta(seconds=37 * number)
        write(dcim / f"IMG_{number:04d}.JPG", picture(number, SIZE, when), when)
    for number in range(1, clips + 1):
        when = SHOT + timedelta(hours=1, minutes=number)
        write(dcim / f"MVI_{pictures + number:04d}.AVI", clip(number), when)
    write(dcim / "IMG_0001.XMP", b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>\n', SHOT)
    write(card / "DCIM" / "EOSMISC.CTG", os.urandom(512), SHOT)
    write(card / ".DS_Store", b"\0\0\0\1Bud1", SHOT)


def write(path: Path, data: bytes, when: datetime) -> None:
    """A file with its time."""
    path.write_bytes(data)
    os.utime(path, (when.timestamp(), when.timestamp()))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--pictures", type=int, default=24)
    arguments.add_argument("--clips", type=int, default=3)
    chosen = arguments.parse_args()
    make(chosen.folder, chosen.pictures, chosen.clips)
