// Reorg, forward: YOLOv2's passthrough, which trades resolution for channels.
//
// Darknet takes the memory of a (C, H, W) picture for a map of (C / s^2, s H, s W), moves the s x s
// neighbours of that into channels, (s, s, C / s^2, H, W), and calls the outcome a map of
// (C s^2, H / s, W / s). Its memory is channels first; here both maps are channels last, so an
// output's place in that memory is computed, then its input's, then the input's row, column and
// channel.
//
// Arrays: x, y are Maps (channels last; floats, or halves for reorg_forward_half).
// Launch: pixelwise.cuh with LANES 1: neighbouring channels of y are not neighbours in x. Stores
// coalesce, loads do not. Shared memory: none.
// Arithmetic intensity: a dozen integer divisions for 8 bytes; networks have one such layer, on a
// small map.
// Reference: tinyyolo3/layers/reorg.py, reorg_forward_reference.
#include "pixelwise.cuh"

template <class Element>
DEVICE_INLINE void reorg(const Element* __restrict__ x, const Map& x_map, Element* __restrict__ y,
                         const Map& y_map, int stride) {
  const Position at = position_of_thread<1>(y_map);
  if (!at.inside) return;
  const int height = x_map.height, width = x_map.width;
  const int planes = x_map.channels / (stride * stride);
  // The output's place in memory, read as (square_row, square_column, plane, row, column).
  int rest = (at.channel * y_map.height + at.row) * y_map.width + at.column;
  const int column = rest % width;
  rest /= width;
  const int row = rest % height;
  rest /= height;
  const int plane = rest % planes;
  rest /= planes;
  const int square_column = rest % stride, square_row = rest / stride;
  // The input's place, from (plane, row, square_row, column, square_column).
  const int wide_row = (plane * height + row) * stride + square_row;
  const int source = (wide_row * width + column) * stride + square_column;
  const int area = height * width, pixel = source % area;
  y[map_offset(y_map, at)] =
      x[map_offset(x_map, at.image, pixel / width, pixel % width, source / area)];
}

extern "C" __global__ void __launch_bounds__(256) reorg_forward(
    const float* __restrict__ x, Map x_map, float* __restrict__ y, Map y_map, int stride) {
  reorg(x, x_map, y, y_map, stride);
}

extern "C" __global__ void __launch_bounds__(256) reorg_forward_half(
    const half* __restrict__ x, Map x_map, half* __restrict__ y, Map y_map, int stride) {
  reorg(x, x_map, y, y_map, stride);
}
