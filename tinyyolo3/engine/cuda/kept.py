"""What was used last is kept: things that take a target's memory, made when first asked for."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from tinyyolo3.errors import BackendError

Thing = TypeVar("Thing")


class Kept(Generic[Thing]):
    """The few things that were asked for last, by a key."""

    def __init__(self, limit: int) -> None:
        """Begin with nothing.

        Args:
            limit: how many to keep.
        """
        self._limit = limit
        self._things: OrderedDict[Hashable, Thing] = OrderedDict()

    def __len__(self) -> int:
        return len(self._things)

    def get(self, key: Hashable, make: Callable[[], Thing]) -> Thing:
        """Return the thing of a key, making it if need be.

        Where there is no memory for it beside the others, they make room.

        Raises:
            BackendError: there is none even so.
        """
        if key not in self._things:
            while len(self._things) >= self._limit:
                self._things.popitem(last=False)
            self._things[key] = self._make(make)
        self._things.move_to_end(key)
        return self._things[key]

    def _make(self, make: Callable[[], Thing]) -> Thing:
        try:
            return make()
        except BackendError:
            if not self._things:
                raise
        # Behind the `except`, for what failed holds memory as long as its error lives.
        self._things.clear()
        return make()
