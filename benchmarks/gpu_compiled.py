"""Stage 6: as stage 5, with networks that TorchInductor compiles: that takes most of its time."""

from gpu_context import Context, Record
from gpu_peers import compare_all


def measure(context: Context, part: str, record: Record) -> None:
    """Compare one network with PyTorch's compiled one, at each batch size and precision."""
    compare_all(context, part, record, compiled=True)
