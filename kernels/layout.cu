// Layout: plain arrays, channels first, to maps, channels last, and back.
//
//   nchw_to_map:  y[n, i, j, c] = x[n, c, i, j]
//   map_to_nchw:  y[n, c, i, j] = x[n, i, j, c]
//
// Of each picture this is a transposition of (channels, height * width). Reading along one axis and
// writing along the other would scatter one of the two over memory; so a block moves a square tile
// through shared memory, and both its loads and its stores are of consecutive addresses.
//
// A map of few channels, as a network's input is, would leave most of a tile empty, and needs none.
// Its threads lie as its numbers do, `lanes` of them to a pixel, the next power of two: of 3
// channels, a warp reads 8 neighbouring pixels of each plane, 32 bytes, as many as memory delivers
// at the least, and stores all numbers of these pixels.
//
// Arrays: one Map (channels last, with a pitch; of floats, or halves for the kernels with _half)
// and one contiguous (N, C, H, W) array of floats.
// Launch: block (32, 8), grid (ceil(height * width / 32), ceil(channels / 32), images), one Tile of
// shared memory; nchw_to_map_few: block (lanes, 256 / lanes), grid (ceil(height * width /
// (AT_ONCE * 256 / lanes)), images), no shared memory.
// Arithmetic intensity: none: bound by memory.
// Reference: numpy.transpose (tinyyolo3/layers/layout.py).
#include "pixelwise.cuh"

constexpr int SIDE = 32, ROWS = 8;
constexpr int AT_ONCE = 4;  // pixels of a thread, whose loads wait for memory together

struct Tile {
  // A column more than is used: the SIDE numbers of a column lie in different banks.
  float values[SIDE][SIDE + 1];  // [channel][pixel]
};

template <class Element>
DEVICE_INLINE void move_in(const float* __restrict__ x, Element* __restrict__ y,
                           const Map& y_map) {
  Tile& tile = SHARED_STRUCT(Tile);
  const int first_pixel = blockIdx.x * SIDE, first_channel = blockIdx.y * SIDE;
  const int image = blockIdx.z, pixels = y_map.height * y_map.width;
  for (int row = threadIdx.y; row < SIDE; row += ROWS) {
    const int channel = first_channel + row, pixel = first_pixel + threadIdx.x;
    if (channel < y_map.channels && pixel < pixels) {
      const long long plane = static_cast<long long>(image) * y_map.channels + channel;
      tile.values[row][threadIdx.x] = x[plane * pixels + pixel];
    }
  }
  __syncthreads();
  for (int row = threadIdx.y; row < SIDE; row += ROWS) {
    const int channel = first_channel + threadIdx.x, pixel = first_pixel + row;
    if (channel < y_map.channels && pixel < pixels) {
      store_one(y + map_offset(y_map, image, 0, pixel, channel), tile.values[threadIdx.x][row]);
    }
  }
}

// A thread has one channel, of pixels that are as many apart as the block has rows.
template <class Element>
DEVICE_INLINE void move_few_in(const float* __restrict__ x, Element* __restrict__ y,
                               const Map& y_map) {
  const int channel = threadIdx.x, image = blockIdx.y, pixels = y_map.height * y_map.width;
  if (channel >= y_map.channels) return;
  const int first = blockIdx.x * (AT_ONCE * blockDim.y) + threadIdx.y;
  const float* plane = x + (static_cast<long long>(image) * y_map.channels + channel) * pixels;
  float values[AT_ONCE];
#pragma unroll
  for (int i = 0; i < AT_ONCE; i++) {
    const int pixel = first + i * blockDim.y;
    if (pixel < pixels) values[i] = plane[pixel];
  }
#pragma unroll
  for (int i = 0; i < AT_ONCE; i++) {
    const int pixel = first + i * blockDim.y;
    if (pixel < pixels) store_one(y + map_offset(y_map, image, 0, pixel, channel), values[i]);
  }
}

template <class Element>
DEVICE_INLINE void move_out(const Element* __restrict__ x, const Map& x_map,
                            float* __restrict__ y) {
  Tile& tile = SHARED_STRUCT(Tile);
  const int first_pixel = blockIdx.x * SIDE, first_channel = blockIdx.y * SIDE;
  const int image = blockIdx.z, pixels = x_map.height * x_map.width;
  for (int row = threadIdx.y; row < SIDE; row += ROWS) {
    const int channel = first_channel + threadIdx.x, pixel = first_pixel + row;
    if (channel < x_map.channels && pixel < pixels) {
      tile.values[threadIdx.x][row] =
          load_one(x + map_offset(x_map, image, 0, pixel, channel));
    }
  }
  __syncthreads();
  for (int row = threadIdx.y; row < SIDE; row += ROWS) {
    const int channel = first_channel + row, pixel = first_pixel + threadIdx.x;
    if (channel < x_map.channels && pixel < pixels) {
      const long long plane = static_cast<long long>(image) * x_map.channels + channel;
      y[plane * pixels + pixel] = tile.values[row][threadIdx.x];
    }
  }
}

extern "C" __global__ void __launch_bounds__(SIDE* ROWS) nchw_to_map(
    const float* __restrict__ x, float* __restrict__ y, Map y_map) {
  move_in(x, y, y_map);
}

extern "C" __global__ void __launch_bounds__(SIDE* ROWS) map_to_nchw(
    const float* __restrict__ x, Map x_map, float* __restrict__ y) {
  move_out(x, x_map, y);
}

extern "C" __global__ void __launch_bounds__(SIDE* ROWS) nchw_to_map_half(
    const float* __restrict__ x, half* __restrict__ y, Map y_map) {
  move_in(x, y, y_map);
}

extern "C" __global__ void __launch_bounds__(SIDE* ROWS) map_to_nchw_half(
    const half* __restrict__ x, Map x_map, float* __restrict__ y) {
  move_out(x, x_map, y);
}

extern "C" __global__ void __launch_bounds__(256) nchw_to_map_few(
    const float* __restrict__ x, float* __restrict__ y, Map y_map) {
  move_few_in(x, y, y_map);
}

extern "C" __global__ void __launch_bounds__(256) nchw_to_map_few_half(
    const float* __restrict__ x, half* __restrict__ y, Map y_map) {
  move_few_in(x, y, y_map);
}
