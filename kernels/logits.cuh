// logits.cuh -- what turns the logits of a head into probabilities, as tinyyolo3/layers/yolo.py and
// layers/region.py define it: exponentials and their sums in double, rounded once to float. Two
// machines' double exp differ in its last bit at most, which that rounding hides, so that a GPU
// takes the same decision at a threshold as a CPU. Only what may pass a threshold is worked out.
#pragma once
#include "device.cuh"

constexpr unsigned WHOLE_WARP = 0xffffffffu;
constexpr int LANES = 32;

// σ(t) = 1 / (1 + exp(-t)), on exp(-|t|) so that nothing overflows.
DEVICE_INLINE double logistic(float logit) {
  const double small = exp(-fabs(static_cast<double>(logit)));
  return (logit < 0.f ? small : 1.0) / (1.0 + small);
}

DEVICE_INLINE double shuffle_xor(double value, int lanes) {
  unsigned halves[2];
  memcpy(halves, &value, sizeof value);
  for (unsigned& half : halves) half = __shfl_xor_sync(WHOLE_WARP, half, lanes);
  memcpy(&value, halves, sizeof value);
  return value;
}

// p_k = exp(t_k - max t) / Σ_j exp(t_j - max t) over the classes of one anchor. A NaN, a +inf or
// nothing but -inf among the logits makes all p_k NaN.
struct Softmax {
  float largest;
  double total;

  DEVICE_INLINE float probability(float logit) const {
    return static_cast<float>(power(logit) / total);
  }
  DEVICE_INLINE double power(float logit) const {
    return exp(static_cast<double>(logit) - static_cast<double>(largest));
  }
};

// Prepares a softmax; all threads of a warp call it together, and all get the same.
DEVICE_INLINE Softmax softmax_of_warp(const float* logits, int classes, int lane) {
  Softmax softmax{-INFINITY, 0.0};
  for (int k = lane; k < classes; k += LANES) softmax.largest = fmaxf(softmax.largest, logits[k]);
  for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
    const float other = __shfl_xor_sync(WHOLE_WARP, softmax.largest, lanes);
    softmax.largest = fmaxf(softmax.largest, other);
  }
  for (int k = lane; k < classes; k += LANES) softmax.total += softmax.power(logits[k]);
  for (int lanes = LANES / 2; lanes > 0; lanes /= 2)
    softmax.total += shuffle_xor(softmax.total, lanes);
  return softmax;
}
