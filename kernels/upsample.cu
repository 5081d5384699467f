// Nearest-neighbour upsampling, forward: every pixel becomes a square of itself.
//
//   y[n, i, j, c] = scale * x[n, i / stride, j / stride, c]
//
// Arrays: x, y are Maps (channels last, Elements), y `stride` times as high and as wide.
// Launch: pixelwise.cuh; a thread for an output, so that stores, of which there are stride^2 times
// as many as loads from memory, coalesce. Shared memory: none.
// Arithmetic intensity: a multiplication for 4 bytes written: bound by memory.
// Reference: tinyyolo3/layers/upsample.py, upsample_forward_reference.
#include "upsample.cuh"

template <int LANES, class Element = float>
__global__ void __launch_bounds__(256) upsample_forward(
    const Element* __restrict__ x, Map x_map, Element* __restrict__ y, Map y_map, int stride,
    float scale) {
  const Position at = position_of_thread<LANES>(y_map);
  if (!at.inside) return;
  upsample<LANES>(at, x, x_map, y, y_map, stride, scale);
}
