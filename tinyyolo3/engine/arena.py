"""The arena: buffers that are not needed at the same time may lie on each other."""

from collections.abc import Iterable, Sequence

from tinyyolo3.engine.plan import Buffer, Step


def buffers_of(step: Step) -> set[int]:
    """Return the buffers that a step reads or writes."""
    places = [*step.inputs, step.output, step.residual]
    used = {place.buffer for place in places if place is not None}
    return used if step.workspace is None else used | {step.workspace}


def assign_offsets(
    steps: Sequence[Step], sizes: Sequence[int], alignment: int
) -> tuple[tuple[Buffer, ...], int]:
    """Lay buffers into the arena: the largest first, each at the lowest offset that is free.

    Free means: at no offset that another buffer covers whose life overlaps with its own. A life
    goes from the first step that touches the buffer to the last.

    Args:
        steps: what touches them.
        sizes: the bytes of each.
        alignment: bytes of which their offsets are multiples.

    Returns:
        The buffers, and the arena's size.
    """
    return lay_out([buffers_of(step) for step in steps], sizes, alignment)


def lay_out(
    touched: Sequence[Iterable[int]], sizes: Sequence[int], alignment: int
) -> tuple[tuple[Buffer, ...], int]:
    """Do what `assign_offsets` does, told the buffers that each step reads or writes."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, buffers in enumerate(touched):
        for index in buffers:
            first.setdefault(index, number)
            last[index] = number
    placed: dict[int, Buffer] = {}
    for index in sorted(first, key=lambda i: (-sizes[i], first[i])):
        size = -(-sizes[index] // alignment) * alignment
        offset = 0
        for other in sorted(placed.values(), key=lambda b: b.offset):
            overlaps = other.first <= last[index] and first[index] <= other.last
            if overlaps and other.offset < offset + size:
                offset = max(offset, other.offset + other.bytes)
        placed[index] = Buffer(offset, size, first[index], last[index])
    found = tuple(placed.get(i, Buffer(0, 0, 0, 0)) for i in range(len(sizes)))
    return found, max((b.offset + b.bytes for b in found), default=0)
