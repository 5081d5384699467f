"""A [yolo] head in a training program: its logits go out as plain maps, its deltas come in so."""

from dataclasses import dataclass

from tinyyolo3.layers.yolo import yolo_forward_numba
from tinyyolo3.network import specs
from tinyyolo3.train.cpu.assembly import JOBS, Assembly
from tinyyolo3.train.cpu.maps import lower_unpack


@dataclass(frozen=True)
class HeadLayer:
    """Adds the stages of one head.

    Attributes:
        assembly: what they are added to.
        layer: which.
    """

    assembly: Assembly
    layer: specs.Yolo

    def forward(self) -> None:
        """Add the way there, and remember the way back."""
        assembly, layer = self.assembly, self.layer
        source = assembly.output(layer.inputs[0])
        shape = (assembly.images, *layer.output_shape)
        activated = assembly.new_array(shape)
        assembly.heads[layer.index] = activated
        assembly.add_lowered(
            [source], lambda: lower_unpack(source.placed(), activated.ctypes.data, JOBS)
        )

        def activate() -> None:
            yolo_forward_numba(
                activated,
                anchors=len(layer.mask),
                classes=layer.classes,
                scale_x_y=layer.scale_x_y,
                new_coords=layer.new_coords,
                out=activated,
            )

        assembly.call([], activate)

    def backward(self) -> None:
        """Add the way back."""
        self.assembly.give_gradient(
            self.layer.inputs[0],
            lambda target, _added: self.assembly.add_packing(
                target, ("head", self.layer.index, "")
            ),
        )
