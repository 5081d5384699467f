"""``tinyyolo3 selftest``: a table, and a status that scripts can rely on."""

import numpy as np
import pytest

from tinyyolo3.cli import main
from tinyyolo3.selftest import run as cases


def test_the_table_has_a_line_for_each_kernel(command) -> None:
    ending = command("selftest", "--device", "host", "--only", "pool")
    assert (ending.status, ending.err) == (0, "")
    lines = ending.out.splitlines()
    heads = ["kernel", "file", "shapes", "largest", "error", "allowed", "relative"]
    assert lines[0].split() == heads
    names = [line.split("  ")[0] for line in lines[1:5]]
    assert names == ["avgpool", "maxpool", "avgpool, fp16", "maxpool, fp16"]
    assert lines[2].split() == ["maxpool", "maxpool.cu", "2", "0", "exact", "0", "ok"]
    assert 1e-5 < float(lines[3].split()[-2]) < 1e-3, "what rounding to halves makes of a mean"
    assert lines[-1] == "8 shapes of 4 kernels: all ok"


def test_what_the_cpu_runs_is_tested_too(command) -> None:
    ending = command("selftest", "--device", "cpu", "--only", "maxpool")
    assert ending.status == 0
    assert "2 shapes of 1 kernel: all ok" in ending.out


def test_a_wrong_kernel_gives_status_1_and_is_named(command, monkeypatch) -> None:
    monkeypatch.setattr(cases, "run_on_target", lambda *_: [np.zeros((2, 8, 7, 5))])
    ending = command("selftest", "--device", "host", "--only", "maxpool")
    assert ending.status == 1
    assert ending.out.count("FAILED") == 3
    assert "maxpool, 2x8x13x9 size=2 stride=2: wrong numbers" in ending.out


def test_without_a_gpu_it_says_what_is_missing(command, monkeypatch) -> None:
    def missing() -> None:
        from tinyyolo3.errors import BackendError

        raise BackendError("no NVIDIA GPU is here")

    monkeypatch.setattr("tinyyolo3.cuda.gpu.open_cuda", missing)
    ending = command("selftest")
    assert (ending.status, ending.out) == (1, "")
    assert ending.err == "error: no NVIDIA GPU is here\n"


def test_without_a_compiler_it_says_so_once(command, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    ending = command("selftest", "--device", "host")
    assert ending.status == 1
    assert "needs a C++ compiler" in ending.err
    assert ending.err.count("\n") == 1


def test_a_name_that_no_kernel_has_is_a_mistake(command) -> None:
    ending = command("selftest", "--device", "host", "--only", "maxpol")
    assert ending.status == 2
    assert "no kernel has that in its name" in ending.err


def test_its_help_has_an_example(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["selftest", "--help"])
    assert "tinyyolo3 selftest --device host" in capsys.readouterr().out.split("examples:")[1]
