// Convolution, second rung: a matrix product in tiles of shared memory.
//
//   y[m][f] = activate(sum over k of x[m, k] * w[k][f] + bias[f]) (+ residual[m][f])
//
// with m, k and x[m, k] as in convolution.cuh: an *implicit* GEMM, since the matrix of x[m, k],
// im2col's, is made tile by tile and never in memory as a whole.
//
// What changed from convolution_direct.cu: there, each of a block's threads loads all that it
// multiplies, although the threads of one pixel need the same x and those of one filter the same
// weights. Here a block owns 32 pixels times 32 filters of y. It walks along k in slices of 32: all
// threads together load the slice's 32 x 32 numbers of x and of w, each once, wait for each other,
// and then take their operands from shared memory.
//
// Arrays: as for convolution_direct.cu. While loading, neighbouring threads take neighbouring k of
// x (channels, next to each other in memory) and neighbouring filters of w: both coalesce.
// Launch: block (32, 8); thread (tx, ty) computes filter tx of pixels ty, ty + 8, ty + 16, ty + 24.
// Grid (ceil(pixels / 32), ceil(filters of a group / 32), groups).
// Shared memory: struct Tiles, 8 KiB. No bank conflicts: a warp reads 32 neighbouring weights, and
// one number of x for all.
// Arithmetic intensity: for each k, 64 numbers (256 bytes) come from memory for 1024 multiply-adds:
// 8 operations per byte, sixteen times the rung below. What limits now is shared memory. For four
// terms a thread loads four weights, and x of its four pixels, four terms in each load (they are
// neighbours, as the compiler sees): 8 loads for 16 multiply-adds. In the time of one warp's load
// an SM could do four warps' multiply-adds, so that at most half of the peak is in reach. The rung
// above, convolution_blocked.cu, has a larger block of sums in each thread's registers, so that one
// load serves more of them, and copies the next slices while it multiplies.
// Reference: tinyyolo3/layers/convolution/reference.py, conv_forward_reference.
#include "convolution.cuh"

constexpr int PIXELS = 32, FILTERS = 32, DEPTH = 32;  // DEPTH and FILTERS: one for each lane
constexpr int ROWS = 8;                               // of threads
constexpr int SUMS = PIXELS / ROWS;                   // of each thread

struct Tiles {
  float x[PIXELS][DEPTH];
  float weights[DEPTH][FILTERS];
};

// The input pixel under an output pixel's first tap. It may lie outside the map.
DEVICE_INLINE OutputPixel first_tap(const ConvolutionShape& p, int m) {
  // Beyond the last pixel every tap is outside: no input is read, and no special case needed.
  if (m >= output_pixels(p)) return {0, -(1 << 30), 0};
  const OutputPixel pixel = output_pixel(p, m);
  return {pixel.image, pixel.row * p.stride_y - p.padding,
          pixel.column * p.stride_x - p.padding};
}

// Loads x[m, k] for this thread's pixels and one k of its group, `lane` of the slice.
DEVICE_INLINE void load_x(const ConvolutionShape& p, Tiles& tiles, const float* __restrict__ x,
                          const OutputPixel (&taps)[SUMS], int k, int terms) {
  const int channels = p.channels / p.groups;
  const int channel = blockIdx.z * channels + k % channels, tap = k / channels;
  const int down = tap / p.size * p.dilation, right = tap % p.size * p.dilation;
#pragma unroll
  for (int i = 0; i < SUMS; i++) {
    const int row = taps[i].row + down, column = taps[i].column + right;
    const bool wanted = k < terms && inside(p, row, column);
    const long long source = input_offset(p, taps[i].image, row, column) + channel;
    tiles.x[threadIdx.y + i * ROWS][threadIdx.x] = wanted ? x[source] : 0.f;
  }
}

// Loads w[k][f] for one filter and this thread's rows of the slice that begins at k = `first`.
DEVICE_INLINE void load_weights(const ConvolutionShape& p, Tiles& tiles,
                                const float* __restrict__ weights, int filter, bool wanted,
                                int first, int terms) {
#pragma unroll
  for (int i = 0; i < DEPTH / ROWS; i++) {
    const int row = threadIdx.y + i * ROWS, k = first + row;
    const long long source = static_cast<long long>(k) * p.weight_pitch + filter;
    tiles.weights[row][threadIdx.x] = wanted && k < terms ? weights[source] : 0.f;
  }
}

extern "C" __global__ void __launch_bounds__(256) convolution_tiled(
    ConvolutionShape p, const float* __restrict__ x, const float* __restrict__ weights,
    const float* __restrict__ biases, const float* __restrict__ residual, float* y) {
  Tiles& tiles = SHARED_STRUCT(Tiles);
  const int group_filters = p.filters / p.groups;
  const int terms = p.size * p.size * (p.channels / p.groups);
  const int in_group = blockIdx.y * FILTERS + threadIdx.x;
  const int filter = blockIdx.z * group_filters + in_group;
  const int first_pixel = blockIdx.x * PIXELS + threadIdx.y;
  OutputPixel taps[SUMS];
#pragma unroll
  for (int i = 0; i < SUMS; i++) taps[i] = first_tap(p, first_pixel + i * ROWS);

  float sums[SUMS] = {};
  for (int first = 0; first < terms; first += DEPTH) {
    load_x(p, tiles, x, taps, first + threadIdx.x, terms);
    load_weights(p, tiles, weights, filter, in_group < group_filters, first, terms);
    __syncthreads();  // the slice is there
#pragma unroll
    for (int k = 0; k < DEPTH; k++) {
#pragma unroll
      for (int i = 0; i < SUMS; i++) {
        sums[i] += tiles.x[threadIdx.y + i * ROWS][k] * tiles.weights[k][threadIdx.x];
      }
    }
    __syncthreads();  // nobody reads it any more
  }

  if (in_group >= group_filters) return;
#pragma unroll
  for (int i = 0; i < SUMS; i++) {
    const int m = first_pixel + i * ROWS;
    if (m >= output_pixels(p)) continue;
    y[static_cast<long long>(m) * p.y_pitch + filter] =
        finish(p, sums[i], biases[filter], residual, m, filter);
  }
}
