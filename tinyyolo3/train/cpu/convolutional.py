"""A convolutional layer in a training program: convolution, batch norm, activation, and back.

Batch norm needs the convolution's sums again on the way back; an activation whose gradient follows
from the sign of its output alone (leaky, relu) is applied along the way, any other on a copy.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tinyyolo3.engine.cpu.algorithms import SLOPES
from tinyyolo3.engine.cpu.packing import WIDTH, Floats, panels
from tinyyolo3.layers.batchnorm import require_two_values
from tinyyolo3.network import specs
from tinyyolo3.train.cpu.assembly import JOBS, Assembly
from tinyyolo3.train.cpu.batchnorm import (
    Normalization,
    coefficient_bytes,
    lower_batchnorm,
    lower_batchnorm_backward,
    lower_bias_gradient,
    lower_given_batchnorm,
    sum_bytes,
)
from tinyyolo3.train.cpu.convolutions import (
    Convolution,
    lower_convolution,
    plan_forward,
    plan_transposed,
)
from tinyyolo3.train.cpu.memory import PlannedMap, Stretch
from tinyyolo3.train.cpu.stages import Argument, Row
from tinyyolo3.train.cpu.weight_stages import add_weight_gradient
from tinyyolo3.train.cpu.weightless import add_activation, add_activation_backward


@dataclass(frozen=True)
class ConvolutionalLayer:
    """Adds the stages of one layer.

    Attributes:
        assembly: what they are added to.
        layer: which; one that `has_transposed`.
    """

    assembly: Assembly
    layer: specs.Convolutional

    def forward(self) -> None:
        """Add the stages of the way there, and remember those of the way back."""
        assembly, layer = self.assembly, self.layer
        linear = layer.batch_normalize or layer.activation not in SLOPES
        planned = plan_forward(assembly.memory, layer, "linear" if linear else layer.activation)
        source = None if planned.plain_input else assembly.output(layer.inputs[0])
        # Of a layer without batch norm and with a slope, this is the output.
        sums = assembly.memory.new_map(layer.output_shape)
        bias = assembly.zeros(panels(layer.filters) * WIDTH)
        if not layer.batch_normalize:
            assembly.padded["parameter", layer.index, "biases"] = bias
        self._add_convolution(planned, source, sums, bias)
        slope = SLOPES.get(layer.activation, 1.0)
        activated = sums
        normalization = None
        if layer.batch_normalize:
            activated = assembly.memory.new_map(layer.output_shape)
            normalization = self._normalize(sums, activated, slope)
        output = activated
        if layer.activation not in SLOPES:
            output = add_activation(assembly, activated, layer.activation)
        assembly.outputs[layer.index] = output

        def backward(gradient: PlannedMap) -> None:
            # A slope that batch norm applied, its way back takes along.
            if normalization is None or layer.activation not in SLOPES:
                add_activation_backward(assembly, gradient, activated, output, layer.activation)
            if normalization is not None:
                self._normalize_backward(gradient, sums, slope, *normalization)
            else:
                self._bias_gradient(gradient)
            add_weight_gradient(assembly, layer, gradient)
            self._input_gradient(gradient)

        assembly.backward[layer.index] = backward

    def _add_convolution(
        self,
        planned: Convolution,
        source: PlannedMap | None,
        target: PlannedMap,
        bias: Floats,
        *,
        added: bool = False,
    ) -> None:
        touched = [*planned.touched, target.stretch]
        if source is not None:
            touched.append(source.stretch)
        graph, workers = self.assembly.recipe.graph, self.assembly.workers

        def rows() -> Iterable[Row]:
            x = source.placed() if source is not None else None
            return lower_convolution(planned, graph, x, target.placed(), bias, workers, added=added)

        self.assembly.add(touched, rows)

    def _normalize(
        self, sums: PlannedMap, activated: PlannedMap, slope: float
    ) -> tuple[Stretch, Floats, Floats]:
        """Add batch norm with an activation's slope; return what its way back needs."""
        assembly, layer = self.assembly, self.layer
        shape = sums.placed()
        coefficients = assembly.memory.reserve(coefficient_bytes(shape))
        work = assembly.memory.reserve(sum_bytes(shape, JOBS))
        means, variances = (assembly.zeros(layer.filters) for _ in range(2))
        frozen = layer.index < assembly.recipe.frozen
        if not frozen:
            require_two_values(shape.images * shape.pixels)
            assembly.moments[layer.index] = means, variances

        def rows() -> Iterable[Row]:
            own = self._normalization(coefficients, means, variances)
            x, y = sums.placed(), activated.placed()
            if frozen:
                lowered = lower_given_batchnorm(x, y, own, slope, JOBS)
            else:
                lowered = lower_batchnorm(x, y, own, slope, work.address, JOBS)
            fields = {"scales": "scales", "biases": "biases"}
            if frozen:
                fields |= {"means": "mean", "variances": "variance"}
            for each in lowered:
                known = each.operation.dtype.names or ()
                yield Row(
                    each,
                    tuple(
                        Argument(field, ("parameter", layer.index, name))
                        for field, name in fields.items()
                        if field in known
                    ),
                )

        assembly.add((sums.stretch, activated.stretch, coefficients, work), rows)
        return coefficients, means, variances

    def _normalization(
        self, coefficients: Stretch, means: Floats, variances: Floats
    ) -> Normalization:
        """Return the addresses that do not change from call to call."""
        epsilon = self.assembly.recipe.graph.parity.batchnorm_epsilon
        return Normalization(
            0, 0, means.ctypes.data, variances.ctypes.data, coefficients.address, epsilon
        )

    def _normalize_backward(
        self,
        gradient: PlannedMap,
        sums: PlannedMap,
        slope: float,
        coefficients: Stretch,
        means: Floats,
        variances: Floats,
    ) -> None:
        assembly, layer = self.assembly, self.layer
        work = assembly.memory.reserve(sum_bytes(sums.placed(), JOBS))
        shape = (layer.filters,)
        of_scales = assembly.parameter_gradient(layer, "scales", shape)
        of_biases = assembly.parameter_gradient(layer, "biases", shape)

        def rows() -> Iterable[Row]:
            own = self._normalization(coefficients, means, variances)
            g, x = gradient.placed(), sums.placed()
            lowered = lower_batchnorm_backward(
                g, x, g, own, slope, of_scales.ctypes.data, of_biases.ctypes.data, work.address,
                JOBS,
            )  # fmt: skip
            return map(Row, lowered)

        assembly.add((gradient.stretch, sums.stretch, coefficients, work), rows)

    def _bias_gradient(self, gradient: PlannedMap) -> None:
        assembly, layer = self.assembly, self.layer
        work = assembly.memory.reserve(sum_bytes(gradient.placed(), JOBS))
        found = assembly.parameter_gradient(layer, "biases", (layer.filters,))

        def rows() -> Iterable[Row]:
            address = found.ctypes.data
            return map(Row, lower_bias_gradient(gradient.placed(), address, work.address, JOBS))

        assembly.add((gradient.stretch, work), rows)

    def _input_gradient(self, gradient: PlannedMap) -> None:
        assembly, layer = self.assembly, self.layer
        if not assembly.reached(layer.inputs[0]):
            return
        planned = plan_transposed(assembly.memory, layer)
        zeros = assembly.zeros(panels(planned.layer.filters) * WIDTH)
        assembly.give_gradient(
            layer.inputs[0],
            lambda target, added: self._add_convolution(
                planned, gradient, target, zeros, added=added
            ),
            # The matrix kernel's last tile overlaps the one before it: it cannot add.
            adds=planned.algorithm.startswith("winograd"),
        )
