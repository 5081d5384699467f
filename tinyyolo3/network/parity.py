"""Where the builds of Darknet differ, and which of them to follow.

`alexeyab` is the default: AlexeyAB/darknet, which most models were trained with. `pjreddie` is the
original's CPU build, `opencv` is OpenCV 4's importer.
"""

from dataclasses import dataclass

from tinyyolo3.errors import InputError


@dataclass(frozen=True)
class Parity:
    """The numbers in which one flavour differs from another.

    Attributes:
        name: how the caller asks for it.
        batchnorm_epsilon: what keeps the division finite.
        epsilon_inside_root: ``sqrt(variance + epsilon)`` rather than ``sqrt(variance) + epsilon``.
        default_activation: of a section that names none.
        shortcut_factors: whether [shortcut] reads alpha= and beta=.
    """

    name: str
    batchnorm_epsilon: float
    epsilon_inside_root: bool
    default_activation: str
    shortcut_factors: bool


FLAVOURS = {
    # DARKNET: A:network.c fuse_conv_batchnorm and both builds' GPU code have 1e-5 inside the root.
    "alexeyab": Parity("alexeyab", 1e-5, True, "logistic", False),
    # DARKNET: P:blas.c normalize_cpu divides by sqrt(variance) + 1e-6.
    "pjreddie": Parity("pjreddie", 1e-6, False, "logistic", True),
    # O:darknet_io.cpp sets eps to 1e-6, inside the root, and takes no activation for linear.
    "opencv": Parity("opencv", 1e-6, True, "linear", False),
}


def find_parity(name: str) -> Parity:
    """Return the flavour called `name`.

    Raises:
        InputError: there is none of that name.
    """
    if name not in FLAVOURS:
        raise InputError(f"parity={name!r} is unknown; known are {', '.join(FLAVOURS)}")
    return FLAVOURS[name]
