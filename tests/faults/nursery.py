"""Children that run the command line, with everything loaded that it will need.

Usage: ``python nursery.py MODULES``, where MODULES names a module in each line. Each line on standard input is an order
(JSON: `arguments`, `environment`, `out`, `errors`, `halt`); the answers are the child's process id and, when it has
ended, how. With `halt` a child stops itself before the program's first step, until it is let go on: who attaches to it
meanwhile meets the program's own calls alone, and none of an interpreter that loads. An order may name a file (`learn`)
that gets the modules which were loaded at its end.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def born(order):
    os.setpgid(0, 0)
    os.environ.update(order["environment"])
    for stream, place in ((0, os.devnull), (1, order["out"]), (2, order["errors"])):
        file = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
        os.dup2(file, stream)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (open(stream, mode) for stream, mode in ((0, "r"), (1, "w"), (2, "w")))  # noqa: SIM115
    sys.argv = ["ingest", *order["arguments"]]
    from ingest.cli.app import main

    if learn := order.get("learn"):
        end = os._exit

        def farewell(code):
            Path(learn).write_text("\n".join(sorted(sys.modules)), encoding="utf-8")
            end(code)

        os._exit = farewell
    if order.get("halt"):
        os.kill(os.getpid(), signal.SIGSTOP)
    main()


def run():
    for module in Path(sys.argv[1]).read_text(encoding="utf-8").split():
        if module not in ("__main__", "__mp_main__"):
            with suppress(ImportError):
                importlib.import_module(module)
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            born(order)
        print(json.dumps(child), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    run()
