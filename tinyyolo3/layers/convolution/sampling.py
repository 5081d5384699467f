"""Which pixels of a row a kernel's tap finds inside the picture."""

from tinyyolo3.parallel import compiled


@compiled
def columns_inside(left: int, stride: int, width: int, count: int) -> tuple[int, int]:
    """Return the range of k in [0, count) for which column ``left + k * stride`` is in the picture.

    Args:
        left: the first column; negative in the padding.
        stride: how far the columns are apart.
        width: of the picture.
        count: of the columns looked at.
    """
    begin = min(count, max(0, (-left + stride - 1) // stride))
    return begin, max(begin, min(count, (width - 1 - left) // stride + 1))
