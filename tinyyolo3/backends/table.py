"""What a backend is: a frozen table from an operation's name to the function that computes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinyyolo3.errors import BackendError
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

#: Functions differ in their arguments; `apply` knows each operation's.
Function = Callable[..., Any]


@dataclass(frozen=True)
class Backend:
    """A name and a table. All functions of one operation take the same arguments."""

    name: str
    functions: Mapping[str, Function]


def needed_operations(layer: specs.Layer) -> tuple[str, ...]:
    """Return the operations that computing `layer` takes."""
    match layer:
        case specs.Convolutional() | specs.Connected():
            operations = ["convolution" if layer.kind == "convolutional" else "connected"]
            operations += ["batchnorm"] if layer.batch_normalize else []
            return (*operations, "activation")
        case specs.Shortcut() | specs.ScaleChannels() | specs.Sam():
            return (layer.kind, "activation")
        case specs.Cost():
            return ()
    return (layer.kind,)


def check_backend(backend: Backend, graph: Graph) -> None:
    """Refuse a network that the backend cannot compute whole.

    Raises:
        BackendError: a layer needs an operation that the table lacks; nothing is ever computed
            elsewhere silently.
    """
    for layer in graph.layers:
        for operation in needed_operations(layer):
            if operation not in backend.functions:
                raise BackendError(
                    f"{graph.config.source}:{layer.line} [{layer.kind}]: the {backend.name} "
                    f"backend has no {operation}"
                )
