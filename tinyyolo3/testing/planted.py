"""Planting bugs in kernels: does check mode notice them?

A bug is a piece of a kernel's text and what takes its place, with a launch that shows it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.host_module import HostKernel, HostModule
from tinyyolo3.cuda.sources import kernel_folder
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import KernelError


@dataclass(frozen=True)
class Bug:
    """One change to a kernel that must be noticed.

    Attributes:
        what: the bug, in words.
        run: the launch that shows it.
        file: where it is, a kernel's file or a header.
        old: the text there.
        new: what takes its place.
        kinds: how the message may begin, a regular expression.
    """

    what: str
    run: Callable[[Target], None]
    file: str
    old: str
    new: str
    kinds: str

    def message(self, seed: int) -> str:
        """Return what check mode says of the bug; empty if it says nothing."""
        try:
            self.run(PlantedTarget(self, seed))
        except KernelError as error:
            return str(error)
        return ""


class PlantedTarget(HostTarget):
    """Runs kernels in check mode, with a bug in one file of them."""

    def __init__(self, bug: Bug, seed: int) -> None:
        super().__init__("check", seed)
        original = (kernel_folder() / bug.file).read_text()
        if original.count(bug.old) != 1:
            raise ValueError(f"{bug.file}: not there exactly once: {bug.old}")
        self._file, self._changed = bug.file, original.replace(bug.old, bug.new)

    def _function(self, file: str, name: str) -> HostKernel:
        text = self._changed if file == self._file else (kernel_folder() / file).read_text()
        include = f'#include "{self._file}"\n'
        if file != self._file and include not in text:
            return super()._function(file, name)
        text = text.replace(include, self._changed)
        module = HostModule(code=text, name_expressions=[name] if "<" in name else [])
        return module.get_function(name)
