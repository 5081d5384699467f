// resize.cuh -- a pixel of a network's input, made of a picture's bytes as Darknet makes it.
//
// resize.cu says what is computed. Every product is rounded by itself (__fmul_rn, never part of an
// FMA), so the bits are those of the reference, whichever kernel includes this:
// tinyyolo3/image/resize.py, network_input_reference.
#pragma once
#include "boxes.cuh"

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

// Calls store(channel, value) for each channel of a pixel of the network's input; `pixels` are the
// bytes of all pictures, `frame` says where this one is among them and in the input.
template <class Store>
DEVICE_INLINE void make_input_pixel(const unsigned char* __restrict__ pixels, const Frame& frame,
                                    int input_row, int input_column, int channels, Store store) {
  const int row = input_row - frame.top, column = input_column - frame.left;
  if (row < 0 || row >= frame.new_height || column < 0 || column >= frame.new_width) {
    for (int channel = 0; channel < channels; channel++) store(channel, 0.5f);
    return;
  }
  const Taps across = column_taps(column, frame.image_width, frame.new_width);
  const Taps down = row_taps(row, frame.image_height, frame.new_height);
  const long long pitch = 3LL * frame.image_width;
  const unsigned char* above = pixels + frame.offset + down.lower * pitch;
  const unsigned char* below = pixels + frame.offset + down.upper * pitch;
  const int left = 3 * across.lower, right = 3 * across.upper;
  const bool grey = channels == 1;
  for (int channel = 0; channel < channels; channel++) {
    const float upper_line =
        weigh(across.lower_weight, sample(above + left, channel, grey), across.upper_weight,
              sample(above + right, channel, grey));
    const float lower_line =
        weigh(across.lower_weight, sample(below + left, channel, grey), across.upper_weight,
              sample(below + right, channel, grey));
    store(channel, weigh(down.lower_weight, upper_line, down.upper_weight, lower_line));
  }
}
