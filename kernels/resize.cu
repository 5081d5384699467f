// Pictures to a network's input: letterbox or stretch, bytes to floats.
//
// Darknet's bilinear filter with the corners of both pictures aligned. Output column c looks at
//
//   x = c · (W - 1) / (W' - 1),   value = (1 - frac x) · p[floor x] + frac x · p[floor x + 1]
//
// first along the row, then down the column, in float32 on v / 255; 0.5 beside the picture.
//
// Arrays: pixels are the bytes of all pictures, RGB, row after row; y is a Map (channels last;
// floats, or halves for network_input_half) of three channels, or of one for grey networks. One
// thread makes one pixel of the input.
// Launch: block 256, grid (ceil(height * width / 256), images). Shared memory: none.
// Arithmetic intensity: 12 bytes in, 12 out, 50 operations for a pixel: bound by latency.
// The bits are those of the reference: tinyyolo3/image/resize.py, network_input_reference. The
// arithmetic is in resize.cuh, for convolution_first.cu has it too.
#include "half.cuh"
#include "resize.cuh"

template <class Element>
DEVICE_INLINE void fit(const unsigned char* __restrict__ pixels, const Frame* __restrict__ frames,
                       Element* y, const Map& y_map) {
  const int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= y_map.height * y_map.width) return;
  const long long pixel = static_cast<long long>(blockIdx.y) * y_map.height * y_map.width + index;
  Element* out = y + pixel * y_map.pitch;
  make_input_pixel(pixels, frames[blockIdx.y], index / y_map.width, index % y_map.width,
                   y_map.channels,
                   [&](int channel, float value) { store_one(out + channel, value); });
}

extern "C" __global__ void __launch_bounds__(256) network_input(
    const unsigned char* __restrict__ pixels, const Frame* __restrict__ frames, float* y,
    Map y_map) {
  fit(pixels, frames, y, y_map);
}

extern "C" __global__ void __launch_bounds__(256) network_input_half(
    const unsigned char* __restrict__ pixels, const Frame* __restrict__ frames, half* y,
    Map y_map) {
  fit(pixels, frames, y, y_map);
}
