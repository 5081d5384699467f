// maxpool.cuh -- the maximum of one window: maxpool.cu says what it is of.
#pragma once
#include "pixelwise.cuh"

// Takes the maximum of LANES channels and stores it `at` its place in y.
template <int LANES, class Element>
DEVICE_INLINE void take_maximum(const Position& at, const Element* x, const Map& x_map, Element* y,
                                const Map& y_map, int size, int stride_y, int stride_x,
                                int before) {
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
