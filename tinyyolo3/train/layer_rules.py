"""What a cfg says of single layers' training: where the way back ends, and whose rate is another.

Sources: AlexeyAB's parser.c, parse_network_cfg_custom; network_kernels.cu, backward_network_gpu and
update_network_gpu; convolutional_kernels.cu, update_convolutional_layer_gpu.
"""

from collections.abc import Mapping

from tinyyolo3.darknet.config import Config


def read_stop(config: Config) -> int:
    """Return the first layer that gradients reach: the one behind the last ``stopbackward=1``.

    Raises:
        ConfigError: ``stopbackward`` is neither 0 nor 1, with its line.
    """
    stop = 0
    for index, section in enumerate(config.layers):
        value = section.integer("stopbackward", 0)
        if value not in (0, 1):
            # DARKNET: a larger number stops the way back up to the iteration of that number.
            text = f"{section.quote('stopbackward')} is not supported in training"
            raise section.error(f"{text}; only stopbackward=0 or 1 is", "stopbackward")
        if value:
            stop = index + 1
    return stop


def read_rate_factors(config: Config) -> Mapping[int, float]:
    """Return by layer index what each layer's ``learning_rate`` multiplies the network's by.

    Layers that say nothing, or 1, are left out.

    Raises:
        ConfigError: it is out of range, with its line.
    """
    factors = {
        index: section.number("learning_rate", 1.0, low=0.0, high=1e6)
        for index, section in enumerate(config.layers)
    }
    return {index: factor for index, factor in factors.items() if factor != 1}
