// Global average pooling, forward: the mean of each channel.
//
//   y[n, 0, 0, c] = sum over all i, j of x[n, i, j, c] / (height * width)
//
// Arrays: x, y are Maps (channels last; floats, or halves for avgpool_forward_half), y of one
// pixel. Launch: block (8, 64), grid (ceil(channels / 8), images). A block sums 8 channels: its 64
// rows of threads take every 64th pixel each, and their sums are added in shared memory in pairs,
// always in the same order. 8 numbers are 32 bytes, the least that a load fetches: so few, because
// squeezed maps have few channels, and more channels in a block would leave most of the GPU idle.
// Shared memory: one Partial. Arithmetic intensity: an addition for 4 bytes: bound by memory.
// Reference: tinyyolo3/layers/avgpool.py, avgpool_forward_reference.
#include "pixelwise.cuh"

constexpr int CHANNELS = 8, ROWS = 64;

struct Partial {
  float sums[ROWS][CHANNELS];
};

template <class Element>
DEVICE_INLINE void avgpool(const Element* __restrict__ x, const Map& x_map,
                           Element* __restrict__ y, const Map& y_map) {
  Partial& partial = SHARED_STRUCT(Partial);
  const int channel = blockIdx.x * CHANNELS + threadIdx.x, image = blockIdx.y;
  const int pixels = x_map.height * x_map.width;
  const bool inside = channel < x_map.channels;
  float sum = 0.f;
  if (inside) {
    const Element* source = x + map_offset(x_map, image, 0, 0, channel);
#pragma unroll 4
    for (int pixel = threadIdx.y; pixel < pixels; pixel += ROWS) {
      sum += load_one(source + static_cast<long long>(pixel) * x_map.pitch);
    }
  }
  partial.sums[threadIdx.y][threadIdx.x] = sum;
  for (int rows = ROWS / 2; rows > 0; rows /= 2) {
    __syncthreads();
    if (threadIdx.y < rows) {
      partial.sums[threadIdx.y][threadIdx.x] += partial.sums[threadIdx.y + rows][threadIdx.x];
    }
  }
  if (inside && threadIdx.y == 0) {
    store_one(y + map_offset(y_map, image, 0, 0, channel), partial.sums[0][threadIdx.x] / pixels);
  }
}

extern "C" __global__ void __launch_bounds__(CHANNELS* ROWS) avgpool_forward(
    const float* __restrict__ x, Map x_map, float* __restrict__ y, Map y_map) {
  avgpool(x, x_map, y, y_map);
}

extern "C" __global__ void __launch_bounds__(CHANNELS* ROWS) avgpool_forward_half(
    const half* __restrict__ x, Map x_map, half* __restrict__ y, Map y_map) {
  avgpool(x, x_map, y, y_map);
}
