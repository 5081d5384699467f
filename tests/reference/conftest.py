"""What the comparisons with Darknet's stored answers share."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def random_weights(reference: Path) -> ModuleType:
    """The script that wrote the weights to which the expected answers belong."""
    script = reference / "make_random_weights.py"
    spec = importlib.util.spec_from_file_location("make_random_weights", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
