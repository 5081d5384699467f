// The activation of a YOLOv2 head, forward.
//
//   x, y, objectness: σ(t)      w, h: t, unchanged
//   classes:          p_k = exp(t_k - max t) / Σ_j exp(t_j - max t), or σ(t_k) without softmax
//
// where an anchor's channels are [x y w h objectness classes...].
//
// Arrays: x, y are Maps (channels last, float32) of anchors * (5 + classes) channels.
// One warp takes one anchor of one pixel, whose channels lie side by side: its threads share the
// classes, and the maximum and the sum go round by shuffles.
// Launch: 1-D, block 256 (8 anchors), ceil(images * height * width * anchors / 8) blocks. Shared
// memory: none. Arithmetic intensity: two double exponentials for 8 bytes, as in yolo.cu.
// Reference: tinyyolo3/layers/region.py, region_forward_reference.
#include "logits.cuh"

extern "C" __global__ void __launch_bounds__(256, 2) region_forward(
    const float* __restrict__ x, Map x_map, float* __restrict__ y, Map y_map, int anchors,
    int softmax) {
  const long long warp = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / LANES;
  const int lane = threadIdx.x % LANES;
  const long long pixels = static_cast<long long>(x_map.images) * x_map.height * x_map.width;
  if (warp >= pixels * anchors) return;  // the whole warp at once
  const long long pixel = warp / anchors;
  const int entries = x_map.channels / anchors;
  const int first = static_cast<int>(warp % anchors) * entries;
  const float* logits = x + pixel * x_map.pitch + first;
  float* result = y + pixel * y_map.pitch + first;
  Softmax classes{0.f, 1.0};
  if (softmax) classes = softmax_of_warp(logits + 5, entries - 5, lane);
  for (int entry = lane; entry < entries; entry += LANES) {
    const float logit = logits[entry];
    float value = logit;
    if (entry >= 5 && softmax)
      value = classes.probability(logit);
    else if (entry != 2 && entry != 3)
      value = static_cast<float>(logistic(logit));
    result[entry] = value;
  }
}
