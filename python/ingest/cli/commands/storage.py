"""``ingest storage``: what is known of archives, and of the places that they are on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.documents import iso, storage_document
from ingest.cli.options import Json, Quiet, raw
from ingest.cli.output import number, path_fields, print_document, say, size
from ingest.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.pipeline.storages import Relocated, StoredRoot
    from ingest.storage.features import Feature, Features

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown",
    help="Know archives and where they are: room, sessions, when they were last verified.\n\n"
    "Example: ingest storage list\n\n"
    "What the system tells of a place can be corrected in config.toml in the journal's folder (ingest doctor names it), "
    "with one table for each place:\n\n"
    '```toml\n[[storage]]\npath = "/mnt/nas"     # this folder and all below it\n'
    'kind = "network"      # local, removable or network\nrotational = true     # a spinning disk\n'
    'buffer = "1MiB"       # a power of two, 4KiB to 64MiB\nworkers = 1           # 1 to 64\n```',
)  # fmt: skip

Root = Annotated[str, typer.Argument(metavar="ROOT", help="An archive: its path, or the beginning of its UUID.",
                                     show_default=False)]  # fmt: skip


@commands.command("list")
def list_(as_json: Json = False, quiet: Quiet = False) -> int:
    """List the archives that this journal knows, and whether they can be reached.

    Example: ingest storage list
    """
    return _tell(None, as_json=as_json, quiet=quiet, whole=False)


@commands.command()
def status(
    root: Annotated[
        str | None,
        typer.Argument(metavar="[ROOT]", help="An archive (path, or beginning of its UUID), or any folder. [default: all "
                       "archives that the journal knows]", show_default=False),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:  # fmt: skip
    """Tell all that is known of archives: their disks, what these can do, how copies there would be made, and why.

    What a disk can do is found by trying, with small files below `.ingest/staging` that are gone again afterwards.
    A folder that is no archive is only looked at.

    Examples:
    ingest storage status

    ingest storage status /mnt/archive --json
    """
    return _tell(root, as_json=as_json, quiet=quiet, whole=True)


@commands.command()
def forget(
    root: Root,
    force: Annotated[bool, typer.Option("--force", help="Although sessions wait for it.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Remove an archive from the journal. Nothing on its disk is touched, and its sessions stay.

    Refused while sessions wait for it (exit 2). With --force these still look for it when they are resumed. A copy to
    it makes it known again; what it holds is then compared byte by byte, as nothing is known of it.

    Example: ingest storage forget /mnt/lost
    """
    from ingest import api, config

    known, waiting = api.forget(config.home(), raw(root), force=force)
    if as_json:
        print_document(
            {**path_fields(known.path, "root"), "uuid": known.uuid, "waiting": list(waiting), "exit_code": 0}
        )
    elif not quiet:
        say(f"Forgotten: {shown(known.path)} ({known.uuid}). Nothing on its disk was touched.")
        if waiting:
            say(f"{number(len(waiting), 'session')} will still look for it: {', '.join(each[:8] for each in waiting)}")
    return 0


@commands.command()
def relocate(
    root: Root,
    path: Annotated[str, typer.Argument(metavar="NEWPATH", help="Where it is mounted now.", show_default=False)],
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Tell the journal where an archive is now, so that its sessions go on there. Its own marker has to be there.

    Refused where the marker is another one, or where the archive is still at its old path, too: then one of the two
    is a clone (exit 2). On another file system nothing counts as proven that was proven on the old one: sessions that
    can be taken up read back what is there, and copy again what is missing or differs.

    Example: ingest storage relocate /mnt/usb1 /media/me/SHUTTLE
    """
    from ingest import api, config

    told = api.relocate(config.home(), raw(root), raw(path))
    if as_json:
        print_document({"uuid": told.known.uuid, **path_fields(told.known.path, "from"), **path_fields(told.path, "to"),
                        "sessions": told.sessions, "other_file_system": told.other, "to_prove": told.to_prove,
                        "exit_code": 0})  # fmt: skip
    elif not quiet:
        say(f"{shown(told.known.path)} is now known at {shown(told.path)} ({told.known.uuid}).", *_next(told))
    return 0


def _next(told: Relocated) -> Iterator[str]:
    """What to do after an archive was told to be elsewhere, in that order."""
    if told.other:
        yield "It is another file system, and what was proven on the old one is not proven here."
    if told.waiting:
        yield f"{number(len(told.waiting), 'session')} will look for it there: ingest resume"
    for session in told.named:
        yield f"A session that completed with errors can be gone on with there: ingest resume {session[:8]}"
    if told.to_prove:
        copies = number(told.to_prove, "copy", "copies")
        yield f"{copies} of theirs will be read back there, and made again where they are missing or differ."
    if told.other:
        # Before they have ended there may be no manifest that it could be held against.
        first = "Then see" if told.waiting or told.named else "See"
        yield f"{first} that all of it is there: ingest verify {shown(told.path)}"


def _tell(root: str | None, *, as_json: bool, quiet: bool, whole: bool) -> int:
    from ingest import api, config

    home = config.home()
    found = api.storage(home, None if root is None else raw(root), rules=config.storage_rules(home), thorough=whole)
    if as_json:
        print_document({"storage": [storage_document(each, whole=whole) for each in found], "exit_code": 0})
    elif not quiet:
        for each in found:
            say(*_head(each), *(_details(each) if whole else ()))
        if not found:
            say("No archive is known yet. Begin with: ingest copy SRC DEST")
    return 0


def _head(stored: StoredRoot) -> Iterator[str]:
    look, known = stored.look, stored.known
    yield f"{shown(look.path)}  {look.uuid if known is None and look.uuid else known.uuid if known else ''}".rstrip()
    if stored.problem is not None:
        yield f"    {'no archive' if known is None and look.uuid is None else 'CANNOT BE REACHED'}: {stored.problem}"
    if known is not None and known.path != look.path:
        yield f"    the journal knows it at {shown(known.path)}: ingest storage relocate {known.uuid[:8]} {shown(look.path)}"
    volume = look.volume
    if volume is not None and look.free is not None and look.total is not None:
        flags = [str(volume.storage), volume.type, "read-only" if volume.read_only else ""]
        yield f"    {', '.join(flag for flag in flags if flag)}: {size(look.free)} of {size(look.total)} free"
    if known is not None:
        verified = "never" if known.last_verified is None else iso(known.last_verified)
        resumable = f", to be resumed: {', '.join(each[:8] for each in stored.resumable)}" if stored.resumable else ""
        yield f"    last verified: {verified}; {number(stored.sessions, 'session')}{resumable}"


def _details(stored: StoredRoot) -> Iterator[str]:
    look, known, volume = stored.look, stored.known, stored.look.volume
    if known is not None:
        copied = f", the last proven {iso(stored.last_copied)}" if stored.last_copied is not None else ""
        yield f"    {number(stored.files, 'file')} known there{copied}; last seen {iso(known.last_seen)}"
    if look.internal is not None:
        yield f"    .ingest: {size(look.internal)}"
    if volume is not None:
        if volume.mount is not None:
            yield f"    mounted: {shown(volume.mount.origin)} on {shown(volume.mount.point)}"
        spins = {True: "a spinning disk", False: "no spinning disk", None: "not known whether it spins"}[
            volume.rotational
        ]
        yield f"    {spins}; file system UUID {volume.fs_uuid or 'not known'}; copies are read back: {look.cold}"
    if look.features is not None:
        yield "    tried:"
        yield from (f"      {line}" for line in _features(look.features))
    if stored.how:
        yield "    a copy from here to here:"
        yield from (f"      {sentence}" for sentence in stored.how)


def _features(features: Features) -> Iterator[str]:
    named: list[tuple[str, Feature]] = [
        ("clones", features.reflink), ("hard links", features.hard_links), ("extended attributes", features.xattr),
        ("renames that never replace", features.no_replace), ("direct reads", features.direct),
        ("names ignore case", features.ignores_case),
    ]  # fmt: skip
    for name, feature in named:
        answer = {True: "yes", False: "no", None: "not known"}[feature.there]
        yield f"{name}: {answer}" + (f" ({feature.why})" if feature.why else "")
    if features.longest_name is not None:
        unit = "characters" if features.by_characters else "bytes"
        yield f"longest name: {features.longest_name} {unit}"
