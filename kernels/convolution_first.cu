// Convolution, a network's first: 3 x 3 windows of pictures' bytes, resized on the way.
//
//   y[m][f] = activate(sum over ky, kx, c of x[m, ky, kx, c] * w[f][ky, kx, c] + bias[f])
//
// where x is the network's input, which is never in memory: what resize.cu would write there,
// rounded as there, is made in shared memory from the pictures' bytes (resize.cuh).
//
// The idea. convolution_mma.cu fills 3 channels up to chunks of 16 bytes: of 128 terms of halves,
// two slices, 27 count, and each input pixel of 16 bytes is written, and read under nine taps. Here
// a block makes the input pixels under its outputs once. Terms lie one behind the other, 27 of 32
// that are multiplied; a lane gathers those of its fragments (tensor_cores.cuh) number by number,
// at places that it works out once.
//
// Arrays: pixels and frames as for resize.cu, one Frame for each image of p; y is a map of Element,
// halves, or floats, which are multiplied as tf32. w is [ceil(filters / 32)][step][4][32 lanes][2
// words]: of each step, 8 words of 32 bits of a filter's terms, the fragments of 4 x 8 filters as
// lanes hold them, in mma_sums.cuh's order, zeros behind the last term and filter
// (pack_first_weights); biases [filters], float. p.channels is 3, p.size 3, p.dilation 1, both
// strides STRIDE.
// Launch: grid (ceil(out_width / COLUMNS), ceil(out_height / ROWS), images), block 256, dynamic
// shared memory sizeof(FirstShared<Element, STRIDE>).
// Arithmetic intensity: 3 bytes in and 2 filters bytes out for 54 filters operations of a pixel, 27
// operations a byte: bound by the stores. Making a pixel takes 50 operations on ordinary cores, and
// pixels at tiles' edges are made again: 1.3 times each with stride 1, 1.1 times with 2.
// The launch waits for none before it, since those are copies; the next may prepare meanwhile.
// Reference: tinyyolo3/image/resize.py, network_input_reference, and
// tinyyolo3/layers/convolution/reference.py, conv_forward_reference.
#include "mma_store.cuh"
#include "resize.cuh"

constexpr int SIZE = 3, CHANNELS = 3, TERMS = SIZE * SIZE * CHANNELS, FILLED_TERMS = 32;
constexpr int ROWS = 8, COLUMNS = 32;  // outputs of a block; a warp has one row

template <class Element, int STRIDE>
struct FirstShared {
  static constexpr int rows = (ROWS - 1) * STRIDE + SIZE;
  static constexpr int columns = (COLUMNS - 1) * STRIDE + SIZE;
  Element x[rows][columns * CHANNELS];
  float biases[32];
};

// A number of x as tensor cores take it, and its bits.
DEVICE_INLINE void store_rounded(half* to, float value) { store_one(to, value); }
DEVICE_INLINE void store_rounded(float* to, float value) {
  *to = __uint_as_float(dev::round_to_tf32(__float_as_uint(value)));
}
DEVICE_INLINE unsigned bits_of(half value) { return value.bits; }
DEVICE_INLINE unsigned bits_of(float value) { return __float_as_uint(value); }

// This lane's words of x: where their terms lie, from where a pixel's window begins.
template <class Element, int PITCH>
struct TermPlaces {
  static constexpr int per_word = 4 / sizeof(Element);
  static constexpr int words = FILLED_TERMS / per_word / 4;  // of a row of fragments, in 4 lanes
  int places[words][per_word];

  // Behind the last term any number will do, which weighs nothing: none of x is infinite.
  DEVICE_INLINE TermPlaces() {
#pragma unroll
    for (int i = 0; i < words; i++)
#pragma unroll
      for (int e = 0; e < per_word; e++) {
        const int term = (4 * i + static_cast<int>(threadIdx.x) % 4) * per_word + e;
        const int line = term / (SIZE * CHANNELS), in_line = term % (SIZE * CHANNELS);
        places[i][e] = term < TERMS ? line * PITCH + in_line : 0;
      }
  }

  DEVICE_INLINE unsigned gather(const Element* window, int word) const {
    unsigned bits = bits_of(window[places[word][0]]);
    if constexpr (per_word == 2) bits |= bits_of(window[places[word][1]]) << 16;
    return bits;
  }
};

// Makes the input pixels under a block's outputs, from (top, left) on; zeros beside the input.
template <class Element, int STRIDE>
DEVICE_INLINE void make_input(FirstShared<Element, STRIDE>& shared, const ConvolutionShape& p,
                              const unsigned char* __restrict__ pixels, const Frame& frame,
                              int top, int left) {
  constexpr int columns = FirstShared<Element, STRIDE>::columns;
#pragma unroll 1
  for (int i = threadIdx.x; i < shared.rows * columns; i += 32 * ROWS) {
    const int row = i / columns, column = i % columns;
    Element* to = &shared.x[row][column * CHANNELS];
    if (!inside(p, top + row, left + column)) {
      for (int channel = 0; channel < CHANNELS; channel++) store_one(to + channel, 0.f);
      continue;
    }
    make_input_pixel(pixels, frame, top + row, left + column, CHANNELS,
                     [&](int channel, float value) { store_rounded(to + channel, value); });
  }
}

template <class Element, int ACTIVATION, int STRIDE>
__global__ void __launch_bounds__(32 * ROWS)
    convolution_first(ConvolutionShape p, const unsigned char* __restrict__ pixels,
                      const Frame* __restrict__ frames, const Element* __restrict__ w,
                      const float* __restrict__ biases, Element* __restrict__ y) {
  using Tile = MmaSums<Element, ROWS * COLUMNS, 32, ROWS, 1>;
  using Shared = FirstShared<Element, STRIDE>;
  using Places = TermPlaces<Element, Shared::columns * CHANNELS>;
  Shared& shared = SHARED_STRUCT(Shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, image = blockIdx.z;
  const int first_row = blockIdx.y * ROWS, first_column = blockIdx.x * COLUMNS;
  dev::let_next_launch_begin();
  make_input(shared, p, pixels, frames[image], first_row * STRIDE - p.padding,
             first_column * STRIDE - p.padding);

  const Places places;
  Tile tile(warp * COLUMNS, 0);
  auto pixel_of = [&](int row) {
    const int i = first_row + row / COLUMNS, j = first_column + row % COLUMNS;
    const bool there = i < p.out_height && j < p.out_width;
    return there ? (image * p.out_height + i) * p.out_width + j : -1;
  };
  const uint2* words = reinterpret_cast<const uint2*>(w) + lane;
#pragma unroll 1
  for (int f0 = 0; f0 < p.filters; f0 += 32) {
    if (threadIdx.x < 32)
      shared.biases[lane] = f0 + lane < p.filters ? biases[f0 + lane] : 0.f;
    __syncthreads();
    tile.clear();
#pragma unroll
    for (int step = 0; step < Places::words / 2; step++) {
      typename Tile::Fragments fragments;
#pragma unroll
      for (int j = 0; j < Tile::TN; j++, words += 32)
        fragments.w[j][0] = words->x, fragments.w[j][1] = words->y;
#pragma unroll
      for (int i = 0; i < Tile::TM; i++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
          const int column = 16 * i + lane / 4 + r % 2 * 8;
          const Element* window = &shared.x[warp * STRIDE][column * STRIDE * CHANNELS];
          fragments.x[i][r] = places.gather(window, 2 * step + r / 2);
        }
      tile.multiply(fragments);
    }
    const Element* nothing = nullptr;
    store<ACTIVATION>(p, tile, pixel_of, f0, shared.biases, nothing, y);
    __syncthreads();
  }
}
