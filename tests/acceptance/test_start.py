"""The command line explains itself, starts light, and keeps its own things where it is told to."""

from __future__ import annotations

import os
import sys

import pytest
import typer.main

from ingest.cli.app import app

HEAVY = {"pyarrow", "duckdb", "sqlalchemy", "alembic", "pydantic"}
COMMANDS = [
    "copy",
    "resume",
    "sessions",
    "show",
    "verify",
    "check",
    "repair",
    "query",
    "scan",
    "doctor",
    "clear",
    "bench",
]
STORAGE = ["list", "status", "forget", "relocate"]
SPY = """
import os, sys
_who = "worker" if "--multiprocessing-fork" in sys.orig_argv else "main"
_log = os.open(f"{os.environ['IMPORTS']}/{_who}-{os.getpid()}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
sys.addaudithook(lambda event, args: os.write(_log, args[0].encode() + b"\\n") if event == "import" else None)
"""


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """What processes that start from now on import (or try to), by their part: `imported("main")`."""
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy/sitecustomize.py").write_text(SPY)
    (tmp_path / "imports").mkdir()
    monkeypatch.setenv("IMPORTS", str(tmp_path / "imports"))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path / "spy"), *filter(None, [os.environ.get("PYTHONPATH")])])
    )

    def modules(part):
        logs = list((tmp_path / "imports").glob(f"{part}-*"))
        names = {name for log in logs for name in log.read_text().splitlines()}
        for log in logs:
            log.unlink()
        assert any(name.startswith("ingest") for name in names), "nothing was seen"
        return names, {name.split(".")[0] for name in names}

    return modules


def commands():
    group = typer.main.get_command(app)
    below = [
        (f"{name} {own}", each)
        for name, command in group.commands.items()
        for own, each in getattr(command, "commands", {}).items()
    ]
    return [("ingest", group), *group.commands.items(), *below]


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_and_every_option_is_explained_with_an_example(name, command):
    assert command.help
    assert "ingest " in command.help, f"{name} has no example"
    unexplained = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert unexplained == []


def test_the_commands_are_those_of_the_contract_and_each_takes_json_and_quiet():
    found = dict(commands()[1:])

    assert list(found) == [
        *COMMANDS, "storage", "catalog", *(f"storage {name}" for name in STORAGE), "catalog rebuild",
    ]  # fmt: skip
    del found["storage"], found["catalog"]
    for command in found.values():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--json", "--quiet"} <= options


@pytest.mark.parametrize("arguments", [("--help",), ("copy", "--help"), ("copy", "-h")])
def test_help_is_printed_and_imports_nothing_heavy(ingest, imported, arguments):
    done = ingest.run(*arguments)

    names, tops = imported("main")
    assert done.returncode == 0
    assert "Usage: ingest" in done.stdout.replace("python -m ", "")
    assert not tops & HEAVY
    assert "rich.progress" not in names
    assert "ingest._native" not in names


def test_no_arguments_at_all_print_the_help(ingest):
    done = ingest.run()

    assert done.returncode in (0, 2)
    assert "copy" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_version_is_said(ingest):
    done = ingest.run("--version")

    assert done.returncode == 0
    assert done.stdout.startswith("ingest ")


def test_a_worker_starts_without_anything_heavy(tell, imported, card, archive):
    assert tell("copy", card, archive, "--workers", "2").code == 0

    _, tops = imported("worker")
    assert not tops & {*HEAVY, "rich", "typer", "click"}


def test_a_worker_starts_while_the_program_still_loads(tell, imported, card, archive, tmp_path):
    assert tell("copy", card, archive).code == 0

    # The other one is the helper process that `multiprocessing` has.
    (order,) = [
        names
        for log in (tmp_path / "imports").glob("main-*")
        if "sqlalchemy" in (names := log.read_text().splitlines())
    ]
    assert order.index("multiprocessing.popen_spawn_posix") < order.index("sqlalchemy")
    assert len(list((tmp_path / "imports").glob("worker-*"))) == 1, "and it is the one that is used"


@pytest.mark.parametrize(
    "arguments", [("missing", "archive"), ("card", "missing"), ("card", "archive", "--workers", "0")]
)
def test_a_command_that_cannot_begin_leaves_no_process_behind(ingest, imported, card, archive, tmp_path, arguments):
    del imported
    places = {"card": card, "archive": archive, "missing": tmp_path / "missing"}

    assert ingest.run("copy", *(places.get(argument, argument) for argument in arguments)).returncode in (2, 4)

    started = [int(log.name.rpartition("-")[2]) for log in (tmp_path / "imports").glob("worker-*")]
    assert not [pid for pid in started if os.path.exists(f"/proc/{pid}")]


def test_migrations_are_not_loaded_while_the_journal_is_current(tell, imported, card, archive):
    assert tell("copy", card, archive).code == 0
    _, fresh = imported("main")
    assert tell("copy", card, archive).code == 0
    _, current = imported("main")

    assert "sqlalchemy" in current
    assert "alembic" not in fresh | current


def test_ingest_home_says_where_the_journal_is(ingest, card, archive, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user/data"))

    done = ingest.run("copy", card, archive, "--quiet")

    assert done.returncode == 0, done.stderr
    assert (ingest.home / "ingest.sqlite3").exists()
    assert not (tmp_path / "user").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="XDG's folders are Linux's")
def test_without_ingest_home_the_journal_is_in_the_users_data_folder(ingest, card, archive, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    default = type(ingest)("")

    done = default.run("copy", card, archive, "--quiet")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/ingest/ingest.sqlite3").exists()
