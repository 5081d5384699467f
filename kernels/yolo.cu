// The activation of a YOLOv3 head, forward: what Darknet keeps in l.output.
//
//   x, y:                s · σ(t) - (s - 1)/2     (s = scale_x_y)
//   objectness, classes: σ(t)
//   w, h:                t, unchanged
//
// where an anchor's channels are [x y w h objectness classes...]. With new_coords the maps have
// been through a logistic already and only x and y are scaled.
//
// Arrays: x, y are Maps (channels last, float32) of anchors * entries channels. One thread
// makes one number; neighbours take neighbouring channels.
// Launch: 1-D, block 256, ceil(numbers / 256) blocks. Shared memory: none.
// Arithmetic intensity: a double exponential for 8 bytes: bound by memory where double arithmetic
// runs at half speed, by that where it runs at 1/64. For study: detection decodes logits itself.
// Reference: tinyyolo3/layers/yolo.py, yolo_forward_reference.
#include "logits.cuh"

extern "C" __global__ void __launch_bounds__(256) yolo_forward(
    const float* __restrict__ x, Map x_map, float* __restrict__ y, Map y_map, int entries,
    float scale, float shift, int activated) {
  const long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  const long long pixels = static_cast<long long>(x_map.images) * x_map.height * x_map.width;
  if (index >= pixels * x_map.channels) return;
  const long long pixel = index / x_map.channels;
  const int channel = static_cast<int>(index % x_map.channels), entry = channel % entries;
  const float logit = x[pixel * x_map.pitch + channel];
  const bool raw = activated || entry == 2 || entry == 3;
  float value = raw ? logit : static_cast<float>(logistic(logit));
  // DARKNET: new_coords leaves every activation out, yet scales x and y all the same.
  if (entry < 2) value = __fmul_rn(value, scale) + shift;
  y[pixel * y_map.pitch + channel] = value;
}
