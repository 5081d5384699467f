// Depthwise convolution: every filter sees one channel.
//
//   y[n, i, j, f] = activate(b[f] + sum over ky, kx of w[ky, kx, f]
//                   * x[n, i*stride_y - padding + ky*dilation,
//                          j*stride_x - padding + kx*dilation, f / multiplier])
//                   (+ residual[n, i, j, f])
//
// with `multiplier` filters per channel, nearly always one; x is zero outside its map.
//
// Why it is no rung of the ladder: there is no sum over channels, so a matrix product would be one
// of vectors, and tiles of shared memory would hold numbers that nobody shares. What can be shared
// lies within a thread: outputs that are neighbours in a row have overlapping windows. A thread
// computes `columns` of them, and for each row of the window loads the inputs under all of them
// once, into registers: with size 3, stride 1 and 4 columns 6 inputs instead of 12. A thread takes
// `lanes` channels at once, neighbours in memory, so that loads are as wide as they can be.
//
// Arrays: convolution.cuh, maps of Elements; the weights are floats, (ky, kx, f). With 4 lanes
// there are as many filters as channels, and all counts, pitches and addresses are multiples of 4
// numbers.
// Launch: 1-D, block 128; threads count lanes of filters first, then groups of columns, rows,
// images. Shared memory: none.
// Arithmetic intensity: 2 * size² operations for 8 bytes that must come and go: 2.25 per byte for
// size 3. Bound by memory, and on small maps by latency.
// Reference: tinyyolo3/layers/convolution/reference.py, conv_forward_reference with
// groups = channels; the CPU's is conv_forward_depthwise.
#include "depthwise.cuh"

template <int columns, int lanes>
DEVICE_INLINE Strip strip_of_this_thread(const ConvolutionShape& p) {
  const int per_pixel = p.filters / lanes, per_row = dev::ceil_div(p.out_width, columns);
  const int index = blockIdx.x * blockDim.x + threadIdx.x;
  const int filter = index % per_pixel * lanes, strip = index / per_pixel;
  const int line = strip / per_row, image = line / p.out_height;
  return {filter, image, line % p.out_height, strip % per_row * columns, image < p.images};
}

// For a window whose size and stride are known to the compiler; dilation and multiplier are 1.
template <int size, int stride, int columns, int lanes, class Element = float>
__global__ void __launch_bounds__(128) depthwise_unrolled(
    ConvolutionShape p, const Element* __restrict__ x, const float* __restrict__ weights,
    const float* __restrict__ biases, const Element* __restrict__ residual, Element* y) {
  const Strip strip = strip_of_this_thread<columns, lanes>(p);
  if (!strip.exists) return;
  constexpr int span = (columns - 1) * stride + size;  // inputs under a strip, of one row
  const int left = strip.first * stride - p.padding;
  Lanes<lanes> sums[columns] = {};
#pragma unroll
  for (int ky = 0; ky < size; ky++) {
    const int row = strip.row * stride - p.padding + ky;
    if (row < 0 || row >= p.height) continue;
    const Element* source = x + input_offset(p, strip.image, row, 0) + strip.filter;
    Lanes<lanes> inputs[span];
#pragma unroll
    for (int i = 0; i < span; i++) {
      const int column = left + i;
      inputs[i] = {};
      if (column < 0 || column >= p.width) continue;
      inputs[i] = load_lanes<lanes>(source + static_cast<long long>(column) * p.x_pitch);
    }
#pragma unroll
    for (int kx = 0; kx < size; kx++) {
      const Lanes<lanes> weight =
          load_lanes<lanes>(weights + (ky * size + kx) * p.weight_pitch + strip.filter);
#pragma unroll
      for (int i = 0; i < columns; i++) multiply_add(sums[i], inputs[i * stride + kx], weight);
    }
  }
  store_strip(p, strip, sums, biases, residual, y);
}

// For any window (depthwise.cuh).
template <int columns, int lanes, class Element = float>
__global__ void __launch_bounds__(128) depthwise_general(
    ConvolutionShape p, const Element* __restrict__ x, const float* __restrict__ weights,
    const float* __restrict__ biases, const Element* __restrict__ residual, Element* y) {
  const Strip strip = strip_of_this_thread<columns, lanes>(p);
  if (strip.exists) convolve_strip<columns, lanes>(p, strip, x, weights, biases, residual, y);
}
