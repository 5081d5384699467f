"""Keep what a run of ``gpu.py`` found to be quickest, for everyone who has such a GPU.

    python benchmarks/gpu_keep.py [RESULTS]

The algorithms of the stage ``layers`` and the tiles of the stage ``tensor`` go to where the package
looks for a device's measurements; what earlier runs have found of other convolutions stays.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinyyolo3.layers.convolution.cuda_algorithms import (
    Algorithm,
    Problem,
    algorithms_file,
    algorithms_text,
    read_row,
)
from tinyyolo3.layers.convolution.cuda_tensor import TensorTile
from tinyyolo3.layers.convolution.cuda_tensor_choice import (
    choices_file,
    choices_text,
    read_choices,
    read_problem,
    read_tile,
)

RESULTS = Path(__file__).parent / "results" / "gpu.json"


def found_algorithms(stages: dict[str, Any]) -> dict[Problem, Algorithm]:
    """Return the quickest algorithm of each convolution in float32."""
    return dict(
        read_row(row)
        for part, found in stages.get("layers", {}).items()
        for row in (found.values() if part.startswith("convolutions-") else ())
        if isinstance(row, dict) and "algorithm" in row
    )


def found_tiles(stages: dict[str, Any]) -> Iterator[tuple[tuple[str, Problem], TensorTile]]:
    """Yield the tiles with which a whole network was quickest, by precision and convolution."""
    for part, found in stages.get("tensor", {}).items():
        for problem, tile in found.get("chain", found).get("tiles", ()):
            yield (part.partition("-")[0], read_problem(problem)), read_tile(tile)


def kept_rows(file: Path) -> list[dict[str, Any]]:
    """Return what a device's file has so far."""
    rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else []
    return rows


def keep(results: dict[str, Any]) -> list[Path]:
    """Write what a run found to the package; return the files that were written."""
    device = results["stages"]["device"]["all"]["name"]
    algorithms, tiles = found_algorithms(results["stages"]), dict(found_tiles(results["stages"]))
    written = []
    if algorithms:
        file = algorithms_file(device)
        file.write_text(algorithms_text(dict(map(read_row, kept_rows(file))) | algorithms))
        written.append(file)
    if tiles:
        file = choices_file(device)
        file.write_text(choices_text(read_choices(kept_rows(file)) | tiles))
        written.append(file)
    return written


def main() -> None:
    """Keep the results of the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS)
    for file in keep(json.loads(parser.parse_args().results.read_text())):
        print(file)


if __name__ == "__main__":
    main()
