// SAM (spatial attention), forward: the product of two maps, element by element.
//
//   y[n, i, j, c] = f(x[n, i, j, c] * source[n, i, j, c])
//
// Arrays: x, source, y are Maps of one shape (channels last, Elements).
// Launch: pixelwise.cuh. Shared memory: none.
// Arithmetic intensity: an operation for 12 bytes: bound by memory.
// Reference: tinyyolo3/layers/sam.py, sam_forward_reference, and the activation.
#include "pixelwise.cuh"

template <int LANES, class Element = float>
__global__ void __launch_bounds__(256) sam_forward(
    const Element* __restrict__ x, Map x_map, const Element* __restrict__ source, Map source_map,
    Element* __restrict__ y, Map y_map, int activation) {
  const Position at = position_of_thread<LANES>(y_map);
  if (!at.inside) return;
  Lanes<LANES> values = load_lanes<LANES>(x + map_offset(x_map, at));
  const Lanes<LANES> factors = load_lanes<LANES>(source + map_offset(source_map, at));
#pragma unroll
  for (int k = 0; k < LANES; k++) values.lane[k] *= factors.lane[k];
  store_lanes(y + map_offset(y_map, at), activate_lanes<Element>(values, activation));
}
