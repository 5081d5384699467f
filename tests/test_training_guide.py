"""docs/training.md: its options are those of the command, its names those of the code."""

import re
import shlex
from pathlib import Path

import pytest

from tinyyolo3.cli.command import make_parser
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.testing.training import CFG
from tinyyolo3.train import TrainingSettings
from tinyyolo3.train.folder import TrainingFolder
from tinyyolo3.train.options import PRESETS
from tinyyolo3.train.schedule import POLICIES, read_schedule

GUIDE = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")


def parse(*argv: str) -> dict[str, object]:
    return vars(make_parser().parse_args(["train", "--data=d", "--cfg=c", "--out=o", *argv]))


def test_its_command_can_be_given() -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    program, *argv = shlex.split(block)
    assert program == "tinyyolo3"
    make_parser().parse_args(argv)


def test_its_options_are_the_commands() -> None:
    known = {f"--{name.replace('_', '-')}" for name in parse()}
    assert set(re.findall(r"--[a-z][a-z-]*", GUIDE)) <= known


def test_every_setting_is_an_argument_of_the_command() -> None:
    given = parse()
    for name, value in vars(TrainingSettings()).items():
        assert given[name] == value, name


def test_its_files_are_those_that_are_written() -> None:
    folder = TrainingFolder(Path("x"))
    places = (folder.final, folder.last, folder.best, folder.checkpoint, folder.log)
    for place in (*places, folder.validations, folder.plot):
        assert f"| `{place.name}` |" in GUIDE
    assert len(re.findall(r"^\| `[a-z]+\.[a-z]+` \|", GUIDE, re.MULTILINE)) == 7


@pytest.mark.parametrize("policy", POLICIES)
def test_its_policies_are_read(policy: str) -> None:
    options = f"policy={policy}\nsteps=1\nscales=1\nmax_batches=9\n"
    read_schedule(parse_config(CFG.replace("[net]\n", f"[net]\n{options}")).net)
    assert f"`{policy}`" in GUIDE


def test_its_presets_are_known() -> None:
    assert set(re.findall(r"^\| `([a-z]+)` \| [a-z]", GUIDE, re.MULTILINE)) >= set(PRESETS)


def test_its_python_is_that_of_the_package() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    compile(block, "docs/training.md", "exec")
    for line in block.splitlines():
        if line.startswith(("import ", "from ")):
            exec(line, {})
