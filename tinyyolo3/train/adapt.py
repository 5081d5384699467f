"""A trained network made ready to learn other classes: its cfg rewritten, its parameters kept.

Only the heads know of classes: each [yolo] section, and the convolution before it, which has
(5 + classes) filters for each anchor. All other layers are kept whole, and of those convolutions
the filters of boxes and objectness, and of classes that stay. The other classes' begin anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyyolo3.anchors import anchors_option
from tinyyolo3.arrays import FloatArray
from tinyyolo3.atomic import output_errors, whole_file
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.edit import NET, set_options
from tinyyolo3.darknet.files import PathLike, read_text
from tinyyolo3.darknet.names import read_names
from tinyyolo3.darknet.weights import open_weights, write_weights
from tinyyolo3.errors import ConfigError, InputError, OutputError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.heads import BOX_ENTRIES
from tinyyolo3.network.parameters import (
    LayerParameters,
    Parameters,
    StoredParameters,
    layer_slots,
    network_slots,
)
from tinyyolo3.network.specs import Convolutional, Yolo
from tinyyolo3.train.initial import initial_parameters


def adapt_cfg(
    text: str,
    classes: int,
    *,
    anchors_px: FloatArray | None = None,
    net: Mapping[str, str] | None = None,
    source: str = "<cfg>",
) -> str:
    """Return a cfg's text for other classes.

    Args:
        text: the cfg, whose every [yolo] section stands behind a [convolutional] of its own.
        classes: how many there will be.
        anchors_px: (N, 2) width and height of other anchors, px of the network's input, as many as
            the cfg has; None keeps its own.
        net: options of [net] to set besides, by name.
        source: names the cfg in messages.

    Raises:
        ConfigError: the text is no cfg of a YOLOv3 detector; with the place.
        InputError: the number of anchors is another than the cfg's.
    """
    graph = build_graph(parse_config(text, source))
    changes = {NET: dict(net or {})}
    for head in _heads(graph):
        changes[head.index - 1] = {"filters": str((BOX_ENTRIES + classes) * len(head.mask))}
        changes[head.index] = {"classes": str(classes)}
        if anchors_px is not None:
            total = graph.config.layers[head.index].integer("num", 1)
            if len(anchors_px) != total:
                raise InputError(
                    f"{source}:{head.line} [yolo] has num={total} anchors, not {len(anchors_px)}"
                )
            changes[head.index]["anchors"] = anchors_option(anchors_px).partition("= ")[2]
    return set_options(text, changes, source)


@dataclass(frozen=True, eq=False)
class Adapted:
    """The parameters with which an adapted network begins.

    Attributes:
        parameters: of all layers that have any.
        kept: the layers that are as they were.
        heads: the convolutions of the heads, of which the boxes' and the objectness's filters are.
    """

    parameters: Parameters
    kept: tuple[int, ...]
    heads: tuple[int, ...]


def adapt_parameters(
    graph: Graph,
    trained: Graph,
    parameters: Parameters,
    *,
    same_classes: Mapping[int, int] | None = None,
    seed: int = 0,
) -> Adapted:
    """Return the parameters with which the network of an adapted cfg begins.

    Args:
        graph: of what `adapt_cfg` gave.
        trained: of the cfg that it was given.
        parameters: of the latter.
        same_classes: of the classes that stay, which one in `trained` each one in `graph` is.
        seed: of the numbers that begin anew, which are those of `initial_parameters`.

    Raises:
        ConfigError: the graphs differ in more than their heads.
    """
    heads = {head.index - 1: head for head in _heads(graph)}
    before = {head.index - 1: head for head in _heads(trained)}
    found: dict[int, LayerParameters] = {}
    for layer in graph.layers:
        index, slots = layer.index, layer_slots(layer)
        if index in heads and index in before:
            own = initial_parameters(layer, seed)
            rows, old_rows = _kept_filters(heads[index], before[index], same_classes or {})
            for name, array in parameters[index].items():
                own[name][rows] = array[old_rows]
            found[index] = own
        elif slots != layer_slots(trained.layers[index]):
            raise ConfigError(
                f"{graph.config.source}:{layer.line} [{layer.kind}] is another layer than "
                f"{trained.config.source}:{trained.layers[index].line}"
            )
        elif slots:
            found[index] = parameters[index]
    kept = tuple(index for index in found if index not in heads)
    return Adapted(found, kept, tuple(heads))


@dataclass(frozen=True, eq=False)
class AdaptedModel:
    """A model that was written for other classes.

    Attributes:
        cfg: its ``.cfg`` file.
        weights: its ``.weights`` file, or None where it begins with random numbers.
        names: its ``.names`` file.
        graph: its network.
        same_classes: of the classes that stay, which one each was before.
        parameters: what `weights` hold.
    """

    cfg: Path
    weights: Path | None
    names: Path
    graph: Graph
    same_classes: Mapping[int, int]
    parameters: Adapted | None


def adapt_model(
    stem: PathLike,
    classes: Sequence[str],
    cfg: PathLike,
    weights: PathLike | None = None,
    *,
    known: Sequence[str] | None = None,
    anchors_px: FloatArray | None = None,
    net: Mapping[str, str] | None = None,
) -> AdaptedModel:
    """Write a model for other classes, ready to be trained.

    Args:
        stem: what is written is ``stem.cfg``, ``stem.names`` and, with weights, ``stem.weights``.
        classes: the new classes' names.
        cfg: of the trained model.
        weights: of the trained model; None to begin with random numbers.
        known: its classes' names: those that are among the new ones stay.
        anchors_px: as for `adapt_cfg`, and so is `net`.

    Raises:
        ConfigError: the cfg is none of a YOLOv3 detector.
        WeightsError: the weights do not belong to it.
        InputError: there are no classes, or the anchors are too many or too few.
        OutputError: a file is there already, or cannot be written.
    """
    if not classes:
        raise InputError("a detector needs at least one class")
    place = Path(stem)
    files = {s: place.with_name(f"{place.name}{s}") for s in (".cfg", ".weights", ".names")}
    text = read_text(cfg, "a Darknet cfg", ConfigError)
    new = adapt_cfg(text, len(classes), anchors_px=anchors_px, net=net, source=str(cfg))
    graph = build_graph(parse_config(new, str(files[".cfg"])))
    before = list(known or ())
    same = {index: before.index(name) for index, name in enumerate(classes) if name in before}
    parameters = None
    if weights is not None:
        trained = build_graph(parse_config(text, str(cfg)))
        stored = StoredParameters(trained, open_weights(weights, network_slots(trained)))
        parameters = adapt_parameters(graph, trained, stored, same_classes=same)
    _check_free(files, classes, weights is not None)
    if parameters is not None:
        write_weights(files[".weights"], network_slots(graph), parameters.parameters)
    for suffix, content in ((".cfg", new), (".names", "".join(f"{name}\n" for name in classes))):
        with whole_file(files[suffix]) as file, output_errors(files[suffix]):
            file.write(content.encode())
    own_weights = None if parameters is None else files[".weights"]
    return AdaptedModel(files[".cfg"], own_weights, files[".names"], graph, same, parameters)


def _check_free(files: Mapping[str, Path], classes: Sequence[str], has_weights: bool) -> None:
    """Refuse to write over a model; its names may be those that are to be written.

    Raises:
        OutputError: it would be written over.
    """
    for suffix, place in files.items():
        if not place.exists() or (suffix == ".weights" and not has_weights):
            continue
        if suffix != ".names" or read_names(place) != tuple(classes):
            raise OutputError(f"{place}: is there already")


def _kept_filters(
    head: Yolo, before: Yolo, same_classes: Mapping[int, int]
) -> tuple[list[int], list[int]]:
    """Return which of a head's filters are kept, and where they stood."""
    entries = {entry: entry for entry in range(BOX_ENTRIES)}
    entries |= {BOX_ENTRIES + new: BOX_ENTRIES + old for new, old in same_classes.items()}
    size, old_size = BOX_ENTRIES + head.classes, BOX_ENTRIES + before.classes
    pairs = [
        (anchor * size + new, anchor * old_size + old)
        for anchor in range(len(head.mask))
        for new, old in entries.items()
    ]
    return [new for new, _ in pairs], [old for _, old in pairs]


def _heads(graph: Graph) -> tuple[Yolo, ...]:
    """Return the [yolo] sections, each of which has a convolution of its own before it.

    Raises:
        ConfigError: there are none, or one has not.
    """
    found = tuple(layer for layer in graph.layers if isinstance(layer, Yolo))
    if not found:
        raise ConfigError(
            f"{graph.config.source} has no [yolo] section, whose classes could change"
        )
    for head in found:
        if not isinstance(graph.layers[head.index - 1], Convolutional):
            raise ConfigError(
                f"{graph.config.source}:{head.line} [yolo] expected a [convolutional] before it, "
                f"found [{graph.layers[head.index - 1].kind}]"
            )
    return found
