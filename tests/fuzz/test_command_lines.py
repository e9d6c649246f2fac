"""Any command line ends with a documented code and a sentence; with --json there is one document."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = settings.get_profile("fuzz")

# What may stand on a command line: no zero bytes, and of surrogates those that stand for bytes.
WORD = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("\udcff\udce9\udc80"),
    max_size=12,
)
PLACES = st.sampled_from(
    ["CARD", "archive", "backup", "archive/CARD", "nowhere", "CARD/CLIP.MOV", ".", "/", "", "..", "smb://nas/x", "//nas",
     "nfs://[::1", "home/ingest.sqlite3", "/dev/null", "/proc/self/mem", "a" * 300, "archive/../archive", "CARD\n\x1b[2J"]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [
        "0",
        "1",
        "-1",
        "64",
        "65",
        "1e3",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "9" * 30,
        "4KiB",
        "3KiB",
        "64MiB",
        "1GiB",
        "x",
        "",
    ]
)
OPTIONS = {
    "--json": None, "--quiet": None, "--help": None, "--strict": None, "--force": None, "--csv": None, "--create": None,
    "--new-root": None, "--wait": None, "--verify-source": None, "--differing": None, "--dry-run": None, "--version": None,
    "--": None, "-q": None, "-h": None,
    "--also": PLACES, "--to": PLACES, "--root": PLACES, "--from": PLACES, "--events": st.sampled_from(["-", "events", ""]),
    "--log-file": PLACES, "--copies": NUMBERS, "--fast": None, "--same-volume": None, "--accept-reread": None,
    "--files-from": PLACES, "--label": WORD, "--exclude": WORD, "--only": WORD, "--profile": st.sampled_from(["mirror", "x"]),
    "--session": st.sampled_from(["0", "", "zz"]), "--items": st.sampled_from(["failed", "finalized", "no state"]),
    "--hash": st.sampled_from(["md5", "MD5", "c4", "crc", "blake3"]), "--workers": NUMBERS, "--threads": NUMBERS,
    "--buffer": NUMBERS, "--batch": NUMBERS, "--older-than": NUMBERS, "--stall-copy": NUMBERS, "--stall-validate": NUMBERS,
    "--read-mode": st.sampled_from(["auto", "mmap", "no"]), "--flush": st.sampled_from(["each", "no"]),
    "--strategy": st.sampled_from(["copy", "reflink", "no"]), "--partial": st.sampled_from(["restart", "no"]),
    "--duplicates": st.sampled_from(["skip", "no"]), "--sums": st.sampled_from(["ignore", "no"]),
}  # fmt: skip
SQL = st.sampled_from(
    ["SELECT 1", "SELECT * FROM copies", "SELECT * FROM sessions", "DROP TABLE x", "", ";", "SELECT", "EXPLAIN SELECT 1",
     "SELECT * FROM read_csv('/etc/passwd')", "SELECT 1; SELECT 2", "PRAGMA version", "COPY copies TO 'x'", "ATTACH 'x'"]
)  # fmt: skip
COMMANDS = [
    ["copy"], ["resume"], ["sessions"], ["show"], ["verify"], ["check"], ["repair"], ["query"], ["scan"], ["doctor"], ["clear"],
    ["storage"], ["storage", "list"], ["storage", "status"], ["storage", "forget"], ["storage", "relocate"],
    ["catalog"], ["catalog", "rebuild"], [], ["nonsense"],
]  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command line: mostly the right words, in an order that may be any."""
    command = draw(st.sampled_from(COMMANDS))
    words: list[str] = []
    operand = st.one_of(PLACES, WORD) if command[:1] != ["query"] else st.one_of(SQL, WORD)
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.booleans()):
            words.append(draw(operand))
            continue
        name = draw(st.sampled_from(sorted(OPTIONS)))
        values = OPTIONS[name]
        words.append(name)
        if values is not None and draw(st.integers(0, 9)):
            words.append(draw(values))
    # What would copy in earnest is another test's business: workers take half a second each time.
    return [*command, *(["--dry-run"] if command == ["copy"] else []), *words]


def is_one_document(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.fuzz
@FUZZ
@given(lines())
def test_fuzz_any_command_line_is_answered(desk, arguments):
    said = desk.run(arguments)

    # Help and the version are asked for by people, also with --json; completion is the shell's.
    helped = {"--help", "-h", "--version"}.intersection(arguments) or arguments in ([], ["storage"], ["catalog"])
    if "--json" in arguments and not helped and said.out and "--events" not in arguments and "--csv" not in arguments:
        assert is_one_document(said.out), said
        assert said.out.strip().isprintable() or "\n" in said.out.strip(), said
    # Asked to be quiet, `check` answers with its exit code, as grep does.
    answered = arguments[0:1] == ["check"] and said.code == 1 and {"-q", "--quiet"}.intersection(arguments)
    if said.code in (1, 2, 4, 5) and not answered:
        assert said.errors.startswith(("ingest: ", "Usage")) or said.out, said
    # Nothing of it was done in earnest.
    assert sorted(path.name for path in desk.card.iterdir()) == ["CLIP.MOV", "DCIM", "md5sums.txt"]
    assert (desk.archive / "CARD/CLIP.MOV").exists()
