// upsample.cuh -- one output of upsample.cu, or LANES of them.
#pragma once
#include "pixelwise.cuh"

template <int LANES, class Element>
DEVICE_INLINE void upsample(const Position& at, const Element* x, const Map& x_map, Element* y,
                            const Map& y_map, int stride, float scale) {
  const long long source =
      map_offset(x_map, at.image, at.row / stride, at.column / stride, at.channel);
  Lanes<LANES> values = load_lanes<LANES>(x + source);
#pragma unroll
  for (int k = 0; k < LANES; k++) values.lane[k] *= scale;
  store_lanes(y + map_offset(y_map, at), values);
}
