// activation.cuh -- the activations as device functions, one number in, one number out.
//
// Formulas and what happens to NaN and infinities are those of tinyyolo3/layers/activation.py,
// activation_forward_reference. The constants, and the positions of the names as ACTIVATION_<NAME>,
// are those of tinyyolo3/activations.py, which tinyyolo3/cuda gives to the compiler.
#pragma once
#include "half.cuh"

namespace activations {

constexpr float leaky_slope = LEAKY_SLOPE, mish_threshold = MISH_THRESHOLD;
constexpr float selu_scale = SELU_SCALE, selu_alpha = SELU_ALPHA;

DEVICE_INLINE float leaky(float x) { return x > 0.f ? x : leaky_slope * x; }

// Written so that NaN passes: fmaxf and fminf would drop it.
DEVICE_INLINE float relu(float x) { return x <= 0.f ? 0.f : x; }

DEVICE_INLINE float relu6(float x) { return x <= 0.f ? 0.f : x > 6.f ? 6.f : x; }

// exp overflows to infinity below -88.7, and the quotient is 0: no case of its own is needed.
DEVICE_INLINE float logistic(float x) { return 1.f / (1.f + expf(-x)); }

DEVICE_INLINE float swish(float x) { return x * logistic(x); }

// tanh(log(1 + e)) = ((1 + e)^2 - 1) / ((1 + e)^2 + 1) = m / (m + 2) with m = e (e + 2): one exp
// instead of exp, log and tanh, and nothing cancels. From the threshold on the quotient is 1 to the
// last bit; with x cut off there, e^2 cannot overflow.
DEVICE_INLINE float mish(float x) {
  const float e = expf(x > mish_threshold ? mish_threshold : x);
  const float m = e * (e + 2.f);
  return x * (m / (m + 2.f));
}

DEVICE_INLINE float hard_mish(float x) {
  return x > 0.f ? x : x <= -2.f ? 0.f : x * x * 0.5f + x;
}

// expm1, not exp - 1: near 0 the subtraction would cancel the leading digits.
DEVICE_INLINE float elu(float x) { return x >= 0.f ? x : expm1f(x); }

DEVICE_INLINE float selu(float x) {
  return selu_scale * (x >= 0.f ? x : selu_alpha * expm1f(x));
}

}  // namespace activations

// The activation with the number `kind`. All threads of a launch take the same branch; where
// `kind` is a constant, the compiler keeps only that one.
DEVICE_INLINE float activate(float x, int kind) {
  switch (kind) {
    case ACTIVATION_LEAKY: return activations::leaky(x);
    case ACTIVATION_RELU: return activations::relu(x);
    case ACTIVATION_RELU6: return activations::relu6(x);
    case ACTIVATION_LOGISTIC: return activations::logistic(x);
    case ACTIVATION_MISH: return activations::mish(x);
    case ACTIVATION_SWISH: return activations::swish(x);
    case ACTIVATION_HARD_MISH: return activations::hard_mish(x);
    case ACTIVATION_TANH: return tanhf(x);
    case ACTIVATION_ELU: return activations::elu(x);
    case ACTIVATION_SELU: return activations::selu(x);
    default: return x;
  }
}

// The activation of what comes of maps of Elements (keep_overflow).
template <class Element>
DEVICE_INLINE float activate_for(float x, int kind) {
  return keep_overflow<Element>(activate(x, kind), x);
}

namespace activations {
template <int kind, class Element, int count>
DEVICE_INLINE void apply(float (&values)[count]) {
#pragma unroll
  for (int i = 0; i < count; i++) values[i] = activate_for<Element>(values[i], kind);
}
}  // namespace activations

// The same for several numbers in registers: one switch for all instead of one for each.
template <class Element, int count>
DEVICE_INLINE void activate_all(float (&values)[count], int kind) {
  switch (kind) {
    case ACTIVATION_LEAKY: return activations::apply<ACTIVATION_LEAKY, Element>(values);
    case ACTIVATION_RELU: return activations::apply<ACTIVATION_RELU, Element>(values);
    case ACTIVATION_RELU6: return activations::apply<ACTIVATION_RELU6, Element>(values);
    case ACTIVATION_LOGISTIC: return activations::apply<ACTIVATION_LOGISTIC, Element>(values);
    case ACTIVATION_MISH: return activations::apply<ACTIVATION_MISH, Element>(values);
    case ACTIVATION_SWISH: return activations::apply<ACTIVATION_SWISH, Element>(values);
    case ACTIVATION_HARD_MISH: return activations::apply<ACTIVATION_HARD_MISH, Element>(values);
    case ACTIVATION_TANH: return activations::apply<ACTIVATION_TANH, Element>(values);
    case ACTIVATION_ELU: return activations::apply<ACTIVATION_ELU, Element>(values);
    case ACTIVATION_SELU: return activations::apply<ACTIVATION_SELU, Element>(values);
    default: return;
  }
}
