"""``ingest doctor``: is everything in order here?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.cli.options import Json, Quiet
from ingest.cli.output import print_document, say
from ingest.errors import ExitCode, IngestError

if TYPE_CHECKING:
    from ingest.storage.rules import Rule


def run(as_json: Json = False, quiet: Quiet = False) -> int:
    """Check this installation, the journal, and the archives it knows: room, sessions, when they were last verified.

    Exit 1 if anything is wrong.

    Example: ingest doctor
    """
    from ingest import api, config

    rules: tuple[Rule, ...] = ()
    broken = None
    try:
        rules = config.storage_rules(config.home())
    except IngestError as error:
        broken = error
    findings = api.doctor(config.home(), rules=rules, broken=broken)
    code = ExitCode.ERROR if any(finding.status == "wrong" for finding in findings) else ExitCode.OK
    if as_json:
        print_document({
            "findings": [{"check": f.check, "status": f.status, "detail": f.detail, "advice": f.advice} for f in findings],
            "exit_code": int(code),
        })  # fmt: skip
    elif not quiet:
        for finding in findings:
            say(
                f"{finding.status:<6} {finding.check}: {finding.detail}"
                + (f". {finding.advice}" if finding.advice else "")
            )
    return int(code)
