// Convolution, first rung: the definition, one thread for each output.
//
//   y[n, i, j, f] = activate(b[f] + sum over ky, kx, c of w[ky, kx, c, f]
//                   * x[n, i*stride_y - padding + ky*dilation,
//                          j*stride_x - padding + kx*dilation, first + c]) (+ residual[n, i, j, f])
//
// where c runs over the channels of f's group, which begin at `first`; x is zero outside its map.
// Any size, strides, padding, dilation and groups: nothing here depends on them, which makes this
// the kernel for grouped convolutions that are not depthwise, and the one that the rungs above are
// compared with.
//
// Arrays: convolution.cuh. x, y and residual are channels last with their pitches, of floats or,
// for convolution_direct_half, halves; the weights are floats, (ky, kx, c, f), c inside the group.
// Neighbouring threads take neighbouring filters: they read neighbouring weights, and all the same
// number of x, which one request brings to all.
// Launch: block (32, 8): 32 filters of 8 pixels; grid (ceil(pixels / 8), ceil(filters / 32)).
// Shared memory: none. Left alone, the compiler spills registers to fit more than six blocks.
// Arithmetic intensity: a multiply-add (2 operations) for each weight that is loaded (4 bytes), 0.5
// operations per byte, and every pixel loads every weight again. The caches serve nearly all of it,
// but they too are far slower than the arithmetic: in a cycle an SM does four warps' multiply-adds,
// and its first-level cache serves one warp's load. With two loads for each multiply-add, at most
// an eighth of the peak is in reach. The next rung, convolution_tiled.cu, loads once what a block's
// threads share.
// Reference: tinyyolo3/layers/convolution/reference.py, conv_forward_reference.
#include "convolution.cuh"

template <class Element>
DEVICE_INLINE void direct(const ConvolutionShape& p, const Element* __restrict__ x,
                          const float* __restrict__ weights, const float* __restrict__ biases,
                          const Element* __restrict__ residual, Element* y) {
  const int m = blockIdx.x * blockDim.y + threadIdx.y;
  const int filter = blockIdx.y * blockDim.x + threadIdx.x;
  if (m >= output_pixels(p) || filter >= p.filters) return;
  const OutputPixel pixel = output_pixel(p, m);
  const int channels = p.channels / p.groups;
  const int first = filter / (p.filters / p.groups) * channels;
  float sum = 0.f;
  for (int ky = 0; ky < p.size; ky++) {
    for (int kx = 0; kx < p.size; kx++) {
      const int row = pixel.row * p.stride_y - p.padding + ky * p.dilation;
      const int column = pixel.column * p.stride_x - p.padding + kx * p.dilation;
      if (!inside(p, row, column)) continue;
      const Element* source = x + input_offset(p, pixel.image, row, column) + first;
      const float* tap =
          weights + static_cast<long long>(ky * p.size + kx) * channels * p.weight_pitch + filter;
      for (int c = 0; c < channels; c++) {
        sum += load_one(source + c) * tap[static_cast<long long>(c) * p.weight_pitch];
      }
    }
  }
  store_one(y + static_cast<long long>(m) * p.y_pitch + filter,
            finish(p, sum, biases[filter], residual, m, filter));
}

extern "C" __global__ void __launch_bounds__(256, 6) convolution_direct(
    ConvolutionShape p, const float* __restrict__ x, const float* __restrict__ weights,
    const float* __restrict__ biases, const float* __restrict__ residual, float* y) {
  direct(p, x, weights, biases, residual, y);
}

extern "C" __global__ void __launch_bounds__(256, 6) convolution_direct_half(
    ConvolutionShape p, const half* __restrict__ x, const float* __restrict__ weights,
    const float* __restrict__ biases, const half* __restrict__ residual, half* y) {
  direct(p, x, weights, biases, residual, y);
}
