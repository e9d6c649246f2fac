from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.media.kinds import kind_of
from ingest.model.item import Item
from ingest.model.states import ItemState
from ingest.workers.sharding import Key, Sharder

FILES, SIZE = 4, 100
KEYS = [Key(0, (0,), "read"), Key(0, (0,), "mmap"), Key(0, (0, 1), "read"), Key(1, (0,), "read")]


def sized(number: int, size: int) -> Item:
    return Item(number, 0, b"%d" % number, size, 0, kind_of(b""), ItemState.DISCOVERED)


def drain(sharder: Sharder):
    shards = []
    while (shard := sharder.next(unfilled=True)) is not None:
        shards.append(shard)
    return shards


sizes = st.integers(0, 150)
additions = st.lists(st.tuples(st.sampled_from(KEYS), sizes, st.booleans()), max_size=60)


@given(additions)
def test_every_item_is_in_one_shard_of_its_own_key(added):
    sharder = Sharder(FILES, SIZE)
    for number, (key, size, alone) in enumerate(added):
        sharder.add(key, sized(number, size), alone=alone)

    shards = drain(sharder)

    assert sorted(item.number for shard in shards for item in shard.items) == list(range(len(added)))
    for shard in shards:
        assert all(added[item.number][0] == shard.key for item in shard.items)
    assert len(sharder) == 0


@given(additions)
def test_a_shard_never_outgrows_its_bounds(added):
    sharder = Sharder(FILES, SIZE)
    for number, (key, size, alone) in enumerate(added):
        sharder.add(key, sized(number, size), alone=alone)

    for shard in drain(sharder):
        assert 1 <= len(shard.items) <= FILES
        assert shard.size == sum(item.size for item in shard.items)
        assert shard.size - shard.items[-1].size < SIZE, "it was full before its last item"
        if any(item.size >= SIZE or added[item.number][2] for item in shard.items):
            assert len(shard.items) == 1


@given(additions)
def test_items_of_a_key_stay_in_order(added):
    sharder = Sharder(FILES, SIZE)
    for number, (key, size, alone) in enumerate(added):
        sharder.add(key, sized(number, size), alone=alone)

    for shard in drain(sharder):
        numbers = [item.number for item in shard.items]
        assert numbers == sorted(numbers)


@given(additions, st.lists(st.booleans()))
def test_taking_while_adding_loses_nothing(added, takes):
    sharder, shards, wanted = Sharder(FILES, SIZE), [], iter(takes)
    for number, (key, size, alone) in enumerate(added):
        sharder.add(key, sized(number, size), alone=alone)
        take = next(wanted, None)
        if take is not None and (shard := sharder.next(unfilled=take)) is not None:
            shards.append(shard)
    shards += drain(sharder)

    assert sorted(item.number for shard in shards for item in shard.items) == list(range(len(added)))


def test_an_unfilled_shard_waits_until_somebody_stands_idle():
    sharder = Sharder(FILES, SIZE)
    sharder.add(KEYS[0], sized(1, 1))

    assert len(sharder) == 1
    assert sharder.next(unfilled=False) is None
    assert [item.number for item in sharder.next(unfilled=True).items] == [1]


def test_full_shards_come_first_and_in_order():
    sharder = Sharder(2, SIZE)
    sharder.add(KEYS[1], sized(0, 1))
    for number in range(1, 5):
        sharder.add(KEYS[0], sized(number, 1))

    taken = [[item.number for item in shard.items] for shard in drain(sharder)]
    assert taken == [[1, 2], [3, 4], [0]]


def test_a_large_file_does_not_close_the_shard_beside_it():
    sharder = Sharder(FILES, SIZE)
    sharder.add(KEYS[0], sized(1, 1))
    sharder.add(KEYS[0], sized(2, SIZE))
    sharder.add(KEYS[0], sized(3, 1))

    assert [[item.number for item in shard.items] for shard in drain(sharder)] == [[2], [1, 3]]


def test_an_empty_sharder_has_nothing():
    assert Sharder(FILES, SIZE).next(unfilled=True) is None
