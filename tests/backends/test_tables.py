"""The tables serve all that a cfg can name."""

import pytest

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.backends import select
from tinyyolo3.backends.cpu import CPU
from tinyyolo3.backends.cuda import CUDA
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.backends.select import select_backend, select_target
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import BackendError, DeviceWarning, InputError
from tinyyolo3.layers.activation import _FORMULAS


def test_every_activation_that_a_cfg_can_name_is_computed() -> None:
    assert set(_FORMULAS) == set(ACTIVATIONS)


def test_all_tables_serve_the_same_operations() -> None:
    assert set(CPU.functions) == set(REFERENCE.functions) <= set(CUDA.functions)


def test_backends_choose_a_table() -> None:
    assert select_backend() is CPU
    assert select_backend("reference") is REFERENCE
    with pytest.raises(InputError, match="backend='fast' is unknown; known are cpu, reference"):
        select_backend("fast")


class TestDevices:
    """Which device a network runs on, whatever the machine has."""

    target = HostTarget()

    @pytest.fixture
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """CuPy is there, and nobody hides GPUs."""
        monkeypatch.setattr(select, "find_spec", lambda _name: object())
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        select._warn_once.cache_clear()

    @pytest.fixture
    def usable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(select, "_open_cuda", lambda: self.target)

    @pytest.fixture
    def unusable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> Target:
            raise BackendError("no GPU is in this machine")

        monkeypatch.setattr(select, "_open_cuda", fail)

    def test_unknown(self) -> None:
        known = "device='tpu' is unknown; known are auto, cpu, cuda"
        with pytest.raises(InputError, match=known):
            select_target("tpu")

    @pytest.mark.usefixtures("installed", "usable")
    def test_a_gpu_is_used_when_asked_for_and_by_default(self) -> None:
        assert select_target("cuda") is select_target("auto") is select_target() is self.target
        assert select_target("cpu") is None

    @pytest.mark.usefixtures("installed", "usable")
    @pytest.mark.parametrize("hidden", ["", "-1"])
    def test_hidden_gpus_are_not_looked_for(
        self, hidden: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert select_target("auto") is None

    @pytest.mark.usefixtures("installed", "usable")
    def test_what_only_the_cpu_does_decides(self) -> None:
        assert select_target("auto", cpu_only="memory='low'") is None
        with pytest.raises(BackendError, match="device='cuda': memory='low' belongs to d"):
            select_target("cuda", cpu_only="memory='low'")

    @pytest.mark.usefixtures("installed", "usable")
    def test_what_only_a_gpu_does_decides(self) -> None:
        wish = {"gpu_only": "precision='fp16'"}
        assert select_target("auto", **wish) is select_target("cuda", **wish) is self.target
        with pytest.raises(BackendError, match="device='cpu': precision='fp16' belongs to d"):
            select_target("cpu", **wish)
        both = "^precision='fp16' belongs to device='cuda', memory='low' to device='cpu'$"
        with pytest.raises(BackendError, match=both):
            select_target("auto", cpu_only="memory='low'", **wish)

    @pytest.mark.usefixtures("installed", "unusable")
    def test_what_only_a_gpu_does_needs_one(self) -> None:
        with pytest.raises(BackendError, match="precision='fp16' needs a GPU: no GPU is in this m"):
            select_target("auto", gpu_only="precision='fp16'")

    @pytest.mark.usefixtures("installed", "unusable")
    def test_auto_says_once_why_it_falls_back(self) -> None:
        with pytest.warns(DeviceWarning, match="device='auto' means the CPU here: no GPU is in"):
            assert select_target("auto") is None
        assert select_target("auto") is None
        with pytest.raises(BackendError, match=r"^device='cuda': no GPU is in this machine$"):
            select_target("cuda")

    @pytest.mark.usefixtures("installed", "unusable")
    def test_auto_says_nothing_where_cupy_is_not_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(select, "find_spec", lambda _name: None)
        assert select_target("auto") is None
