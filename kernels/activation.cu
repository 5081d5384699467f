// Activation, forward: one function of one number, applied to every element.
//
//   y[n, i, j, c] = f(x[n, i, j, c])
//
// with f of activation.cuh. Convolutions and the other layers that a cfg gives an activation apply
// it to their results before they store them; this kernel is for the rest.
//
// Arrays: x, y are Maps of one shape (channels last, Elements); y may be x.
// Launch: pixelwise.cuh. Shared memory: none.
// Arithmetic intensity: a few operations, or one exp, for 8 bytes: bound by memory.
// Reference: tinyyolo3/layers/activation.py, activation_forward_reference.
#include "pixelwise.cuh"

template <int LANES, class Element = float>
__global__ void __launch_bounds__(256) activation_forward(
    const Element* x, Map x_map, Element* y, Map y_map, int activation) {
  const Position at = position_of_thread<LANES>(y_map);
  if (!at.inside) return;
  const Lanes<LANES> values = load_lanes<LANES>(x + map_offset(x_map, at));
  store_lanes(y + map_offset(y_map, at), activate_lanes<Element>(values, activation));
}
