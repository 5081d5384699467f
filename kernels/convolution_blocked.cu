// Convolution, rung 3: register-blocked implicit GEMM with asynchronous copies and split-K.
//
//   y[m][f] = activate(sum over k of x[m, k] * w[k][f] + bias[f]) (+ residual[m][f])
//
// What changed since convolution_tiled.cu: a thread owns TM x TN outputs instead of 4 x 1, so that
// arithmetic and not shared memory sets the pace (gemm_tile.cuh has the figures); copies are
// asynchronous and STAGES deep; an index is divided once per thread and then only advanced; and
// where a map has fewer tiles than the GPU has SMs (13 x 13 pixels are 2 tiles of 128), `parts`
// blocks share the terms of one tile.
//
// Arrays: x, y, residual are maps, channels last; w is [k][weight_pitch], k padded with zeros to a
// multiple of 16 and filters to a multiple of 4; biases [filters]. workspace: for parts > 1,
// parts * BM * BN floats a tile; arrivals: a counter a tile, zero before and after every launch.
// VECTOR = 4 copies x by 16 bytes: channels, x_pitch multiples of 4 and x 16-byte aligned.
// Launch: grid (tiles of filters * tiles of pixels, parts), block GemmTile::threads, dynamic shared
// memory sizeof(GemmTile::Shared). Filters run fastest: neighbouring blocks read the same x.
// Arithmetic intensity: a tile does 2 BM BN operations for 4 (BM + BN) bytes of a term; 128 x 64 is
// 21 operations a byte, so that at 50 TFLOP/s the L2 cache delivers 2.4 TB/s.
// Reference: tinyyolo3/layers/convolution/reference.py, conv_forward_reference.
#include "convolution.cuh"
#include "gemm_tile.cuh"

// Copies slices of x[m, k]: this thread has one k of a slice (and the VECTOR - 1 after it), and
// every `step`-th row of the tile. For each row it keeps where tap (0, 0) begins and which taps are
// inside. Offsets are 32 bits, because registers are short; the launcher checks that they suffice.
template <class Tile, int VECTOR>
struct PixelRows {
  static constexpr int across = Tile::BK / VECTOR, step = Tile::threads / across;
  static constexpr int rows = Tile::BM / step;
  static_assert(Tile::threads % across == 0 && Tile::BM % step == 0, "copies are even");

  const ConvolutionShape& p;
  const float* x;
  int first[rows];
  unsigned taps_inside[rows];  // bit ky: the row of tap ky is inside; bit 16 + kx: its column
  int to, ky, kx, channel;

  DEVICE_INLINE PixelRows(const ConvolutionShape& p, const float* x, int m0, int term)
      : p(p), x(x) {
    const int row = threadIdx.x / across, k = threadIdx.x % across * VECTOR;
    to = row * Tile::BK + k;
    const int tap = (term + k) / p.channels;
    channel = (term + k) % p.channels;
    ky = tap / p.size;
    kx = tap % p.size;
    OutputPixel pixel = output_pixel(p, m0 + row);
#pragma unroll
    for (int r = 0; r < rows; r++) {
      const int top = pixel.row * p.stride_y - p.padding;
      const int left = pixel.column * p.stride_x - p.padding;
      first[r] = static_cast<int>(input_offset(p, pixel.image, top, left));
      taps_inside[r] = taps_of(top, p.height) | taps_of(left, p.width) << 16;
      if (pixel.image >= p.images) taps_inside[r] = 0;
      pixel.column += step;
      while (pixel.column >= p.out_width) {
        pixel.column -= p.out_width;
        if (++pixel.row == p.out_height) pixel.row = 0, pixel.image++;
      }
    }
  }

  // Bit t: first + t * dilation is one of 0 .. length - 1.
  DEVICE_INLINE unsigned taps_of(int first, int length) const {
    if (p.dilation == 1) {
      const int begin = max(-first, 0), end = min(length - first, p.size);
      return begin < end ? (1u << end) - (1u << begin) : 0u;
    }
    unsigned taps = 0;
#pragma unroll 1
    for (int t = 0, at = first; t < p.size; t++, at += p.dilation)
      taps |= static_cast<unsigned>(at >= 0 && at < length) << t;
    return taps;
  }

  // Begins the copies of a slice and goes on to the next.
  DEVICE_INLINE void copy(float* shared) {
    const int offset = (ky * p.width + kx) * p.dilation * p.x_pitch + channel;
    const unsigned tap = 1u << ky | 0x10000u << kx;
#pragma unroll
    for (int r = 0; r < rows; r++) {
      const bool wanted = ky < p.size && (taps_inside[r] & tap) == tap;
      float* destination = shared + to + r * step * Tile::BK;
      if (VECTOR == 4) dev::cp_async16(destination, x + (first[r] + offset), wanted);
      else dev::cp_async4(destination, x + (first[r] + offset), wanted);
    }
    channel += Tile::BK;
    while (channel >= p.channels) {
      channel -= p.channels;
      if (++kx == p.size) kx = 0, ky++;
    }
  }
};

DEVICE_INLINE bool aligned16(const float* pointer, int pitch) {
  return (reinterpret_cast<unsigned long long>(pointer) & 15) == 0 && pitch % 4 == 0;
}

// Stores a tile's sums, four filters at a time where addresses allow. Linear and leaky, which
// nearly all layers have, are applied on the way; the others, whose code is too long to stand here
// once for each of TM x TN sums, by a second walk over what the thread has stored.
template <class Tile>
DEVICE_INLINE void store(const ConvolutionShape& p, const Tile& tile, int m0, int f0,
                         const float* biases, const float* residual, float* y) {
  const bool simple = p.activation == ACTIVATION_LINEAR || p.activation == ACTIVATION_LEAKY;
  const float slope = p.activation == ACTIVATION_LEAKY ? activations::leaky_slope : 1.f;
  const bool add = simple && residual != nullptr;
  const bool vectors = aligned16(y, p.y_pitch) && (!add || aligned16(residual, p.residual_pitch));
  const int pixels = output_pixels(p);
#pragma unroll
  for (int j = 0; j < Tile::TN; j += 4) {
    const int f = f0 + tile.column + 8 * j;
    float bias[4];
#pragma unroll
    for (int e = 0; e < 4; e++) bias[e] = f + e < p.filters ? biases[f + e] : 0.f;
#pragma unroll
    for (int i = 0; i < Tile::TM; i++) {
      const int m = m0 + tile.row + 4 * i;
      if (m >= pixels || f >= p.filters) continue;
      float v[4];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        v[e] = tile.sums[i][j + e] + bias[e];
        if (v[e] <= 0.f) v[e] *= slope;
      }
      float* to = y + static_cast<long long>(m) * p.y_pitch + f;
      const float* from = residual + static_cast<long long>(m) * p.residual_pitch + f;
      if (vectors && f + 3 < p.filters) {
        float4 r = make_float4(0.f, 0.f, 0.f, 0.f);
        if (add) r = *reinterpret_cast<const float4*>(from);
        *reinterpret_cast<float4*>(to) =
            make_float4(v[0] + r.x, v[1] + r.y, v[2] + r.z, v[3] + r.w);
      } else {
#pragma unroll
        for (int e = 0; e < 4; e++)
          if (f + e < p.filters) to[e] = add ? v[e] + from[e] : v[e];
      }
    }
  }
  if (simple) return;
#pragma unroll 1
  for (int e = 0; e < Tile::TM * Tile::TN; e++) {
    const int m = m0 + tile.row + e / Tile::TN * 4;
    const int f = f0 + tile.column + e % Tile::TN / 4 * 32 + e % 4;
    if (m >= pixels || f >= p.filters) continue;
    float* to = y + static_cast<long long>(m) * p.y_pitch + f;
    *to = finish(p, *to, 0.f, residual, m, f);
  }
}

template <int BM, int BN, int BK, int TM, int TN, int STAGES, int VECTOR, int BLOCKS_PER_SM>
__global__ void __launch_bounds__(GemmTile<BM, BN, BK, TM, TN, STAGES>::threads, BLOCKS_PER_SM)
    convolution_blocked(ConvolutionShape p, const float* __restrict__ x,
                        const float* __restrict__ w, const float* __restrict__ biases,
                        const float* residual, float* y, float* workspace, unsigned* arrivals) {
  using Tile = GemmTile<BM, BN, BK, TM, TN, STAGES>;
  typename Tile::Shared& shared = SHARED_STRUCT(typename Tile::Shared);
  const int tiles_f = dev::ceil_div(p.filters, BN), tile_index = blockIdx.x;
  const int m0 = tile_index / tiles_f * BM, f0 = tile_index % tiles_f * BN;
  const int slices = dev::ceil_div(p.size * p.size * p.channels, BK);
  const int part = blockIdx.y, parts = gridDim.y;
  const int begin = slices * part / parts, end = slices * (part + 1) / parts;

  Tile tile;
  PixelRows<Tile, VECTOR> pixels(p, x, m0, begin * BK);
  ColumnRows<Tile> weights(w, p.weight_pitch, f0, begin * BK);
  tile.accumulate(shared, end - begin, [&](typename Tile::Stage& stage) {
    pixels.copy(stage.x);
    weights.copy(stage.w);
  });
  if (parts > 1) {
    float* partial = workspace + static_cast<long long>(tile_index) * parts * (BM * BN);
    if (!tile.combine(shared, partial, arrivals + tile_index, part, parts)) return;
  }
  store(p, tile, m0, f0, biases, residual, y);
}
