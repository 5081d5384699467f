// mma_convolution.cuh -- implicit GEMM on tensor cores, whichever of their instructions a tile uses.
// convolution_mma.cu says what the arrays are and how terms are ordered.
#pragma once
#include "mma_store.cuh"

// What the copies need to know of an output pixel.
struct PixelRow {
  int first;             // where tap (0, 0) begins in x; offsets fit 32 bits
  unsigned taps_inside;  // bit ky: the row of tap ky is inside; bit 16 + kx: its column
};

// What a block has in shared memory.
template <class Tile>
struct Shared {
  typename Tile::Stage stages[Tile::STAGES];
  PixelRow rows[Tile::BM];
  float biases[Tile::BN];
  unsigned ticket;
};

// Of the taps that begin at `start`, the bits of those inside 0 .. extent - 1.
DEVICE_INLINE unsigned taps_within(const ConvolutionShape& p, int start, int extent) {
  int before = max(-start, 0), up_to = max(extent - start, 0);
  if (p.dilation > 1) {
    before = dev::ceil_div(before, p.dilation);
    up_to = dev::ceil_div(up_to, p.dilation);
  }
  return (1u << min(up_to, p.size)) - (1u << min(before, p.size));
}

DEVICE_INLINE PixelRow pixel_row(const ConvolutionShape& p, int m) {
  if (m >= output_pixels(p)) return {0, 0};
  const OutputPixel pixel = output_pixel(p, m);
  const int top = pixel.row * p.stride_y - p.padding;
  const int left = pixel.column * p.stride_x - p.padding;
  return {static_cast<int>(input_offset(p, pixel.image, top, left)),
          taps_within(p, top, p.height) | taps_within(p, left, p.width) << 16};
}

// Copies slices of x[m, k]: this thread has one chunk of a slice, of every `step`-th row of the
// tile.
template <class Tile, bool CACHED>
struct PixelChunks {
  using Element = typename Tile::Element;
  static constexpr int count = Tile::BM / Tile::step;
  static constexpr int most_channels = 8 * Tile::chunk;  // of a block of channels

  const ConvolutionShape& p;
  const Element* x;
  PixelRow rows[count];
  int to;
  int block, width, channel, ky, kx;  // the block's first channel, how many, and which of them
  int offset, bytes;                  // of the chunk under tap (ky, kx), from where tap (0, 0) is
  unsigned tap;                       // its bits, as in PixelRow

  // `all` has the tile's rows.
  DEVICE_INLINE PixelChunks(const ConvolutionShape& p, const Element* x, const PixelRow* all,
                            int term)
      : p(p), x(x) {
    const int row = threadIdx.x / Tile::chunks, index = threadIdx.x % Tile::chunks;
    to = Tile::place(row, index);
    find_term(term + index * Tile::chunk);
#pragma unroll
    for (int r = 0; r < count; r++) rows[r] = all[row + r * Tile::step];
  }

  DEVICE_INLINE int filled_channels() const {
    return dev::ceil_div(p.channels, Tile::chunk) * Tile::chunk;
  }

  DEVICE_INLINE int channels_in_block() const {
    const int left = filled_channels() - block;
    return left <= 0 ? most_channels : min(left, most_channels);
  }

  DEVICE_INLINE void find_term(int k) {
    const int terms = p.size * p.size * most_channels;
    block = k / terms * most_channels;
    width = channels_in_block();
    const int in_block = k % terms;
    const int in_window = in_block / width;
    channel = in_block % width;
    ky = in_window / p.size;
    kx = in_window % p.size;
    find_chunk();
  }

  // Behind the last term there is nothing to copy.
  DEVICE_INLINE void find_chunk() {
    offset = (ky * p.width + kx) * p.dilation * p.x_pitch + block + channel;
    const int left = ky < p.size ? p.channels - block - channel : 0;
    bytes = max(min(left, Tile::chunk), 0) * static_cast<int>(sizeof(Element));
    tap = 1u << ky | 0x10000u << kx;
  }

  DEVICE_INLINE void next_slice() {
    if (Tile::BK == width && kx + 1 < p.size) {  // mostly: the next tap of the same row
      kx++;
      offset += p.dilation * p.x_pitch;
      tap += tap & 0xffff0000;
      return;
    }
    channel += Tile::BK;
    if (width >= Tile::BK && channel >= width) {
      channel -= width;
      if (++kx == p.size) kx = 0, ky++;
      if (ky == p.size) {
        ky = 0;
        block += most_channels;
        width = channels_in_block();
      }
    }
    if (width < Tile::BK) {  // only the last block is so narrow: a slice has several taps
      for (; channel >= width; kx++) channel -= width;
      for (; kx >= p.size; ky++) kx -= p.size;
    }
    find_chunk();
  }

  // Begins the copies of a slice and goes on to the next.
  DEVICE_INLINE void copy(Element* shared) {
    static_assert(Tile::step % 8 == 0, "Tile::place moves a thread's rows alike");
    const bool whole = p.channels % Tile::chunk == 0;  // of chunks not all of which is wanted
#pragma unroll
    for (int r = 0; r < count; r++) {
      const bool inside = (rows[r].taps_inside & tap) == tap;
      Element* place = shared + to + r * Tile::step * Tile::BK;
      const Element* from = x + (rows[r].first + offset);
      if (whole) {  // instructions for the address of a part take as long as all others
        dev::cp_async16_first<CACHED>(place, from, inside && bytes ? 16 : 0);
      } else {
        dev::cp_async16_first<CACHED>(place, from, inside ? bytes : 0);
      }
    }
    next_slice();
  }
};

// Copies slices of w[f][k], as PixelChunks does of x. Filters lie by 32s, and of those a slice of
// 128 bytes each after the other, so that most distances are known to the compiler.
template <class Tile>
struct FilterChunks {
  using Element = typename Tile::Element;
  static constexpr int unit = 32, depth = 8 * Tile::chunk;

  const Element* w;
  const int& pitch;  // the kernel's parameter itself, which costs no register
  int to, units_left;
  bool second;  // half of a slice, where a tile's rows are shorter

  DEVICE_INLINE FilterChunks(const Element* all, const int& filters, const int& pitch, int f0,
                             int term)
      : pitch(pitch) {
    const int row = threadIdx.x / Tile::chunks, index = threadIdx.x % Tile::chunks;
    to = Tile::place(row, index);
    units_left = dev::ceil_div(filters, unit) - (f0 + row) / unit;
    second = term % depth != 0;
    w = all + (static_cast<long long>((f0 + row) / unit * unit) * pitch +
               term / depth * depth * unit + (f0 + row) % unit * depth + term % depth +
               index * Tile::chunk);
  }

  DEVICE_INLINE void copy(Element* shared) {
#pragma unroll
    for (int r = 0; r < Tile::BN / Tile::step; r++) {
      const int units = r * Tile::step / unit, rows = r * Tile::step % unit;
      dev::cp_async16(shared + to + r * Tile::step * Tile::BK,
                      w + static_cast<long long>(units * unit) * pitch + rows * depth,
                      units_left > units);
    }
    if (Tile::BK == depth) {
      w += unit * depth;
    } else {  // half of it, then the other
      w += second ? unit * depth - Tile::BK : Tile::BK;
      second = !second;
    }
  }
};

// What must have ended before x may be read, as a rule.
struct LaunchBefore {
  DEVICE_INLINE void operator()() const { dev::wait_for_launch_before(); }
};

// Returns the sums of slices begin .. end - 1 of the tile of pixels from m0, filters from f0 on.
// x is read when wait_for_x() has returned.
template <class Tile, bool CACHED, class Element, class WaitForX = LaunchBefore>
DEVICE_INLINE Tile sum_slices(Shared<Tile>& shared, const ConvolutionShape& p, const Element* x,
                              const Element* __restrict__ w, const float* __restrict__ biases,
                              int m0, int f0, int begin, int end, WaitForX wait_for_x = {}) {
  constexpr int BM = Tile::BM, BN = Tile::BN, BK = Tile::BK;
#pragma unroll 1
  for (int i = threadIdx.x; i < BM; i += Tile::threads) shared.rows[i] = pixel_row(p, m0 + i);
#pragma unroll 1
  for (int f = threadIdx.x; f < BN; f += Tile::threads)
    dev::cp_async4(shared.biases + f, biases + f0 + f, f0 + f < p.filters);
  FilterChunks<Tile> filters(w, p.filters, p.weight_pitch, f0, begin * BK);
  __syncthreads();
  PixelChunks<Tile, CACHED> pixels(p, x, shared.rows, begin * BK);
  Tile tile;
  tile.accumulate(
      shared.stages, end - begin, [&](typename Tile::Stage& stage) { filters.copy(stage.w); },
      [&](typename Tile::Stage& stage) { pixels.copy(stage.x); }, wait_for_x);
  return tile;
}

// How many slices the terms of a tile have.
template <class Tile>
DEVICE_INLINE int slices_of(const ConvolutionShape& p) {
  const int channels = dev::ceil_div(p.channels, Tile::chunk) * Tile::chunk;
  return dev::ceil_div(p.size * p.size * channels, Tile::BK);
}

// One block's tile of the result, by a Tile such as MmaTile: the part blockIdx.y of its terms.
template <class Tile, int ACTIVATION, bool CACHED, class Element, class Output>
DEVICE_INLINE void convolve(const ConvolutionShape& p, const Element* __restrict__ x,
                            const Element* __restrict__ w, const float* __restrict__ biases,
                            const Element* __restrict__ residual, Output* __restrict__ y,
                            float* workspace, unsigned* arrivals) {
  Shared<Tile>& shared = SHARED_STRUCT(Shared<Tile>);
  constexpr int BM = Tile::BM, BN = Tile::BN;
  const int tiles_f = dev::ceil_div(p.filters, BN), tile_index = blockIdx.x;
  const int m0 = tile_index / tiles_f * BM, f0 = tile_index % tiles_f * BN;
  const int slices = slices_of<Tile>(p), part = blockIdx.y, parts = gridDim.y;
  const int begin = slices * part / parts, end = slices * (part + 1) / parts;

  dev::let_next_launch_begin();
  Tile tile = sum_slices<Tile, CACHED>(shared, p, x, w, biases, m0, f0, begin, end);
  if (parts > 1) {
    float* partial = workspace + static_cast<long long>(tile_index) * parts * (BM * BN);
    if (!tile.combine(shared.ticket, partial, arrivals + tile_index, part, parts)) return;
  }
  const int pixels_left = output_pixels(p) - m0;
  auto pixel_of = [&](int row) { return row < pixels_left ? m0 + row : -1; };
  store<ACTIVATION>(p, tile, pixel_of, f0, shared.biases, residual, y);
}
