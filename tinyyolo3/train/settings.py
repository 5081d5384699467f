"""What a person decides about a training, besides the cfg."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinyyolo3.errors import InputError
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import layer_slots
from tinyyolo3.parallel import check_threads
from tinyyolo3.train.options import PRESETS

#: "cpu" computes by compiled loops, "reference" by plain NumPy, for study.
BACKENDS = ("cpu", "reference")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        iterations: how many; None goes on to the cfg's ``max_batches``.
        clear: begin counting at 0, whatever the weights have seen (Darknet's ``-clear``).
        cutoff: take only the layers before this one from the weights.
        freeze: layers before this one keep their parameters and running statistics.
        ema: the decay of the moving average that is saved instead of the parameters; None for none.
        seed: of all that is random.
        loss: how deltas are taken, one of `tinyyolo3.train.options.PRESETS`.
        backend: one of `BACKENDS`.
        threads: how many to compute with; None for all cores.
        workers: processes that make pictures; None for as many as there are cores, 0 for none.
        checkpoint_every: iterations from one checkpoint to the next.
        validate_every: iterations from one validation to the next; None for none.
    """

    iterations: int | None = None
    clear: bool = False
    cutoff: int | None = None
    freeze: int = 0
    ema: float | None = None
    seed: int = 0
    loss: str = "darknet"
    backend: str = "cpu"
    threads: int | None = None
    workers: int | None = None
    checkpoint_every: int = 100
    validate_every: int | None = None

    def identity(self) -> Mapping[str, Any]:
        """Return what decides the result: a training that goes on must have it alike."""
        names = ("freeze", "ema", "seed", "loss", "backend")
        return {name: getattr(self, name) for name in names}


def check_settings(settings: TrainingSettings, graph: Graph) -> None:
    """Check settings by themselves and for a network.

    Raises:
        InputError: one is out of range.
    """
    for name, low in (
        ("iterations", 1),
        ("cutoff", 1),
        ("freeze", 0),
        ("seed", 0),
        ("workers", 0),
        ("checkpoint_every", 1),
        ("validate_every", 1),
    ):
        value = getattr(settings, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise InputError(f"{name} must be an integer, not {value!r}")
        if value is not None and not low <= value < 2**32:
            raise InputError(f"{name} must be from {low} to {2**32 - 1}, not {value}")
    if settings.ema is not None and not 0 < settings.ema < 1:
        raise InputError(f"ema must be between 0 and 1, not {settings.ema!r}")
    for name, known in (("loss", tuple(PRESETS)), ("backend", BACKENDS)):
        if getattr(settings, name) not in known:
            value = getattr(settings, name)
            raise InputError(f"{name} must be {' or '.join(map(repr, known))}, not {value!r}")
    check_threads(settings.threads)
    last = max(layer.index for layer in graph.layers if layer_slots(layer))
    if settings.freeze > last:
        raise InputError(
            f"freeze={settings.freeze} leaves nothing to learn: the last layer with parameters is "
            f"layer {last}"
        )
