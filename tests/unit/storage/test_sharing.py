from __future__ import annotations

from dataclasses import replace

import pytest

from ingest.errors import UsageError
from ingest.model.options import Strategy
from ingest.storage.sharing import Sharing, cautions, how, look, require, require_on
from ingest.storage.volumes import Mount, Storage, Volume

MOUNT = Mount(7, b"/", b"/data", "xfs", b"/dev/sdz1", read_only=False)
HERE = Volume(MOUNT, Storage.LOCAL, "xfs", rotational=False, fs_uuid=None)
BOUND = replace(HERE, mount=replace(MOUNT, inner=b"/archive", point=b"/srv"))
ELSEWHERE = replace(HERE, mount=replace(MOUNT, device=8, point=b"/mnt/x"))
UNKNOWN = replace(HERE, mount=None)


@pytest.mark.parametrize("asked", [Strategy.AUTO, Strategy.COPY])
def test_nothing_is_shared_unless_it_is_asked_for(asked):
    assert look(asked, [HERE], [HERE]) == Sharing()


@pytest.mark.parametrize(
    ("asked", "root", "why"),
    [
        (Strategy.REFLINK, HERE, None),
        (Strategy.HARDLINK, HERE, None),
        (Strategy.REFLINK, BOUND, None),
        (Strategy.HARDLINK, BOUND, "another mount"),
        (Strategy.REFLINK, ELSEWHERE, "another file system"),
        (Strategy.HARDLINK, ELSEWHERE, "another file system"),
        (Strategy.REFLINK, UNKNOWN, "does not tell"),
    ],
)
def test_clones_stay_within_a_file_system_and_links_within_a_mount(asked, root, why):
    found = look(asked, [HERE], [root])

    assert found.pairs == (frozenset() if why else frozenset({(0, 0)}))
    assert [why in text for text in found.obstacles.values()] == ([True] if why else [])


def test_a_destination_that_is_away_is_no_obstacle():
    found = look(Strategy.REFLINK, [HERE, ELSEWHERE], [HERE, None])

    assert (found.pairs, set(found.obstacles)) == (frozenset({(0, 0)}), {(1, 0)})


def test_what_no_destination_can_do_is_refused_with_the_next_step():
    with pytest.raises(UsageError) as refused:
        require(look(Strategy.REFLINK, [HERE], [ELSEWHERE, UNKNOWN]), [b"/mnt/x/archive", b"/y"])

    assert (refused.value.path, refused.value.operation) == (b"/mnt/x/archive", "--strategy reflink")
    assert "another file system than the source" in refused.value.cause
    assert refused.value.advice.endswith("--strategy copy")


def test_one_destination_that_can_is_enough():
    require(look(Strategy.HARDLINK, [HERE], [ELSEWHERE, HERE]), [b"/mnt/x", b"/data/archive"])
    require(look(Strategy.COPY, [HERE], [ELSEWHERE]), [b"/mnt/x"])


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above_it(tmp_path):
    with pytest.raises(UsageError):
        require_on(Strategy.REFLINK, [ELSEWHERE], [bytes(tmp_path / "not/yet")])
    require_on(Strategy.AUTO, [ELSEWHERE], [bytes(tmp_path / "not/yet")])


def test_what_is_copied_all_the_same_is_said_once_for_each_destination():
    sharing = look(Strategy.HARDLINK, [HERE, BOUND], [HERE, ELSEWHERE])

    told = cautions(sharing, [b"/data/one", b"/srv/two"], [b"/data/archive", b"/mnt/x"])

    assert len(told) == 2
    assert told[0].startswith("/data/archive: copies from /srv/two are written, not linked: it is reached through")
    assert told[1].startswith("/mnt/x: copies are written, not linked: it is on another file system")
    assert cautions(look(Strategy.REFLINK, [HERE], [HERE]), [b"/a"], [b"/b"]) == []


@pytest.mark.parametrize(
    ("asked", "roots", "told"),
    [
        (Strategy.AUTO, [ELSEWHERE], "strategy copy: another file system than the source's"),
        (Strategy.AUTO, [HERE], "unless --strategy says otherwise"),
        (Strategy.COPY, [HERE], "strategy copy: asked for"),
        (Strategy.REFLINK, [HERE], "strategy reflink: asked for, and tried before anything is copied; everywhere"),
        (Strategy.HARDLINK, [HERE, ELSEWHERE], "; on the source's file system; elsewhere bytes are written"),
    ],
)
def test_the_strategy_is_told_with_its_reason(asked, roots, told):
    assert told in how(asked, look(asked, [HERE], roots), [HERE], roots)
