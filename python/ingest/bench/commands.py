"""Running a command by the clock: seconds, CPU seconds of all its processes, and no process left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from ingest.bench.results import Step
from ingest.errors import IngestError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Command: TypeAlias = "Sequence[str | Path]"

# Of what a command that failed had to say.
TOLD: Final = 400


def cpu_seconds(who: int = resource.RUSAGE_CHILDREN) -> float:
    """User and system time, by default of all children that have ended, and theirs."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def timed(
    name: str,
    command: Command,
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> Step:
    """Run a command to its end, in a process group of its own that is killed if we are interrupted.

    Args:
        name: of the step. folder: it runs there; what it complains about is kept there in `errors`.
        environment: what to add to ours. output: the file that gets its standard output, nothing by default.

    Raises:
        IngestError: it could not be started, or failed.
    """
    arguments = [os.fspath(part) for part in command]
    with open(folder / "errors", "wb") as errors, open(output or os.devnull, "wb") as out:
        cpu, began = cpu_seconds(), time.perf_counter()
        try:
            process = subprocess.Popen(
                arguments, cwd=folder, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=out,
                stderr=errors, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise IngestError(f"{arguments[0]} cannot be started: {error.strerror}", operation="bench") from error
        try:
            code = process.wait()
        except BaseException:
            kill(process)
            raise
        seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu
    if code:
        told = shown((folder / "errors").read_bytes()[-TOLD:].strip())
        raise IngestError(
            f"it ended with {code}" + (f": {told}" if told else ""), operation=" ".join(arguments[:4]),
            advice="Leave this contender out, or see why it fails here",
        )  # fmt: skip
    return Step(name, seconds, cpu)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, and all of that group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
