"""The activations that a cfg can name (activations.h) and the constants of their formulas.

`layers.activation` computes them.
"""

ACTIVATIONS = (
    *("linear", "leaky", "relu", "relu6", "logistic", "mish", "swish", "hard_mish"),
    *("tanh", "elu", "selu"),
)

#: leaky's factor below zero.
LEAKY_SLOPE = 0.1
#: Beyond ± this, Darknet's mish takes softplus(x) for x or exp(x).
MISH_THRESHOLD = 20.0
#: selu's factor for all numbers, and the one for those below zero.
SELU_SCALE = 1.0507
SELU_ALPHA = 1.6732
