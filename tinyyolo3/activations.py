"""The activations that a cfg can name (activations.h); `tinyyolo3.layers.activation` computes them."""

ACTIVATIONS = (
    *("linear", "leaky", "relu", "relu6", "logistic", "mish", "swish", "hard_mish"),
    *("tanh", "elu", "selu"),
)
