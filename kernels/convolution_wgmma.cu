// Convolution, rung 6: implicit GEMM by Hopper's tensor cores, which read shared memory themselves.
//
//   y[m][f] = activate(sum over k of x[m, k] * w[f][k] + bias[f]) (+ residual[m][f])
//
// What changed since convolution_mma.cu: four warps together start a multiplication of 64 pixels
// with the filters of a tile, straight from shared memory, and go on while it runs (wgmma_tile.cuh).
// No fragments are loaded: shared memory, which rung 5 waits for, gives a tile's filters to four
// warps at once, and warps have time for copies.
//
// Arrays, terms, their order and the launch: as for convolution_mma.cu, in halves. sm_90 only.
// Launch: grid (tiles of filters * tiles of pixels, parts), block WgmmaTile::threads, dynamic
// shared memory sizeof(Shared).
// Arithmetic intensity: as for convolution_mma.cu; of shared memory, 16 terms of a warpgroup take
// 2,048 + 32 N bytes for 1,024 N multiply-adds with its N columns.
// Reference: tinyyolo3/layers/convolution/reference.py, conv_forward_reference.
#include "mma_convolution.cuh"
#include "wgmma_tile.cuh"

template <class Output, int ACTIVATION, int BM, int BN, int GROUPS_N, int STAGES, int BLOCKS_PER_SM,
          bool CACHED>
__global__ void __launch_bounds__(2 * BM * GROUPS_N, BLOCKS_PER_SM)
    convolution_wgmma(ConvolutionShape p, const half* __restrict__ x, const half* __restrict__ w,
                      const float* __restrict__ biases, const half* __restrict__ residual,
                      Output* __restrict__ y, float* workspace, unsigned* arrivals) {
  using Tile = WgmmaTile<BM, BN, GROUPS_N, STAGES>;
  convolve<Tile, ACTIVATION, CACHED>(p, x, w, biases, residual, y, workspace, arrivals);
}
