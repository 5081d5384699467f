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
// Every product is rounded by itself (__fmul_rn, never part of an FMA), so the bits are those of
// the reference: tinyyolo3/image/resize.py, network_input_reference.
#include "boxes.cuh"
#include "half.cuh"

// Two samples along an axis and their weights.
struct Taps {
  int lower, upper;
  float lower_weight, upper_weight;
};

DEVICE_INLINE Taps axis_taps(int position, int source, int target) {
  const float scale = static_cast<float>(source - 1) / static_cast<float>(max(target - 1, 1));
  const float place = __fmul_rn(static_cast<float>(position), scale);
  const int lower = static_cast<int>(place), last = source - 1;
  const float fraction = place - static_cast<float>(lower);
  return {min(lower, last), min(lower + 1, last), 1.f - fraction, fraction};
}

DEVICE_INLINE Taps column_taps(int column, int source, int target) {
  // Darknet copies the last column exactly.
  if (column == target - 1) return {source - 1, source - 1, 1.f, 0.f};
  return axis_taps(column, source, target);
}

DEVICE_INLINE Taps row_taps(int row, int source, int target) {
  Taps taps = axis_taps(row, source, target);
  // DARKNET: leaves out the last row's second sample, even where rounding falls short of it.
  if (row == target - 1) taps.upper_weight = 0.f;
  return taps;
}

// v / 255 as Darknet has it, divided in double and rounded to float: 1/256 has one bit, so the
// first product is exact and the sum is rounded once.
DEVICE_INLINE float unit_of_byte(int value) {
  constexpr float high = 1.0 / 256, low = 1.0 / 255 - 1.0 / 256;
  const float v = static_cast<float>(value);
  return __fmul_rn(v, high) + __fmul_rn(v, low);
}

// A channel of a pixel, or its grey: DARKNET: the weights are those of its loader, stb_image.
DEVICE_INLINE float sample(const unsigned char* pixel, int channel, bool grey) {
  if (!grey) return unit_of_byte(pixel[channel]);
  return unit_of_byte((77 * pixel[0] + 150 * pixel[1] + 29 * pixel[2]) >> 8);
}

DEVICE_INLINE float weigh(float lower_weight, float lower, float upper_weight, float upper) {
  return __fmul_rn(lower_weight, lower) + __fmul_rn(upper_weight, upper);
}

template <class Element>
DEVICE_INLINE void fit(const unsigned char* __restrict__ pixels, const Frame* __restrict__ frames,
                       Element* y, const Map& y_map) {
  const int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= y_map.height * y_map.width) return;
  const Frame frame = frames[blockIdx.y];
  const int row = index / y_map.width - frame.top, column = index % y_map.width - frame.left;
  const long long pixel = static_cast<long long>(blockIdx.y) * y_map.height * y_map.width + index;
  Element* out = y + pixel * y_map.pitch;
  if (row < 0 || row >= frame.new_height || column < 0 || column >= frame.new_width) {
    for (int channel = 0; channel < y_map.channels; channel++) store_one(out + channel, 0.5f);
    return;
  }
  const Taps across = column_taps(column, frame.image_width, frame.new_width);
  const Taps down = row_taps(row, frame.image_height, frame.new_height);
  const long long pitch = 3LL * frame.image_width;
  const unsigned char* above = pixels + frame.offset + down.lower * pitch;
  const unsigned char* below = pixels + frame.offset + down.upper * pitch;
  const int left = 3 * across.lower, right = 3 * across.upper;
  const bool grey = y_map.channels == 1;
  for (int channel = 0; channel < y_map.channels; channel++) {
    const float upper_line =
        weigh(across.lower_weight, sample(above + left, channel, grey), across.upper_weight,
              sample(above + right, channel, grey));
    const float lower_line =
        weigh(across.lower_weight, sample(below + left, channel, grey), across.upper_weight,
              sample(below + right, channel, grey));
    store_one(out + channel,
              weigh(down.lower_weight, upper_line, down.upper_weight, lower_line));
  }
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
