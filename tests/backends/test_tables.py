"""The tables serve all that a cfg can name."""

import pytest

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.backends.cpu import CPU
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.backends.select import select_backend
from tinyyolo3.errors import BackendError, InputError
from tinyyolo3.layers.activation import _FORMULAS


def test_every_activation_that_a_cfg_can_name_is_computed() -> None:
    assert set(_FORMULAS) == set(ACTIVATIONS)


def test_devices_and_backends_choose_a_table() -> None:
    assert select_backend() is CPU
    assert select_backend("auto") is CPU
    assert select_backend("cpu", "reference") is REFERENCE


@pytest.mark.parametrize(
    ("device", "backend", "error", "message"),
    [
        ("tpu", None, InputError, "device='tpu' is unknown; known are auto, cpu, cuda"),
        ("cpu", "fast", InputError, "backend='fast' is unknown; known are cpu, reference"),
        ("cuda", None, BackendError, "device='cuda': this version has no CUDA backend"),
    ],
)
def test_what_does_not_exist_is_refused(
    device: str, backend: str | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        select_backend(device, backend)
