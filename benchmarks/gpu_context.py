"""What every stage of the GPU run is given: where it runs, where files go, and a record to fill."""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.base import Model
from tinyyolo3.cuda.target import Target


@dataclass(frozen=True)
class Context:
    """The circumstances of a run.

    Attributes:
        target: "cuda", or "host" to try everything on the CPU with sizes that take no time.
        work: a folder that all stages share and that is removed afterwards.
        logs: where logs that are worth keeping go.
        commit: the version of this project that is measured.
        deadline_s: how long the part that is running may take; it is stopped then.
        begun: when it began, by `time.monotonic`.
    """

    target: str
    work: Path
    logs: Path
    commit: str = "unknown"
    deadline_s: float = 600.0
    begun: float = field(default_factory=time.monotonic)

    @property
    def tiny(self) -> bool:
        """Whether figures are of no interest, only that everything runs."""
        return self.target == "host"

    def left_s(self) -> float:
        """Return the time that is left to the part that is running, seconds."""
        return self.begun + self.deadline_s - time.monotonic()

    def open_target(self) -> Target:
        """Return the place where kernels run."""
        if self.target == "cuda":
            from tinyyolo3.cuda.gpu import open_cuda

            return open_cuda()
        from tinyyolo3.cuda.host import HostTarget

        return HostTarget("fast")

    def model(self, name: str, side: int) -> Model:
        """Return the folder of a network's files, empty at first."""
        folder = self.work / name
        folder.mkdir(exist_ok=True)
        return Model(folder, side)


@dataclass
class Record:
    """What a part of a stage has found so far, kept on disk after every figure.

    Attributes:
        file: where it is kept, as JSON.
        label: what lines on the screen begin with.
        found: the figures by name.
    """

    file: Path
    label: str
    found: dict[str, Any] = field(default_factory=dict)

    def __call__(self, name: str, value: Any) -> None:
        """Add a figure, a list or a dictionary of them, and show it."""
        self.found[name] = value
        write_json(self.file, self.found)
        text = json.dumps(value)
        print(f"{self.label} {name}: {text if len(text) < 300 else text[:300] + ' …'}", flush=True)


def write_json(file: Path, value: Any) -> None:
    """Write JSON in one go, so that whoever reads meanwhile, or after a stop, finds it whole."""
    beside = file.with_name(file.name + ".new")
    beside.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(beside, file)
