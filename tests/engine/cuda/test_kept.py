"""What is kept, and what goes when memory is short."""

import pytest

from tinyyolo3.engine.cuda.kept import Kept
from tinyyolo3.errors import BackendError


class Memory:
    """A target's memory with room for two things, taken as long as they live."""

    def __init__(self) -> None:
        self.things = 0

    def make(self, name: str) -> "Thing":
        if self.things == 2:
            raise BackendError("out of memory")
        return Thing(self, name)


class Thing:
    def __init__(self, memory: Memory, name: str) -> None:
        self.memory, self.name = memory, name
        memory.things += 1

    def __del__(self) -> None:
        self.memory.things -= 1


def test_the_last_few_are_kept() -> None:
    kept: Kept[list[int]] = Kept(2)
    first = kept.get(1, lambda: [1])
    kept.get(2, lambda: [2])
    assert kept.get(1, lambda: [3]) is first
    kept.get(4, lambda: [4])
    assert kept.get(1, lambda: [3]) is first
    assert kept.get(2, lambda: [5]) == [5], "the one not used for longest is gone"
    assert len(kept) == 2


def test_the_others_make_room() -> None:
    memory, kept = Memory(), Kept[Thing](8)
    for name in "abca":
        assert kept.get(name, lambda name=name: memory.make(name)).name == name
        assert memory.things <= 2
    assert len(kept) == 2


def test_where_there_is_no_room_at_all_the_error_is_the_callers() -> None:
    memory, kept = Memory(), Kept[Thing](8)
    held = [memory.make("a"), memory.make("b")]
    with pytest.raises(BackendError, match="out of memory"):
        kept.get("c", lambda: memory.make("c"))
    assert len(held) == 2
