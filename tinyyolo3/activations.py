"""The names that a cfg can give activations (activations.h); `layers.activation` computes them."""

ACTIVATIONS = (
    *("linear", "leaky", "relu", "relu6", "logistic", "mish", "swish", "hard_mish"),
    *("tanh", "elu", "selu"),
)
