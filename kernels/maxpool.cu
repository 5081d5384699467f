// Max pooling, forward.
//
//   y[n, i, j, c] = max over 0 <= u, v < size of x[n, i*stride_y - before + u, j*stride_x - before + v, c]
//
// with -FLT_MAX outside the map; `before` is half of Darknet's total padding, rounded down.
//
// Arrays: x, y are Maps (channels last, float32). One thread computes one output; neighbouring
// threads take neighbouring channels, so that loads and stores coalesce.
// Launch: 1-D, block 256, ceil(outputs / 256) blocks. Shared memory: none.
// Arithmetic intensity: size² comparisons for size² loads, of which most hit the caches: bound by
// memory. Reference: tinyyolo3/layers/maxpool.py, maxpool_forward_reference.
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256) maxpool_forward(
    const float* __restrict__ x, Map x_map, float* y, Map y_map, int size, int stride_y,
    int stride_x, int before) {
  const int index = blockIdx.x * blockDim.x + threadIdx.x;
  const int count = y_map.images * y_map.height * y_map.width * y_map.channels;
  if (index >= count) return;
  const int channel = index % y_map.channels, pixel = index / y_map.channels;
  const int column = pixel % y_map.width, row = pixel / y_map.width % y_map.height;
  const int image = pixel / (y_map.width * y_map.height);
  float largest = -FLT_MAX;
  for (int u = 0; u < size; u++) {
    const int source_row = row * stride_y - before + u;
    if (source_row < 0 || source_row >= x_map.height) continue;
    for (int v = 0; v < size; v++) {
      const int source_column = column * stride_x - before + v;
      if (source_column < 0 || source_column >= x_map.width) continue;
      const long long source =
          (static_cast<long long>(image) * x_map.height + source_row) * x_map.width + source_column;
      const float value = x[source * x_map.pitch + channel];
      // DARKNET: `value > max` is false for NaN, which is therefore passed over.
      if (value > largest) largest = value;
    }
  }
  y[static_cast<long long>(pixel) * y_map.pitch + channel] = largest;
}
