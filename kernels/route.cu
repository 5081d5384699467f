// Route, forward: a run of an earlier map's channels, copied to its place in a wider map.
//
//   y[n, i, j, c] = x[n, i, j, first_channel + c]
//
// Layers write into the wider map themselves where they can; this copies what two routes want, or
// one group of a map's channels. With another Output it turns floats into
// halves, or these into floats.
//
// Arrays: x is a Map of Elements, y of Outputs (channels last), of one height and width; y is the
// part of the wider map that this input fills, so y's pitch is the wider map's.
// Launch: pixelwise.cuh. Shared memory: none. Arithmetic intensity: none: bound by memory.
// Reference: tinyyolo3/layers/route.py, route_forward_reference.
#include "pixelwise.cuh"

template <int LANES, class Element = float, class Output = Element>
__global__ void __launch_bounds__(256) route_forward(
    const Element* __restrict__ x, Map x_map, Output* __restrict__ y, Map y_map) {
  const Position at = position_of_thread<LANES>(y_map);
  if (!at.inside) return;
  store_lanes(y + map_offset(y_map, at), load_lanes<LANES>(x + map_offset(x_map, at)));
}
