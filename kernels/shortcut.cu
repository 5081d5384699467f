// Shortcut, forward: an earlier map added where it overlaps this one.
//
//   y[n, i, j, c] = f(alpha * x[n, i, j, c]
//                     + beta * other[n, i / sample * step, j / sample * step, c])
//
// where other has channel c and `sample` divides i and j; f(x[n, i, j, c]) elsewhere. For maps of
// one size, step = sample = 1; else the larger map is taken at every step-th or sample-th pixel.
//
// Arrays: x, other, y are Maps (channels last, Elements), y of x's shape; y may be x, so that
// several others are added by one launch each.
// Launch: pixelwise.cuh. Shared memory: none.
// Arithmetic intensity: two operations for 12 bytes: bound by memory.
// Reference: tinyyolo3/layers/shortcut.py, shortcut_forward_reference, and the activation.
#include "pixelwise.cuh"

template <int LANES, class Element = float>
__global__ void __launch_bounds__(256) shortcut_forward(
    const Element* x, Map x_map, const Element* __restrict__ other, Map other_map, Element* y,
    Map y_map, int step, int sample, float alpha, float beta, int activation) {
  const Position at = position_of_thread<LANES>(y_map);
  if (!at.inside) return;
  Lanes<LANES> values = load_lanes<LANES>(x + map_offset(x_map, at));
  // LANES divides other's channels: it has all of this thread's channels, or none.
  if (at.channel < other_map.channels && at.row % sample == 0 && at.column % sample == 0) {
    const int row = at.row / sample * step, column = at.column / sample * step;
    const Lanes<LANES> added =
        load_lanes<LANES>(other + map_offset(other_map, at.image, row, column, at.channel));
#pragma unroll
    for (int k = 0; k < LANES; k++) {
      // Each product rounded, as on the CPU: a fused multiply-add would give other last bits.
      values.lane[k] = __fmul_rn(alpha, values.lane[k]) + __fmul_rn(beta, added.lane[k]);
    }
  }
  store_lanes(y + map_offset(y_map, at), activate_lanes<Element>(values, activation));
}
