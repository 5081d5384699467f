// Convolution, rung 4, for 3 x 3 kernels with stride 1: Winograd's minimal filtering.
//
//   Y = A^T [ (G g G^T) .* (B^T d B) ] A        (Lavin and Gray, arXiv 1509.09308, section 4.1)
//
// for a patch d of E x E inputs, E = M + 2, a 3 x 3 kernel g and M x M outputs; .* is element by
// element. Summed over channels, each of the E^2 elements is a product of matrices of its own,
// (patches x channels) * (channels x filters): products[e] = inputs[e] * weights[e].
// What changed from convolution_blocked.cu: 16 multiply-adds give four outputs of a channel (M = 2)
// and 36 give sixteen (M = 4), not 36 and 144: 2.25 and 4 times less arithmetic, for numbers that
// pass through memory twice more. And a small map needs no split-K, having E^2 products to share.
// Three launches: winograd_inputs, winograd_multiply, winograd_outputs.
//
// Arrays: x, y, residual are maps, channels last. inputs [E^2][patches][terms], weights
// [E^2][terms][filters_pitch] (G g G^T, made once on the CPU in float64), products
// [E^2][patches][filters_pitch], each pair of filters swapped (gemm_tile.cuh, "Register banks");
// terms are the channels filled up with zeros to a multiple of 16, filters_pitch (weight_pitch of
// the shape) the filters to one of 4.
// Errors: the matrices' entries reach 8 for M = 4, and sums of them cancel; the bound is
// tolerances.winograd. Reference: tinyyolo3/layers/convolution/reference.py.
#include "convolution.cuh"
#include "gemm_tile.cuh"

// Rows of patches, columns of patches, all patches: M x M outputs each, the last ones cut off.
struct Patches {
  int rows, columns, count;
};

template <int M>
DEVICE_INLINE Patches patches_of(const ConvolutionShape& p) {
  const int rows = dev::ceil_div(p.out_height, M), columns = dev::ceil_div(p.out_width, M);
  return {rows, columns, p.images * rows * columns};
}

// B^T d, one dimension.
DEVICE_INLINE void transform_input(const float (&d)[4], float (&v)[4]) {
  v[0] = d[0] - d[2];
  v[1] = d[1] + d[2];
  v[2] = d[2] - d[1];
  v[3] = d[1] - d[3];
}

DEVICE_INLINE void transform_input(const float (&d)[6], float (&v)[6]) {
  const float even = d[4] - 4.f * d[2], odd = d[3] - 4.f * d[1];
  const float even2 = d[4] - d[2], odd2 = 2.f * (d[3] - d[1]);
  v[0] = 4.f * d[0] - 5.f * d[2] + d[4];
  v[1] = even + odd;
  v[2] = even - odd;
  v[3] = even2 + odd2;
  v[4] = even2 - odd2;
  v[5] = 4.f * d[1] - 5.f * d[3] + d[5];
}

// A^T m, one dimension.
DEVICE_INLINE void transform_output(const float (&m)[4], float (&y)[2]) {
  y[0] = m[0] + m[1] + m[2];
  y[1] = m[1] - m[2] - m[3];
}

DEVICE_INLINE void transform_output(const float (&m)[6], float (&y)[4]) {
  const float sum = m[1] + m[2], difference = m[1] - m[2];
  const float sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  y[0] = m[0] + sum + sum2;
  y[1] = difference + 2.f * difference2;
  y[2] = sum + 4.f * sum2;
  y[3] = difference + 8.f * difference2 + m[5];
}

// inputs[e] = elements of B^T d B. One thread takes one patch and one channel: neighbouring threads
// have neighbouring channels, so that all loads and stores coalesce. Bound by memory.
// Launch: 1-D, block 128, ceil(patches * terms / 128) blocks.
template <int M>
__global__ void __launch_bounds__(128)
    winograd_inputs(ConvolutionShape p, const float* __restrict__ x, float* inputs, int terms) {
  constexpr int E = M + 2;
  const Patches patches = patches_of<M>(p);
  const int index = blockIdx.x * 128 + threadIdx.x;
  const int channel = index % terms, patch = index / terms;
  if (patch >= patches.count) return;
  const int line = patch / patches.columns;
  const int top = line % patches.rows * M - p.padding;
  const int left = patch % patches.columns * M - p.padding;
  const float* from = x + input_offset(p, line / patches.rows, top, left) + channel;
  float half[E][E];
#pragma unroll
  for (int i = 0; i < E; i++) {
    float d[E];
#pragma unroll
    for (int j = 0; j < E; j++) {
      const bool wanted = channel < p.channels && inside(p, top + i, left + j);
      d[j] = wanted ? from[(i * p.width + j) * p.x_pitch] : 0.f;
    }
    transform_input(d, half[i]);
  }
  const long long element = static_cast<long long>(patches.count) * terms;
#pragma unroll
  for (int j = 0; j < E; j++) {
    float d[E], v[E];
#pragma unroll
    for (int i = 0; i < E; i++) d[i] = half[i][j];
    transform_input(d, v);
#pragma unroll
    for (int i = 0; i < E; i++) inputs[(i * E + j) * element + index] = v[i];
  }
}

// Copies slices of a matrix [m][k], the e-th of those with `count` rows of `terms` numbers: this
// thread has four columns and every `step`-th row. Rows from `count` on count as zeros.
template <class Tile>
struct MatrixRows {
  static constexpr int across = Tile::BK / 4, step = Tile::threads / across;
  static constexpr int rows = Tile::BM / step;
  static_assert(Tile::threads % across == 0 && Tile::BM % step == 0, "copies are even");

  const float* matrix;
  const int& terms;
  int next, left, to;

  DEVICE_INLINE MatrixRows(const float* matrix, const int& terms, int count, int e, int m0)
      : matrix(matrix), terms(terms) {
    const int row = threadIdx.x / across, column = threadIdx.x % across * 4;
    to = row * Tile::BK + column;
    next = (e * count + m0 + row) * terms + column;
    left = count - (m0 + row);
  }

  // Begins the copies of a slice and goes on to the next.
  DEVICE_INLINE void copy(float* shared) {
#pragma unroll
    for (int r = 0; r < rows; r++)
      dev::cp_async16(shared + to + r * step * Tile::BK, matrix + (next + r * step * terms),
                      r * step < left);
    next += Tile::BK;
  }
};

// products[e] = inputs[e] * weights[e].
// Launch: grid (tiles of filters * tiles of patches, E^2), block GemmTile::threads, dynamic shared
// memory sizeof(GemmTile::Shared). Bound by arithmetic as convolution_blocked.cu.
template <int BM, int BN, int BK, int TM, int TN, int STAGES, int BLOCKS_PER_SM>
__global__ void __launch_bounds__(GemmTile<BM, BN, BK, TM, TN, STAGES>::threads, BLOCKS_PER_SM)
    winograd_multiply(const float* __restrict__ inputs, const float* __restrict__ weights,
                      float* products, int patches, int terms, int filters_pitch) {
  using Tile = GemmTile<BM, BN, BK, TM, TN, STAGES>;
  typename Tile::Shared& shared = SHARED_STRUCT(typename Tile::Shared);
  const int tiles_f = dev::ceil_div(filters_pitch, BN);
  const int m0 = blockIdx.x / tiles_f * BM, f0 = blockIdx.x % tiles_f * BN;
  const int e = blockIdx.y;

  Tile tile;
  MatrixRows<Tile> rows(inputs, terms, patches, e, m0);
  ColumnRows<Tile> columns(weights, filters_pitch, f0, e * terms);
  tile.accumulate(shared, terms / BK, [&](typename Tile::Stage& stage) {
    rows.copy(stage.x);
    columns.copy(stage.w);
  });
#pragma unroll
  for (int i = 0; i < TM; i++) {
    const int m = m0 + tile.row + 4 * i;
#pragma unroll
    for (int j = 0; j < TN; j += 4) {
      const int f = f0 + tile.column + 8 * j;
      if (m < patches && f < filters_pitch)
        *reinterpret_cast<float4*>(products + (e * patches + m) * filters_pitch + f) =
            tile.swapped(i, j);
    }
  }
}

// y = A^T products A, bias, activation, residual. One thread takes one patch and one filter.
// Launch: 1-D, block 128, ceil(patches * filters / 128) blocks. Bound by memory.
template <int M>
__global__ void __launch_bounds__(128)
    winograd_outputs(ConvolutionShape p, const float* __restrict__ products,
                     const float* __restrict__ biases, const float* residual, float* y) {
  constexpr int E = M + 2;
  const Patches patches = patches_of<M>(p);
  const int index = blockIdx.x * 128 + threadIdx.x;
  const int filter = index % p.filters, patch = index / p.filters;
  if (patch >= patches.count) return;
  const long long element = static_cast<long long>(patches.count) * p.weight_pitch;
  const float* from = products + static_cast<long long>(patch) * p.weight_pitch + (filter ^ 1);
  float half[E][M];
#pragma unroll
  for (int i = 0; i < E; i++) {
    float m[E];
#pragma unroll
    for (int j = 0; j < E; j++) m[j] = from[(i * E + j) * element];
    transform_output(m, half[i]);
  }
  const int line = patch / patches.columns, image = line / patches.rows;
  const int top = line % patches.rows * M, left = patch % patches.columns * M;
  const float bias = biases[filter];
#pragma unroll
  for (int j = 0; j < M; j++) {
    float m[E], v[M];
#pragma unroll
    for (int i = 0; i < E; i++) m[i] = half[i][j];
    transform_output(m, v);
#pragma unroll
    for (int i = 0; i < M; i++) {
      if (top + i >= p.out_height || left + j >= p.out_width) continue;
      const int pixel = (image * p.out_height + top + i) * p.out_width + left + j;
      y[static_cast<long long>(pixel) * p.y_pitch + filter] =
          finish(p, v[i], bias, residual, pixel, filter);
    }
  }
}
