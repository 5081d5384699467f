// Max pooling, forward.
//
//   y[n, i, j, c] = max over 0 <= u, v < size of
//                   x[n, i * stride_y - before + u, j * stride_x - before + v, c]
//
// with -FLT_MAX outside the map; `before` is half of Darknet's total padding, rounded down.
//
// Arrays: x, y are Maps (channels last, Elements).
// Launch: pixelwise.cuh. Shared memory: none. Four blocks on a multiprocessor leave a thread the
// registers for four loads under way; left alone, the compiler spills some to fit more blocks.
// Arithmetic intensity: size^2 comparisons for as many loads, of which neighbouring outputs share
// most through the caches: bound by memory.
// Reference: tinyyolo3/layers/maxpool.py, maxpool_forward_reference.
#include "pixelwise.cuh"

template <int LANES, class Element = float>
__global__ void __launch_bounds__(256, 4) maxpool_forward(
    const Element* __restrict__ x, Map x_map, Element* __restrict__ y, Map y_map, int size,
    int stride_y, int stride_x, int before) {
  const Position at = position_of_thread<LANES>(y_map);
  if (!at.inside) return;
  // The part of the window that lies on the map.
  const int top = at.row * stride_y - before, left = at.column * stride_x - before;
  const int first_row = max(top, 0), last_row = min(top + size, x_map.height);
  const int first_column = max(left, 0), last_column = min(left + size, x_map.width);
  Lanes<LANES> largest;
#pragma unroll
  for (int k = 0; k < LANES; k++) largest.lane[k] = -FLT_MAX;
  Lanes<LANES> overflow = {};
  for (int row = first_row; row < last_row; row++) {
    const Element* source = x + map_offset(x_map, at.image, row, first_column, at.channel);
    for (int column = first_column; column < last_column; column++, source += x_map.pitch) {
      const Lanes<LANES> values = load_lanes<LANES>(source);
#pragma unroll
      for (int k = 0; k < LANES; k++) {
        // DARKNET: `value > max` is false for NaN, which is therefore passed over.
        if (values.lane[k] > largest.lane[k]) largest.lane[k] = values.lane[k];
        overflow.lane[k] = keep_overflow<Element>(overflow.lane[k], values.lane[k]);
      }
    }
  }
  store_lanes(y + map_offset(y_map, at), sizeof(Element) == 2 ? largest + overflow : largest);
}
