"""Winograd's minimal filtering, from the polynomials down to three small matrices.

To get m neighbouring outputs of a filter with r taps takes ``m * r`` multiplications by the
definition and ``m + r - 1`` by Toom and Cook's detour: the outputs are coefficients of a product of
polynomials, and a polynomial of degree d is known from its values at d + 1 points. With points
p_0 … p_{t-2} and infinity, t = m + r − 1, and N_j = Π_{k≠j} (p_j − p_k)::

    A[i, j] = p_j^i                 powers; the column of infinity is 0 … 0 1
    G[j, i] = p_j^i / N_j           the filter's value at p_j
    B[j, :] = coefficients of Π_{k≠j} (x − p_k), in the last row of the product over all k

and ``y = A ((G g) ⊙ (B d))`` is ``y[i] = Σ_k g[k] d[i+k]`` (Winograd 1980; Lavin and Gray, Fast
Algorithms for Convolutional Neural Networks, 2015, arXiv:1509.09308; Blahut, Fast Algorithms for
Signal Processing, chapter 5). In two dimensions it is nested: ``Y = A ((G g Gᵀ) ⊙ (B d Bᵀ)) Aᵀ``.

Large matrix entries amplify rounding errors (`Filtering.amplification`). For m = 4 the points 0,
±1/√2 and ±√2 bound them by 69, the usual 0, ±1 and ±2 by 256; for m = 3, 0, ±3/4 and 3/2 by 42
instead of 66.

A stride of 2 has no such algorithm of its own, but its even taps (0 and 2) see only even inputs and
its odd tap (1) only odd ones: two filters of stride 1, with 2 taps and 1 tap (*polyphase*). The
single tap needs m plain products, which all share its weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Filtering:
    """An algorithm for m outputs of a 3-tap filter, along one axis.

    Attributes:
        name: for people: ``F(4,3)``, and ``F(4,3)/2`` for a stride of 2.
        stride: of the filter.
        inputs: B, (products, extent): extent inputs to `products` numbers.
        weights: G, (products, 3).
        outputs: A, (m, products).
    """

    name: str
    stride: int
    inputs: Matrix
    weights: Matrix
    outputs: Matrix

    @property
    def m(self) -> int:
        """Outputs along the axis."""
        return len(self.outputs)

    @property
    def products(self) -> int:
        """Multiplications along the axis."""
        return len(self.weights)

    @property
    def extent(self) -> int:
        """Inputs along the axis."""
        return int(self.inputs.shape[1])

    @cached_property
    def distinct_weights(self) -> Matrix:
        """G without repeated rows: what is stored."""
        return self.weights[sorted(set(self.weight_of))]

    @cached_property
    def weight_of(self) -> tuple[int, ...]:
        """Per product, the first product with the same row of G."""
        rows = [tuple(row) for row in self.weights]
        return tuple(rows.index(row) for row in rows)

    @cached_property
    def saving(self) -> float:
        """How many times fewer multiplications a 3 × 3 convolution takes."""
        return (3 * self.m / self.products) ** 2

    @cached_property
    def amplification(self) -> float:
        """A bound on how much more rounding error it makes in two dimensions than a plain sum.

        Every intermediate number is bounded through the matrices' absolute values: the ratio of
        ``|A| (|G| |g| |Gᵀ| ⊙ |B| |d| |Bᵀ|) |Aᵀ|`` to the plain sum of ``|g| |d|``, at its worst,
        for inputs and weights of one size.
        """
        ones_d, ones_g = np.ones(self.extent), np.ones(3)
        filtered = np.abs(self.weights) @ ones_g * (np.abs(self.inputs) @ ones_d)
        return float((np.abs(self.outputs) @ filtered).max() / 3) ** 2


def toom_cook(m: int, taps: int, points: Sequence[float]) -> tuple[Matrix, Matrix, Matrix]:
    """Return B, G and A for `m` outputs of a filter of `taps` taps.

    Args:
        m: outputs.
        taps: the filter's.
        points: ``m + taps - 2`` different numbers; infinity is added to them.
    """
    finite = np.array(points, np.float64)
    size = len(finite) + 1
    outputs, weights, inputs = (np.zeros(s) for s in ((m, size), (size, taps), (size, size)))
    for j, point in enumerate(finite):
        others = np.delete(finite, j)
        outputs[:, j] = point ** np.arange(m)
        weights[j] = point ** np.arange(taps) / np.prod(point - others)
        inputs[j, :-1] = np.poly(others)[::-1]
    outputs[-1, -1] = weights[-1, -1] = 1
    inputs[-1] = np.poly(finite)[::-1]
    return inputs, weights, outputs


def polyphase(m: int, points: Sequence[float]) -> tuple[Matrix, Matrix, Matrix]:
    """Return B, G and A for `m` outputs of a 3-tap filter with a stride of 2.

    Args:
        m: outputs.
        points: m different numbers for the even taps' filter, which has two.
    """
    even_inputs, even_weights, even_outputs = toom_cook(m, 2, points)
    even, extent = m + 1, 2 * m + 1
    inputs, weights, outputs = (
        np.zeros(s) for s in ((even + m, extent), (even + m, 3), (m, even + m))
    )
    inputs[:even, ::2], inputs[even:, 1::2] = even_inputs, np.eye(m)
    weights[:even, ::2], weights[even:, 1] = even_weights, 1
    outputs[:, :even], outputs[:, even:] = even_outputs, np.eye(m)
    return inputs, weights, outputs


_HALF_ROOT, _ROOT = 0.5**0.5, 2.0**0.5

#: The algorithms by name.
FILTERINGS = {
    f.name: f
    for f in (
        Filtering("F(4,3)", 1, *toom_cook(4, 3, (0, _HALF_ROOT, -_HALF_ROOT, _ROOT, -_ROOT))),
        Filtering("F(3,3)", 1, *toom_cook(3, 3, (0, 0.75, -0.75, 1.5))),
        Filtering("F(4,3)/2", 2, *polyphase(4, (0, 0.75, -0.75, 1.5))),
        Filtering("F(3,3)/2", 2, *polyphase(3, (0, 1, -1))),
    )
}
