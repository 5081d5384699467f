// activation.cuh -- the activations as device functions; tinyyolo3/layers/activation.py has the
// formulas. ACTIVATION_<NAME> are given to the compiler by tinyyolo3/cuda.
#pragma once
#include "device.cuh"

DEVICE_INLINE float activate(float x, int kind) {
  if (kind == ACTIVATION_LEAKY) return x > 0.f ? x : 0.1f * x;
  return x;
}
