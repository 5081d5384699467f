// Convolution, rung 5: 3 x 3 windows on tensor cores whose pixels come to shared memory once.
//
//   y[m][f] = activate(sum over k of x[m, k] * w[f][k] + bias[f]) (+ residual[m][f])
//
// What changed since convolution_mma.cu, which copies each input pixel of a tile nine times, once
// for every tap: a tile is a rectangle of output pixels, and the input pixels under it, with their
// halo, are copied once for each block of channels. A tap is then a shift: every lane of a warp
// gives ldmatrix an address of its own, so that the rows of a fragment may be any pixels, and the
// fragments of tap (ky, kx) begin that many pixels further. Of the 2 BM BN operations of a term a
// tile now takes 2 (BM / 6 + BN) bytes from L2, about, and a fourth of the copies' instructions.
//
// Arrays: as for convolution_mma.cu, the weights packed as there: terms are ordered by blocks of
// channels, 8 chunks of 16 bytes each but for the last one, then by tap and channel. The kernel is
// 3 x 3; stride, padding and dilation are any, as far as a tile's pixels fit HALO.
// Shared layout: a pixel of the halo has CHUNKS chunks, or one more so that it is an odd number:
// then the 8 pixels of a matrix, neighbours in a row, lie in different banks. With a stride the
// columns of a row are sorted by their remainder, which makes neighbours of a tap's pixels again. A
// filter has 9 chunks for the same reason, 8 of which are used. CHUNKS is 8, or less for maps with
// no more chunks than that, the first layer's one.
// Terms: a slice is 8 chunks of terms, as the weights have them, one after the other; where in the
// halo each of them begins is in a table, `terms`. With 8 chunks to a pixel a slice is one tap.
// Pipeline: a slice of weights STAGES - 1 slices ahead; the pixels of the next block of channels,
// a share with each slice, while this block is multiplied.
// Launch: grid (tiles of filters * tiles of pixels, parts), block Tile::threads, dynamic shared
// memory sizeof(Shared). Filters run fastest. A tile is `tile_rows` x `tile_columns` output pixels
// of one image, no more than BM; parts share the blocks of channels.
// Arithmetic intensity: 128 x 64 pixels and filters, with a halo of 180: 112 operations a byte.
// Reference: tinyyolo3/layers/convolution/reference.py, conv_forward_reference.
#include "mma_store.cuh"

constexpr int TAPS = 9;

template <class Element_, int BM_, int BN_, int CHUNKS_, int HALO_, int WARPS_M, int WARPS_N,
          int STAGES_>
struct HaloTile : MmaSums<Element_, BM_, BN_, WARPS_M, WARPS_N> {
  using Sums = MmaSums<Element_, BM_, BN_, WARPS_M, WARPS_N>;
  using Element = Element_;
  using Sums::BM, Sums::BN, Sums::TM, Sums::TN, Sums::chunk, Sums::threads;
  static constexpr int CHUNKS = CHUNKS_, HALO = HALO_, STAGES = STAGES_;
  static constexpr int buffers = CHUNKS == 8 ? 2 : 1;
  static constexpr int pixel_pitch = (CHUNKS | 1) * chunk;
  static constexpr int filter_pitch = 9 * chunk;
  static constexpr int slice = 8 * chunk;             // terms of a slice
  static constexpr int steps = 4;                     // multiplications of two chunks in a slice
  // Copies of a thread for a block's pixels, and with each slice: in the last STAGES - 2 slices of
  // a block nothing is begun, so that the next one finds everything there.
  static constexpr int copies = (HALO * CHUNKS + threads - 1) / threads;
  static constexpr int copies_each = (copies + TAPS - STAGES + 1) / (TAPS - STAGES + 2);
  static_assert(CHUNKS == 8 || CHUNKS == 4 || CHUNKS == 1, "whole pixels are copied by a warp");
  static_assert(threads % 8 == 0 && BN % (threads / 8) == 0, "copies of weights are even");
  static_assert(STAGES >= 2 && STAGES <= TAPS + 1, "a block's pixels are there in time");

  struct Shared {
    alignas(16) Element w[STAGES][BN * filter_pitch];
    Element x[buffers][HALO * pixel_pitch];
    int terms[2][TAPS][2][steps];  // of full blocks and of the last: where chunk 2 step + h begins
    int pixels[HALO];              // where the halo's pixels begin in x, or negative
    int rows[BM];                  // where the tile's pixels begin in the halo, for tap (0, 0)
    int outputs[BM];               // and which output pixels they are, or negative
    float biases[BN];
    unsigned ticket;
  };
};

// The rectangle of input pixels under a tile, as shared memory has it: columns sorted by their
// remainder modulo the stride, `part` of each.
struct Halo {
  int top, left, height, width, part, pitch;
  int image;
};

DEVICE_INLINE Halo halo_of(const ConvolutionShape& p, int tile, int tile_rows, int tile_columns) {
  const int across = dev::ceil_div(p.out_width, tile_columns);
  const int down = dev::ceil_div(p.out_height, tile_rows);
  const int line = tile / across;
  Halo halo;
  halo.image = line / down;
  halo.top = line % down * tile_rows * p.stride_y - p.padding;
  halo.left = tile % across * tile_columns * p.stride_x - p.padding;
  halo.height = (tile_rows - 1) * p.stride_y + 2 * p.dilation + 1;
  halo.width = (tile_columns - 1) * p.stride_x + 2 * p.dilation + 1;
  halo.part = dev::ceil_div(halo.width, p.stride_x);
  halo.pitch = halo.part * p.stride_x;
  return halo;
}

// Where pixel `q` of the halo begins in x, negative if it is outside of the map.
DEVICE_INLINE int halo_pixel(const ConvolutionShape& p, const Halo& halo, int q) {
  const int sorted = q % halo.pitch;
  const int row = halo.top + q / halo.pitch;
  const int column = halo.left + sorted % halo.part * p.stride_x + sorted / halo.part;
  return inside(p, row, column) ? static_cast<int>(input_offset(p, halo.image, row, column)) : -1;
}

// Which pixel of the halo tap `tap` of the tile's first pixel is.
DEVICE_INLINE int tap_pixel(const ConvolutionShape& p, const Halo& halo, int tap) {
  const int column = tap % 3 * p.dilation;
  return tap / 3 * p.dilation * halo.pitch + column % p.stride_x * halo.part + column / p.stride_x;
}

// Fills the tables in shared memory; a barrier must follow.
template <class Tile>
DEVICE_INLINE void fill_tables(const ConvolutionShape& p, typename Tile::Shared& shared,
                               const Halo& halo, int tile, int tile_rows, int tile_columns) {
#pragma unroll 1
  for (int q = threadIdx.x; q < halo.height * halo.pitch; q += Tile::threads)
    shared.pixels[q] = halo_pixel(p, halo, q);
  const int across = dev::ceil_div(p.out_width, tile_columns);
  const int first_row = tile / across % dev::ceil_div(p.out_height, tile_rows) * tile_rows;
  const int first_column = tile % across * tile_columns;
#pragma unroll 1
  for (int m = threadIdx.x; m < Tile::BM; m += Tile::threads) {
    const int row = m / tile_columns, column = m % tile_columns;
    const bool mine = row < tile_rows && first_row + row < p.out_height &&
                      first_column + column < p.out_width;
    shared.rows[m] =
        row < tile_rows ? (row * p.stride_y * halo.pitch + column) * Tile::pixel_pitch : 0;
    shared.outputs[m] =
        mine ? (halo.image * p.out_height + first_row + row) * p.out_width + first_column + column
             : -1;
  }
  const int chunks = dev::ceil_div(p.channels, Tile::chunk);
  const int last_width = chunks - (chunks - 1) / 8 * 8;
#pragma unroll 1
  for (int t = threadIdx.x; t < 2 * TAPS * 8; t += Tile::threads) {
    const int index = t % (TAPS * 8), width = t < TAPS * 8 ? 8 : last_width;
    const int tap = index / width, in_pixel = index % width;
    // Behind the last term the weights are zeros, and any pixel does that this window has anyhow.
    const bool term = tap < TAPS && in_pixel < Tile::CHUNKS;
    shared.terms[t / (TAPS * 8)][index / 8][index % 2][index % 8 / 2] =
        term ? tap_pixel(p, halo, tap) * Tile::pixel_pitch + in_pixel * Tile::chunk : 0;
  }
}

// Begins a thread's copies number first .. first + count - 1 of a block of channels.
template <class Tile>
DEVICE_INLINE void copy_pixels(const ConvolutionShape& p, typename Tile::Shared& shared,
                               const typename Tile::Element* x, int block, int first, int count,
                               int halo_pixels) {
  const int index = threadIdx.x % Tile::CHUNKS;
  const int channel = (block * 8 + index) * Tile::chunk;
  const int left = min(p.channels - channel, Tile::chunk);
  const int bytes = max(left, 0) * static_cast<int>(sizeof(typename Tile::Element));
  typename Tile::Element* to = shared.x[block % Tile::buffers] + index * Tile::chunk;
#pragma unroll
  for (int c = 0; c < count; c++) {
    const int pixel = (threadIdx.x + (first + c) * Tile::threads) / Tile::CHUNKS;
    if (pixel >= halo_pixels) break;
    const int offset = shared.pixels[pixel];
    dev::cp_async16_first<false>(to + pixel * Tile::pixel_pitch, x + (max(offset, 0) + channel),
                                 offset >= 0 ? bytes : 0);
  }
}

// Copies slices of w[f][k]; there are columns for whole slices.
template <class Tile>
struct FilterSlices {
  using Element = typename Tile::Element;
  static constexpr int step = Tile::threads / 8;  // rows that the block copies at a time

  const Element* w;
  const int& pitch;  // the kernel's parameter itself, which costs no register
  int to, rows_left;

  DEVICE_INLINE FilterSlices(const Element* all, const int& filters, const int& pitch, int f0,
                             int term)
      : pitch(pitch) {
    const int row = threadIdx.x / 8, index = threadIdx.x % 8;
    to = row * Tile::filter_pitch + index * Tile::chunk;
    rows_left = dev::ceil_div(filters, 32) * 32 - f0 - row;
    w = all + (static_cast<long long>(f0 + row) * pitch + term + index * Tile::chunk);
  }

  DEVICE_INLINE void copy(Element* shared) {
#pragma unroll
    for (int r = 0; r < Tile::BN / step; r++)
      dev::cp_async16(shared + to + r * step * Tile::filter_pitch,
                      w + static_cast<long long>(r * step) * pitch, rows_left > r * step);
    w += Tile::slice;
  }
};

// A lane's addresses of fragments, in elements.
template <class Tile>
struct FragmentPlaces {
  using Element = typename Tile::Element;
  using Fragments = typename Tile::Sums::Fragments;

  int x[Tile::TM], w;

  DEVICE_INLINE FragmentPlaces(const Tile& tile, const int* rows) {
    const int lane = threadIdx.x % 32;
    // Matrices of 8 rows and one chunk: of x rows 0-7 and 8-15 of the first chunk, then of the
    // second; of w rows 0-7 of both chunks, then rows 8-15.
#pragma unroll
    for (int i = 0; i < Tile::TM; i++) x[i] = rows[tile.first_row + 16 * i + lane % 16];
    w = (tile.first_column + lane / 16 * 8 + lane % 8) * Tile::filter_pitch +
        lane / 8 % 2 * Tile::chunk;
  }

  // `pixels` is where tap (0, 0) of the slice's chunk begins for this half of the warp.
  DEVICE_INLINE void load(Fragments& fragments, const Element* pixels, const Element* weights,
                          int step) const {
#pragma unroll
    for (int i = 0; i < Tile::TM; i++) Tile::Sums::load_x(fragments.x[i], pixels + x[i]);
#pragma unroll
    for (int j = 0; j < Tile::TN; j += 2)
      Tile::Sums::load_w(fragments.w[j], fragments.w[j + 1],
                         weights + (w + 8 * j * Tile::filter_pitch + 2 * step * Tile::chunk));
  }
};

template <class Element, class Output, int ACTIVATION, int BM, int BN, int CHUNKS, int HALO,
          int WARPS_M, int WARPS_N, int STAGES, int BLOCKS_PER_SM>
__global__ void __launch_bounds__(32 * WARPS_M * WARPS_N, BLOCKS_PER_SM)
    convolution_halo(ConvolutionShape p, int tile_rows, int tile_columns,
                     const Element* __restrict__ x, const Element* __restrict__ w,
                     const float* __restrict__ biases, const Element* __restrict__ residual,
                     Output* __restrict__ y, float* workspace, unsigned* arrivals) {
  using Tile = HaloTile<Element, BM, BN, CHUNKS, HALO, WARPS_M, WARPS_N, STAGES>;
  typename Tile::Shared& shared = SHARED_STRUCT(typename Tile::Shared);
  const int tiles_f = dev::ceil_div(p.filters, BN), tile_index = blockIdx.x;
  const int tile_number = tile_index / tiles_f, f0 = tile_index % tiles_f * BN;
  const int chunks = dev::ceil_div(p.channels, Tile::chunk), blocks = dev::ceil_div(chunks, 8);
  const int part = blockIdx.y, parts = gridDim.y;
  const int first_block = blocks * part / parts, end_block = blocks * (part + 1) / parts;
  const int first_slice = TAPS * first_block;
  const int slices = min(TAPS * end_block, dev::ceil_div(TAPS * chunks, 8)) - first_slice;

  dev::let_next_launch_begin();
  FilterSlices<Tile> filters(w, p.filters, p.weight_pitch, f0, first_slice * Tile::slice);
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++)
    if (s < slices) filters.copy(shared.w[s]);
#pragma unroll 1
  for (int f = threadIdx.x; f < BN; f += Tile::threads)
    dev::cp_async4(shared.biases + f, biases + f0 + f, f0 + f < p.filters);
  const Halo halo = halo_of(p, tile_number, tile_rows, tile_columns);
  fill_tables<Tile>(p, shared, halo, tile_number, tile_rows, tile_columns);
  const int halo_pixels = halo.height * halo.pitch;
  __syncthreads();
  dev::wait_for_launch_before();
  copy_pixels<Tile>(p, shared, x, first_block, 0, Tile::copies, halo_pixels);
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) dev::cp_async_commit();

  Tile tile;
  const FragmentPlaces<Tile> places(tile, shared.rows);
  typename Tile::Sums::Fragments fragments[2];
  const int half = threadIdx.x % 32 / 16;
  int reading = 0, filling = STAGES - 1, block = first_block, slice = 0;
#pragma unroll 1
  for (int s = 0; s < slices; s++) {
    dev::cp_async_wait<STAGES - 2>();
    __syncthreads();
    const int(&terms)[Tile::steps] = shared.terms[block == blocks - 1][slice][half];
    const Element* pixels = shared.x[block % Tile::buffers];
    const Element* weights = shared.w[reading];
    places.load(fragments[0], pixels + terms[0], weights, 0);
    if (s + STAGES - 1 < slices) filters.copy(shared.w[filling]);
    if (Tile::buffers > 1 && block + 1 < end_block)
      copy_pixels<Tile>(p, shared, x, block + 1, slice * Tile::copies_each, Tile::copies_each,
                        halo_pixels);
    dev::cp_async_commit();
#pragma unroll
    for (int step = 0; step < Tile::steps; step++) {
      if (step + 1 < Tile::steps)
        places.load(fragments[(step + 1) % 2], pixels + terms[step + 1], weights, step + 1);
      tile.multiply(fragments[step % 2]);
    }
    filling = reading;
    reading = reading + 1 == STAGES ? 0 : reading + 1;
    if (++slice == TAPS) slice = 0, block++;
  }
  dev::cp_async_wait<0>();
  if (parts > 1) {
    float* partial = workspace + static_cast<long long>(tile_index) * parts * (BM * BN);
    if (!tile.combine(shared.ticket, partial, arrivals + tile_index, part, parts)) return;
  }
  auto pixel_of = [&](int row) { return shared.outputs[row]; };
  store<ACTIVATION>(p, tile, pixel_of, f0, shared.biases, residual, y);
}
