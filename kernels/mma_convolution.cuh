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
    const int tap = in_block / width;
    channel = in_block % width;
    ky = tap / p.size;
    kx = tap % p.size;
  }

  DEVICE_INLINE void next_slice() {
    channel += Tile::BK;
    while (channel >= width) {
      channel -= width;
      if (++kx < p.size) continue;
      kx = 0;
      if (++ky < p.size) continue;
      ky = 0;
      block += most_channels;
      width = channels_in_block();
    }
  }

  // Begins the copies of a slice and goes on to the next. Behind the last term come taps that are
  // inside of no map, and channels behind the last one.
  DEVICE_INLINE void copy(Element* shared) {
    static_assert(Tile::step % 8 == 0, "Tile::place moves a thread's rows alike");
    const int offset = (ky * p.width + kx) * p.dilation * p.x_pitch + block + channel;
    const unsigned tap = 1u << ky | 0x10000u << kx;
    const int left = min(p.channels - block - channel, Tile::chunk);
    const int bytes = max(left, 0) * static_cast<int>(sizeof(Element));
#pragma unroll
    for (int r = 0; r < count; r++)
      dev::cp_async16_first<CACHED>(shared + to + r * Tile::step * Tile::BK,
                                    x + (rows[r].first + offset),
                                    (rows[r].taps_inside & tap) == tap ? bytes : 0);
    next_slice();
  }
};

// Copies slices of w[f][k], as PixelChunks does of x. There are columns for whole slices.
template <class Tile>
struct FilterChunks {
  using Element = typename Tile::Element;

  const Element* w;
  const int& pitch;  // the kernel's parameter itself, which costs no register
  int to, rows_left;

  DEVICE_INLINE FilterChunks(const Element* all, const int& filters, const int& pitch, int f0,
                             int term)
      : pitch(pitch) {
    const int row = threadIdx.x / Tile::chunks, index = threadIdx.x % Tile::chunks;
    to = Tile::place(row, index);
    rows_left = dev::ceil_div(filters, 32) * 32 - f0 - row;
    w = all + (static_cast<long long>(f0 + row) * pitch + term + index * Tile::chunk);
  }

  DEVICE_INLINE void copy(Element* shared) {
#pragma unroll
    for (int r = 0; r < Tile::BN / Tile::step; r++)
      dev::cp_async16(shared + to + r * Tile::step * Tile::BK,
                      w + static_cast<long long>(r * Tile::step) * pitch,
                      rows_left > r * Tile::step);
    w += Tile::BK;
  }
};

// One block's tile of the result, by a Tile such as MmaTile: the part blockIdx.y of its terms.
template <class Tile, int ACTIVATION, bool CACHED, class Element, class Output>
DEVICE_INLINE void convolve(const ConvolutionShape& p, const Element* __restrict__ x,
                            const Element* __restrict__ w, const float* __restrict__ biases,
                            const Element* __restrict__ residual, Output* __restrict__ y,
                            float* workspace, unsigned* arrivals) {
  Shared<Tile>& shared = SHARED_STRUCT(Shared<Tile>);
  constexpr int BM = Tile::BM, BN = Tile::BN, BK = Tile::BK;
  const int tiles_f = dev::ceil_div(p.filters, BN), tile_index = blockIdx.x;
  const int m0 = tile_index / tiles_f * BM, f0 = tile_index % tiles_f * BN;
  const int channels = dev::ceil_div(p.channels, Tile::chunk) * Tile::chunk;
  const int slices = dev::ceil_div(p.size * p.size * channels, BK);
  const int part = blockIdx.y, parts = gridDim.y;
  const int begin = slices * part / parts, end = slices * (part + 1) / parts;

  dev::let_next_launch_begin();
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
      [&](typename Tile::Stage& stage) { pixels.copy(stage.x); });
  if (parts > 1) {
    float* partial = workspace + static_cast<long long>(tile_index) * parts * (BM * BN);
    if (!tile.combine(shared.ticket, partial, arrivals + tile_index, part, parts)) return;
  }
  const int pixels_left = output_pixels(p) - m0;
  auto pixel_of = [&](int row) { return row < pixels_left ? m0 + row : -1; };
  store<ACTIVATION>(p, tile, pixel_of, f0, shared.biases, residual, y);
}
