"""From file names to a detector ready to run."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike as PathLikeType
from os import fspath

from tinyyolo3.backends.cpu import CPU
from tinyyolo3.backends.select import select_backend, select_target
from tinyyolo3.backends.table import Backend, check_backend
from tinyyolo3.cuda.target import Target
from tinyyolo3.darknet.config import read_config
from tinyyolo3.darknet.files import PathLike
from tinyyolo3.darknet.names import read_names
from tinyyolo3.darknet.weights import open_weights
from tinyyolo3.detector import Detector, check_size
from tinyyolo3.engine.cpu.algorithms import MEMORY
from tinyyolo3.engine.cpu.algorithms import PRECISIONS as CPU_PRECISIONS
from tinyyolo3.engine.cpu.arithmetic import HAS_BFLOAT16
from tinyyolo3.engine.cpu.engine import CpuEngine
from tinyyolo3.engine.network import Network
from tinyyolo3.errors import BackendError, ConfigError, InputError, WeightsWarning
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16
from tinyyolo3.layers.convolution.cuda_mma_tiles import PRECISIONS as GPU_PRECISIONS
from tinyyolo3.models import ModelFiles, find_model
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.fold import fold_graph, fold_parameters
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import (
    Parameters,
    StoredParameters,
    find_bad_values,
    materialize,
    network_slots,
)
from tinyyolo3.network.parity import find_parity
from tinyyolo3.parallel import check_threads, thread_limit

#: What networks are computed in; "fp32" anywhere, the others on one kind of device.
PRECISIONS = (*CPU_PRECISIONS, *GPU_PRECISIONS)


def load(
    cfg: PathLike | None = None,
    weights: PathLike | None = None,
    *,
    names: PathLike | Sequence[str] | None = None,
    device: str = "auto",
    backend: str | None = None,
    size: tuple[int, int] | None = None,
    threads: int | None = None,
    strict: bool = True,
    cutoff: int | None = None,
    parity: str = "alexeyab",
    fold: bool = True,
    memory: str = "default",
    precision: str = "fp32",
    persistent: bool = False,
) -> Detector:
    """Load a Darknet model, or the one that comes with the package.

    Args:
        cfg: the ``.cfg`` file; or "digits", without weights, which is also meant where nothing is
            given: it finds handwritten digits.
        weights: the ``.weights`` file.
        names: a ``.names`` file, or the class names themselves; "digits" has its own.
        device: "cpu", or "cuda" for an NVIDIA GPU, through CuPy; "auto" for the GPU where one can
            be used, and otherwise the CPU.
        backend: on the CPU, "cpu", or "reference" for plain NumPy; None for the device's own.
        size: width and height of the network's input instead of the cfg's.
        threads: how many CPU threads to use at most; None for all that this process may use.
        strict: refuse weights that are too short or too long for the cfg.
        cutoff: read only the layers before this index from `weights`.
        parity: whose numbers to follow where builds of Darknet differ: "alexeyab", "pjreddie"
            (its CPU build) or "opencv".
        fold: fold batch norm into the weights, which is faster; False keeps every layer's own
            parameters, for study.
        memory: on the CPU, "default", or "low" for a slower network whose weights take less than
            half the memory.
        precision: "fp32"; on the CPU "bf16" for products of bfloat16 numbers: quicker, with
            confidences off by up to 0.02, on processors that have an instruction for them. On a GPU
            "fp16" for maps and products in half precision, with confidences off by up to 0.02; or
            "tf32" for float32 maps and products of numbers of 11 bits, from sm_80 on.
        persistent: on a GPU in "fp16", run all layers in one launch. Networks with layers that it
            has no form of are refused.

    Returns:
        A detector. Of a classifier only `forward` and `network` work.

    Raises:
        ConfigError: `cfg` or `names` cannot be used, or they disagree.
        WeightsError: `weights` do not belong to the cfg.
        BackendError: the device or backend cannot run this network.
        InputError: another argument is out of range, or no model has this name.
    """
    check_threads(threads)
    files = find_model(cfg, weights, names)
    if memory not in MEMORY:
        raise InputError(f"memory must be {' or '.join(map(repr, MEMORY))}, not {memory!r}")
    if precision not in PRECISIONS:
        raise InputError(
            f"precision must be {' or '.join(map(repr, PRECISIONS))}, not {precision!r}"
        )
    _check_persistent(persistent, precision)
    chosen = select_backend(backend)
    target = select_target(
        device,
        cpu_only=_cpu_only(backend, memory, precision),
        gpu_only=f"precision={precision!r}" if precision in GPU_PRECISIONS else None,
    )
    if target is not None:
        _check_folded(precision, fold)
        model = _read_model(_kernels(), files, size, strict, cutoff, parity, fold)
        return _on_target(target, model, threads, precision, persistent)
    planned = chosen is CPU and fold
    check_precision(precision, planned=planned)
    model = _read_model(chosen, files, size, strict, cutoff, parity, fold)
    engine = CpuEngine(model.parameters, memory, precision) if planned else None
    if engine is not None and engine.ready():
        with thread_limit(threads):
            engine.planned(model.graph)
    parameters = materialize(model.parameters) if engine is None else model.parameters
    network = Network(model.graph, parameters, chosen, fold, threads, engine)
    return Detector(network, model.names)


def load_on(
    target: Target,
    cfg: PathLike,
    weights: PathLike,
    *,
    names: PathLike | Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    threads: int | None = None,
    strict: bool = True,
    cutoff: int | None = None,
    parity: str = "alexeyab",
    fold: bool = True,
    precision: str = "fp32",
    persistent: bool = False,
) -> Detector:
    """Load a Darknet model onto a target of kernels.

    `load` does this for the GPU. With a `tinyyolo3.cuda.host.HostTarget` the same kernels run on
    the CPU, slowly and checked: for tests, for the self-test, and for measuring without a GPU.

    Args:
        target: where to run.
        cfg: the ``.cfg`` file.
        weights: the ``.weights`` file.
        names: as for `load`, and so are all that follow.
        size: width and height of the network's input.
        threads: how many CPU threads to use beside the target.
        strict: refuse weights of another length.
        cutoff: read only the layers before this index.
        parity: whose numbers to follow.
        fold: fold batch norm into the weights.
        precision: "fp32", "fp16" or "tf32".
        persistent: with "fp16", run all layers in one launch.

    Raises:
        TinyYoloError: as `load`.
    """
    check_threads(threads)
    if precision not in ("fp32", *GPU_PRECISIONS):
        raise InputError(f"a target of kernels knows no precision {precision!r}")
    _check_persistent(persistent, precision)
    _check_folded(precision, fold)
    files = ModelFiles(cfg, weights, names)
    model = _read_model(_kernels(), files, size, strict, cutoff, parity, fold)
    return _on_target(target, model, threads, precision, persistent)


@dataclass(frozen=True, eq=False)
class _Model:
    """A model's files, read and checked.

    Attributes:
        graph: the layers, batch norm folded or not.
        parameters: theirs.
        names: the classes'.
        folded: whether batch norm has been folded.
    """

    graph: Graph
    parameters: Parameters
    names: tuple[str, ...] | None
    folded: bool


def _read_model(
    backend: Backend,
    files: ModelFiles,
    size: tuple[int, int] | None,
    strict: bool,
    cutoff: int | None,
    parity: str,
    fold: bool,
) -> _Model:
    if cutoff is not None and (
        isinstance(cutoff, bool) or not isinstance(cutoff, int) or cutoff < 0
    ):
        raise InputError(f"cutoff must be a layer's index, zero or more, not {cutoff!r}")
    width, height = (None, None) if size is None else check_size(size)
    graph = build_graph(
        read_config(files.cfg), width=width, height=height, parity=find_parity(parity)
    )
    check_backend(backend, graph)
    class_names = None if files.names is None else check_names(graph, files.names)
    parameters = load_parameters(graph, files.weights, strict=strict, cutoff=cutoff)
    if fold:
        parameters = fold_parameters(graph, parameters)
        graph = fold_graph(graph)
    return _Model(graph, parameters, class_names, fold)


def _kernels() -> Backend:
    """Return the table of kernels' launchers."""
    # Imported where a GPU is used: those who run on the CPU need not wait for it at every start.
    from tinyyolo3.backends.cuda import CUDA

    return CUDA


def _on_target(
    target: Target, model: _Model, threads: int | None, precision: str, persistent: bool
) -> Detector:
    """Upload a model's parameters, and let a target run it."""
    from tinyyolo3.engine.cuda.engine import CudaEngine

    engine = CudaEngine(target, model.parameters, precision, persistent=persistent)
    engine.prepare(model.graph)
    network = Network(model.graph, model.parameters, _kernels(), model.folded, threads, engine)
    return Detector(network, model.names)


def _cpu_only(backend: str | None, memory: str, precision: str) -> str | None:
    """Return which argument asks for what the CPU alone can do, or None."""
    asked = {"backend": (backend, None), "memory": (memory, "default")}
    asked["precision"] = (precision if precision in CPU_PRECISIONS else "fp32", "fp32")
    wishes = [f"{name}={value!r}" for name, (value, usual) in asked.items() if value != usual]
    return wishes[0] if wishes else None


def _check_persistent(persistent: bool, precision: str) -> None:
    """Refuse one launch for all layers in a precision that has none.

    Raises:
        BackendError: it is not fp16.
    """
    if persistent and precision != FP16.name:
        raise BackendError(f'persistent=True needs precision="fp16", not {precision!r}')


def _check_folded(precision: str, fold: bool) -> None:
    """Refuse batch norms of their own between convolutions that tensor cores compute.

    Raises:
        BackendError: so it would be.
    """
    if precision in GPU_PRECISIONS and not fold:
        raise BackendError(f'precision="{precision}" needs fold=True')


def check_precision(precision: str, *, planned: bool) -> None:
    """Check that the CPU can compute a network in a precision.

    Args:
        precision: one of `PRECISIONS`.
        planned: whether the planned CPU engine will run it.

    Raises:
        BackendError: the processor, or the way of running, has only float32.
    """
    if precision == "bf16" and not planned:
        raise BackendError('precision="bf16" needs backend="cpu" and fold=True')
    if precision == "bf16" and not HAS_BFLOAT16:
        raise BackendError(
            'precision="bf16" needs a processor with AVX-512 BF16 (AMD Zen 4, Intel Cooper Lake or '
            "later ones); this one multiplies float32 only"
        )


def check_names(graph: Graph, names: PathLike | Sequence[str]) -> tuple[str, ...]:
    """Return the class names, read from a file or given, if there is one for each class.

    Raises:
        ConfigError: the file cannot be read, or the count differs from the cfg's classes.
        InputError: `names` is neither a path nor a sequence of strings.
    """
    if isinstance(names, str | PathLikeType):
        found, place = read_names(names), fspath(names)
    else:
        given = isinstance(names, Sequence) and not isinstance(names, bytes | bytearray)
        if not given or not all(isinstance(name, str) for name in names):
            raise InputError(f"names must be a .names file or a list of strings, not {names!r}")
        found, place = tuple(names), "names"
    if graph.heads and len(found) != graph.heads[0].classes:
        raise ConfigError(
            f"{place} has {len(found)} names, but {graph.config.source}:{graph.heads[0].line} "
            f"[{graph.heads[0].kind}] has classes={graph.heads[0].classes}"
        )
    return found


def load_parameters(
    graph: Graph, weights: PathLike, *, strict: bool = True, cutoff: int | None = None
) -> Parameters:
    """Check the weights of `graph`, warning of numbers that cannot be right.

    All of the file is read once, and no more than one layer kept at a time; looking a layer up in
    the result reads it again. Layers that a partial file does not hold get neutral parameters:
    they put out zeros.

    Raises:
        WeightsError: the file does not fit the network.
    """
    file = open_weights(weights, network_slots(graph), strict=strict, cutoff=cutoff)
    parameters = StoredParameters(graph, file)
    for index, name, problem in find_bad_values(parameters):
        layer = graph.layers[index]
        warnings.warn(
            f"{fspath(weights)!s}: layer {index} [{layer.kind}] "
            f"({graph.config.source}:{layer.line}) {name}: {problem}",
            WeightsWarning,
            stacklevel=4,  # the caller of `load`
        )
    return parameters
