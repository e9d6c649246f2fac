"""The rig of the guests: a machine that can be killed, and from which nothing of the host can be harmed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from faults.guest import Guest, GuestError, image
from processes import children

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("guest"), pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guest")


@pytest.fixture(scope="module")
def idle(folder):
    """A guest for those that leave it as it is."""
    with Guest(folder) as made:
        yield made


def test_it_runs_what_it_is_asked_to(idle):
    done = idle.run("sh", "-c", "echo here; echo there >&2; exit 3", code=3)

    assert (done.code, done.out, done.errors) == (3, "here\n", "there\n")


def test_it_is_a_machine_of_its_own_with_the_hosts_files(idle):
    assert idle.run("uname", "-r").out.strip() != os.uname().release
    assert idle.run("cat", __file__).out == Path(__file__).read_text()
    assert idle.run(sys.executable, "-m", "ingest", "--version").out.startswith("ingest")


def test_what_takes_too_long_is_given_up(idle):
    job = idle.start("sleep", "1000")
    with pytest.raises(GuestError, match="nothing was heard"):
        job.wait(0.1)

    job.signal(9)

    assert job.wait(20).code == -9


def test_what_it_writes_stays_in_it(idle, tmp_path):
    idle.run("sh", "-c", f"echo gone > {tmp_path}/file && test -s {tmp_path}/file")

    assert not list(tmp_path.iterdir())


def test_the_host_is_read_only_even_to_its_root(idle, tmp_path):
    """As if somebody mounted the host's own files anew, past the layer of memory."""
    idle.run("mkdir", "-p", "/run/host")
    idle.run("mount", "-t", "hostfs", "-o", str(tmp_path), "none", "/run/host")

    done = idle.run("touch", "/run/host/file", code=None)

    assert done.code != 0
    assert not list(tmp_path.iterdir())


def test_errands_are_run_in_it(idle, make_card, tmp_path):
    """All that the long campaigns ask of a guest: a session, and the checker's word on what it left."""
    card = make_card({"A.JPG": 3000, "CLIP/B.MP4": 300_000})
    errand = Path(__file__).with_name("errand.py")

    def run(what, **given):
        file = tmp_path / f"{what}.json"
        file.write_text(json.dumps({"folder": "/run/place", **given}))
        return json.loads(idle.run(sys.executable, errand, what, file, seconds=100).out.splitlines()[-1])

    idle.run("mkdir", "-p", "/run/place", "/run/archive")
    versions = {path: sorted(digests) for path, digests in card.versions.items()}

    copied = run("work", arguments=["copy", str(card.folder), "/run/archive"])
    found = run("check", card=str(card.folder), roots=["/run/archive"], versions=versions, complete=True)

    assert copied["code"] == 0, copied
    assert (found["broken"], found["finalized"]) == (None, 2)
    assert found["tally"]["acknowledgements checked"] >= 2


def test_no_disk_from_elsewhere_is_given_to_it(folder, tmp_path):
    disk = image(tmp_path / "elsewhere.img", "ext4", 8)

    with pytest.raises(GuestError, match="not in the guest's folder"):
        Guest(folder, [disk])


def test_its_death_is_a_power_cut(folder):
    """What was flushed is there afterwards, what was not is lost; and nothing of the guest lives on."""
    disk = image(folder / "disk.img", "ext4", 32)
    first = Guest(folder, [disk])
    first.mount("a", "/mnt/disk", "ext4")
    first.run("sh", "-c", "echo kept > /mnt/disk/kept && sync && echo lost > /mnt/disk/lost")
    sleeper = first.start("sleep", "1000")
    assert holders_of(disk)

    first.kill()

    with pytest.raises(GuestError, match="gone"):
        sleeper.wait(5)
    assert not holders_of(disk)
    with Guest(folder, [disk]) as second:
        second.mount("a", "/mnt/disk", "ext4")
        assert second.run("cat", "/mnt/disk/kept").out == "kept\n"
        second.run("test", "-e", "/mnt/disk/lost", code=1)


def test_what_is_mounted_beside_it_is_not_held_by_it(folder, make_disk):
    """Or whoever unmounts it would wait in vain for its device to be free."""
    other = make_disk("ext4")

    with Guest(folder) as made:
        assert made.run("true").code == 0
        family = [made.pid]
        for pid in family:
            family += children(pid)
        held = [pid for pid in family if f" {other} " in Path(f"/proc/{pid}/mounts").read_text()]

    assert len(family) > 2
    assert not held


def test_it_ends_after_its_time(folder):
    short = Guest(folder, seconds=20)
    with pytest.raises(GuestError, match="gone"):
        short.start("sleep", "1000").wait(60)
    short.kill()


def holders_of(file):
    """The processes that have it open."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            opened = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue  # it has just ended
        if str(file) in opened:
            found.append(int(pid))
    return found
