// pixelwise.cuh -- how memory-bound kernels share a map out among threads and reach its numbers.
//
// One thread computes LANES neighbouring channels of one pixel, as many as move in 16 bytes (4
// floats, 8 halves) where alignment allows; neighbouring threads take the channels and then the
// pixels that follow, so that a warp's loads and stores are of consecutive addresses. blockIdx.y is
// the picture: inside one, 32-bit indices suffice, whose division is cheap; only offsets into
// memory are 64-bit.
//
// Launch: block 256, grid (ceil(height * width * channels / LANES / 256), images) of the output:
// tinyyolo3/layers/pixelwise.py.
#pragma once
#include "activation.cuh"
#include "device.cuh"
#include "lanes.cuh"

// The activation of each lane, to be stored as an Element.
template <class Element, int LANES>
DEVICE_INLINE Lanes<LANES> activate_lanes(Lanes<LANES> values, int activation) {
#pragma unroll
  for (int k = 0; k < LANES; k++)
    values.lane[k] = activate_for<Element>(values.lane[k], activation);
  return values;
}

// Where the number of a pixel's channel lies, counted from the map's first number.
DEVICE_INLINE long long map_offset(const Map& map, int image, int row, int column, int channel) {
  const long long pixel = (static_cast<long long>(image) * map.height + row) * map.width + column;
  return pixel * map.pitch + channel;
}

// The outputs that a thread computes: LANES channels from `channel` on, of the pixel at `row` and
// `column`, the picture's number `pixel`. Threads beyond the last pixel are not `inside`.
struct Position {
  int image, pixel, row, column, channel;
  bool inside;
};

// Those of which `index` counts the groups of LANES channels in a picture.
template <int LANES>
DEVICE_INLINE Position position_of(const Map& output, int image, int index) {
  const int groups = output.channels / LANES;
  Position position;
  position.image = image;
  position.pixel = index / groups;
  position.row = position.pixel / output.width;
  position.column = position.pixel % output.width;
  position.channel = index % groups * LANES;
  position.inside = position.pixel < output.height * output.width;
  return position;
}

template <int LANES>
DEVICE_INLINE Position position_of_thread(const Map& output) {
  return position_of<LANES>(output, blockIdx.y, blockIdx.x * blockDim.x + threadIdx.x);
}

// Where those outputs lie, or their inputs in a map of the output's height and width. Needs no row
// and column, and thus no division for them.
DEVICE_INLINE long long map_offset(const Map& map, const Position& at) {
  const long long first = static_cast<long long>(at.image) * (map.height * map.width);
  return (first + at.pixel) * map.pitch + at.channel;
}
