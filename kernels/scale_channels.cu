// Scale channels, forward: a map times one factor for each channel, or one for each pixel.
//
//   scale_by_channel:  y[n, i, j, c] = f(x[n, 0, 0, c] * source[n, i, j, c])
//   scale_by_pixel:    y[n, i, j, c] = f(x[n, i, j, 0] * source[n, i, j, c])
//
// Arrays: source, y are Maps of one shape (channels last, Elements); x, the factors, is a Map of
// one pixel or of one channel.
// Launch: pixelwise.cuh. Shared memory: none; a picture's factors stay in the caches.
// Arithmetic intensity: an operation for 8 bytes: bound by memory.
// Reference: tinyyolo3/layers/scale_channels.py, scale_channels_forward_reference, and the
// activation.
#include "pixelwise.cuh"

template <int LANES, class Element = float>
__global__ void __launch_bounds__(256) scale_by_channel(
    const Element* __restrict__ x, Map x_map, const Element* __restrict__ source, Map source_map,
    Element* __restrict__ y, Map y_map, int activation) {
  const Position at = position_of_thread<LANES>(y_map);
  if (!at.inside) return;
  const Lanes<LANES> factors =
      load_lanes<LANES>(x + map_offset(x_map, at.image, 0, 0, at.channel));
  Lanes<LANES> values = load_lanes<LANES>(source + map_offset(source_map, at));
#pragma unroll
  for (int k = 0; k < LANES; k++) values.lane[k] *= factors.lane[k];
  store_lanes(y + map_offset(y_map, at), activate_lanes<Element>(values, activation));
}

template <int LANES, class Element = float>
__global__ void __launch_bounds__(256) scale_by_pixel(
    const Element* __restrict__ x, Map x_map, const Element* __restrict__ source, Map source_map,
    Element* __restrict__ y, Map y_map, int activation) {
  const Position at = position_of_thread<LANES>(y_map);
  if (!at.inside) return;
  const float factor = load_one(x + map_offset(x_map, at.image, at.row, at.column, 0));
  Lanes<LANES> values = load_lanes<LANES>(source + map_offset(source_map, at));
#pragma unroll
  for (int k = 0; k < LANES; k++) values.lane[k] *= factor;
  store_lanes(y + map_offset(y_map, at), activate_lanes<Element>(values, activation));
}
