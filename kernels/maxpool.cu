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
#include "maxpool.cuh"

template <int LANES, class Element = float>
__global__ void __launch_bounds__(256, 4) maxpool_forward(
    const Element* __restrict__ x, Map x_map, Element* __restrict__ y, Map y_map, int size,
    int stride_y, int stride_x, int before) {
  const Position at = position_of_thread<LANES>(y_map);
  if (!at.inside) return;
  take_maximum<LANES>(at, x, x_map, y, y_map, size, stride_y, stride_x, before);
}
