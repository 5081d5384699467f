// Convolution, rung 5: implicit GEMM on tensor cores, in half precision or tf32.
//
//   y[m][f] = activate(sum over k of x[m, k] * w[f][k] + bias[f]) (+ residual[m][f])
//
// What changed since convolution_blocked.cu: a warp multiplies matrices (mma_tile.cuh) of halves,
// or of floats rounded to tf32, and adds the products up as floats. Operations are ten times as
// quick, so that bytes count: maps of halves are half as long, and all copies and stores are of 16
// bytes.
//
// Arrays: x, residual are maps of Element, channels last, y one of Output: half as the next layer
// reads it, or float for what leaves the network. All pitches are multiples of 16 bytes, and x is
// 16-byte aligned; channels are any number. Terms are ordered by blocks of channels, 128 bytes each
// but for the last one, then by ky, kx and channel: the taps of a block are shifts of the same
// pixels, which come from the L1 cache if CACHED, so that L2 has them to deliver once and not nine
// times. Channels are filled up to chunks of 16 bytes; of the last chunk only what is in the map is
// copied, and zeros follow; x's array ends with the whole of its last pixel's last chunk, since
// compute-sanitizer judges all 16 bytes. w is [filters / 32][slice][32][128 bytes of terms], zeros
// where there is no term, its filters in the order that mma_sums.cuh asks for (pack_mma_weights);
// weight_pitch is how many terms a filter has; biases [filters], float. workspace and arrivals as for convolution_blocked.cu.
// ACTIVATION is one of ACTIVATION_...: a template's argument, since a choice at run time would
// stand here once for each 8 sums, and the code of the ten that are not wanted would hold up the
// stores.
// Launch: grid (tiles of filters * tiles of pixels, parts), block MmaTile::threads, dynamic shared
// memory sizeof(Shared). Filters run fastest, so that neighbouring blocks read the same x.
// Arithmetic intensity: a tile does 2 BM BN operations for 2 (BM + BN) bytes of a term; 128 x 128
// is 64 operations a byte from L2. At 600 Tflop/s that were 9 TB/s, more than L2 gives: on tensor
// cores large tiles are there for bytes.
// Reference: tinyyolo3/layers/convolution/reference.py, conv_forward_reference.
#include "mma_convolution.cuh"
#include "mma_tile.cuh"

template <class Element, class Output, int ACTIVATION, int BM, int BN, int BK, int WARPS_M,
          int WARPS_N, int STAGES, int BLOCKS_PER_SM, bool CACHED>
__global__ void __launch_bounds__(32 * WARPS_M * WARPS_N, BLOCKS_PER_SM)
    convolution_mma(ConvolutionShape p, const Element* __restrict__ x,
                    const Element* __restrict__ w, const float* __restrict__ biases,
                    const Element* __restrict__ residual, Output* __restrict__ y,
                    float* workspace, unsigned* arrivals) {
  using Tile = MmaTile<Element, BM, BN, BK, WARPS_M, WARPS_N, STAGES>;
  convolve<Tile, ACTIVATION, CACHED>(p, x, w, biases, residual, y, workspace, arrivals);
}
