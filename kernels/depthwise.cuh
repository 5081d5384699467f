// depthwise.cuh -- a strip of a depthwise convolution's outputs: convolution_depthwise.cu says what
// they are of.
#pragma once
#include "convolution.cuh"
#include "lanes.cuh"

// What one thread computes: the lanes from `filter` of the outputs from `first` in its row.
struct Strip {
  int filter, image, row, first;
  bool exists;
};

template <int columns, int lanes, class Element>
DEVICE_INLINE void store_strip(const ConvolutionShape& p, const Strip& strip,
                               const Lanes<lanes> (&sums)[columns],
                               const float* __restrict__ biases,
                               const Element* __restrict__ residual, Element* y) {
  const Lanes<lanes> bias = load_lanes<lanes>(biases + strip.filter);
#pragma unroll
  for (int i = 0; i < columns; i++) {
    const int column = strip.first + i;
    if (column >= p.out_width) break;
    const int m = (strip.image * p.out_height + strip.row) * p.out_width + column;
    Lanes<lanes> result = sums[i] + bias;
    activate_all<Element>(result.lane, p.activation);
    if (residual != nullptr) {
      const long long added = static_cast<long long>(m) * p.residual_pitch + strip.filter;
      result = result + load_lanes<lanes>(residual + added);
    }
    store_lanes(y + static_cast<long long>(m) * p.y_pitch + strip.filter, result);
  }
}

// For any size, strides, dilation and multiplier: registers cannot be indexed by numbers that only
// the launch knows, so each tap loads its inputs anew, and the first-level cache serves most.
template <int columns, int lanes, class Element>
DEVICE_INLINE void convolve_strip(const ConvolutionShape& p, const Strip& strip, const Element* x,
                                  const float* __restrict__ weights,
                                  const float* __restrict__ biases, const Element* residual,
                                  Element* y) {
  const int channel = strip.filter / (p.filters / p.channels);
  Lanes<lanes> sums[columns] = {};
  for (int ky = 0; ky < p.size; ky++) {
    const int row = strip.row * p.stride_y - p.padding + ky * p.dilation;
    for (int kx = 0; kx < p.size; kx++) {
      const Lanes<lanes> weight =
          load_lanes<lanes>(weights + (ky * p.size + kx) * p.weight_pitch + strip.filter);
#pragma unroll
      for (int i = 0; i < columns; i++) {
        const int column = (strip.first + i) * p.stride_x - p.padding + kx * p.dilation;
        if (!inside(p, row, column)) continue;
        const Element* source = x + input_offset(p, strip.image, row, column) + channel;
        multiply_add(sums[i], load_lanes<lanes>(source), weight);
      }
    }
  }
  store_strip(p, strip, sums, biases, residual, y);
}
