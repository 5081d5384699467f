// convolution.cuh -- what the rungs of the convolution ladder share: the shape and its indices.
//
//   y[m][f] = activate(sum over k of x[m, k] * w[k][f] + bias[f]) (+ residual[m][f])
//
// m counts output pixels (image, row, column); k = (ky * size + kx) * channels + c counts the terms
// of one output. x[m, k] is channel c of the input pixel under tap (ky, kx), zero outside the map;
// the matrix of all x[m, k], im2col's, is never in memory. All maps are channels last.
// Darknet adds a [shortcut] after the convolution's own activation, and so is the residual here.
#pragma once
#include "activation.cuh"
#include "device.cuh"

// tinyyolo3/layers/convolution/cuda.py has the same as ConvolutionStruct.
struct ConvolutionShape {
  int images, height, width, channels, x_pitch;       // the input map
  int out_height, out_width, filters, y_pitch;        // the output map
  int residual_pitch;                                 // of the map to add, if there is one
  int size, stride_y, stride_x, padding, dilation;    // padding in input pixels, dilated already
  int groups;                                         // filter f sees channels of its group only
  int weight_pitch;                                   // filters padded: from w[k] to w[k + 1]
  int activation;                                     // ACTIVATION_...
};

struct OutputPixel {
  int image, row, column;
};

DEVICE_INLINE int output_pixels(const ConvolutionShape& p) {
  return p.images * p.out_height * p.out_width;
}

DEVICE_INLINE OutputPixel output_pixel(const ConvolutionShape& p, int m) {
  const int line = m / p.out_width;
  return {line / p.out_height, line % p.out_height, m % p.out_width};
}

DEVICE_INLINE bool inside(const ConvolutionShape& p, int row, int column) {
  return row >= 0 && row < p.height && column >= 0 && column < p.width;
}

// Where an input pixel's channels begin; it may lie outside the map, and then must not be read.
DEVICE_INLINE long long input_offset(const ConvolutionShape& p, int image, int row, int column) {
  return ((static_cast<long long>(image) * p.height + row) * p.width + column) * p.x_pitch;
}

// What is stored for a sum: y[m][f] = activate(sum + bias) + residual.
template <class Element>
DEVICE_INLINE float finish(const ConvolutionShape& p, float sum, float bias,
                           const Element* residual, int m, int filter) {
  const float value = activate_for<Element>(sum + bias, p.activation);
  if (residual == nullptr) return value;
  return value + load_one(residual + static_cast<long long>(m) * p.residual_pitch + filter);
}
