// Convolution, rungs 5 and 6 with their work dealt out evenly: stream-K.
//
//   y[m][f] = activate(sum over k of x[m, k] * w[f][k] + bias[f]) (+ residual[m][f])
//
// What changed since convolution_mma.cu and convolution_wgmma.cu: there a block has a tile, or a
// part of one, and where tiles are no multiple of the blocks that run at a time, some
// multiprocessors have one more and the others wait. Here all slices of all tiles lie in one row,
// tile behind tile, and each of gridDim.x blocks has a stretch of it, of the same length to a
// slice. A stretch begins and ends anywhere: a block may have the end of one tile's terms, some
// whole tiles, and the beginning of another's. ("Stream-K: Work-centric parallel decomposition for dense
// matrix-matrix multiplication on the GPU", Osama et al., 2023.)
//
// The hand-over. Blocks that share a tile leave their sums in memory, and the last to arrive adds
// them up in the order of their terms (MmaSums::combine): nobody waits, no order of blocks is
// needed, and the bits are the same whoever comes last. A block is the first of no more than one
// tile that is shared: such a tile contains the end of its stretch. So its number is that of the
// tile's counter, and the sums of blocks first .. last lie at 2 first, 2 first + 1 and so on, which
// is before 2 last, where the next such tile's may begin.
//
// Arrays, terms and their order: as for convolution_mma.cu; workspace has room for two tiles of
// each block, arrivals a counter for each, 0 before and after.
// Launch: grid (blocks) of no more than there are slices, best as many as are resident at a time;
// block Tile::threads, dynamic shared memory sizeof(Shared).
// Arithmetic intensity: of the multiplications as for the tile; to that comes for each shared tile
// what split-K moves, 8 BM BN bytes a part, and for each further stretch of a block a pipeline that
// fills anew.
// Reference: tinyyolo3/layers/convolution/reference.py, conv_forward_reference.
#include "mma_convolution.cuh"
#include "mma_tile.cuh"
#include "wgmma_tile.cuh"

// `count` slices dealt out to blocks, of which the first ones have one more where they don't come
// out even.
struct Stretches {
  int each, longer;

  DEVICE_INLINE Stretches(int count, int blocks) : each(count / blocks), longer(count % blocks) {}

  // The first slice of a block; that of the block behind the last is the count.
  DEVICE_INLINE int begin(int block) const { return block * each + min(block, longer); }

  // Which block has a slice.
  DEVICE_INLINE int owner(int slice) const {
    const int in_longer = longer * (each + 1);
    return slice < in_longer ? slice / (each + 1) : longer + (slice - in_longer) / each;
  }
};

// One block's stretch of all tiles' slices.
template <class Tile, int ACTIVATION, bool CACHED, class Element, class Output>
DEVICE_INLINE void convolve_stretch(const ConvolutionShape& p, const Element* __restrict__ x,
                                    const Element* __restrict__ w,
                                    const float* __restrict__ biases,
                                    const Element* __restrict__ residual, Output* __restrict__ y,
                                    float* workspace, unsigned* arrivals) {
  Shared<Tile>& shared = SHARED_STRUCT(Shared<Tile>);
  constexpr int BM = Tile::BM, BN = Tile::BN;
  const int tiles_f = dev::ceil_div(p.filters, BN), slices = slices_of<Tile>(p);
  const int pixels = output_pixels(p), block = blockIdx.x;
  const Stretches stretches(dev::ceil_div(pixels, BM) * tiles_f * slices, gridDim.x);
  const int last = stretches.begin(block + 1);

  dev::let_next_launch_begin();
#pragma unroll 1
  for (int slice = stretches.begin(block); slice < last;) {
    const int tile_index = slice / slices, tile_begin = tile_index * slices;
    const int end = min(last, tile_begin + slices);
    const int m0 = tile_index / tiles_f * BM, f0 = tile_index % tiles_f * BN;
    Tile tile = sum_slices<Tile, CACHED>(shared, p, x, w, biases, m0, f0, slice - tile_begin,
                                         end - tile_begin);
    const int first = stretches.owner(tile_begin);
    const int parts = stretches.owner(tile_begin + slices - 1) - first + 1;
    float* partial = workspace + static_cast<long long>(first) * (2 * BM * BN);
    if (parts == 1 ||
        tile.combine(shared.ticket, partial, arrivals + first, block - first, parts)) {
      auto pixel_of = [&](int row) { return m0 + row < pixels ? m0 + row : -1; };
      store<ACTIVATION>(p, tile, pixel_of, f0, shared.biases, residual, y);
    }
    slice = end;
    __syncthreads();  // the next tile's biases take the place of this one's
  }
}

template <class Element, class Output, int ACTIVATION, int BM, int BN, int BK, int WARPS_M,
          int WARPS_N, int STAGES, int BLOCKS_PER_SM, bool CACHED>
__global__ void __launch_bounds__(32 * WARPS_M * WARPS_N, BLOCKS_PER_SM)
    mma_stream_k(ConvolutionShape p, const Element* __restrict__ x, const Element* __restrict__ w,
                 const float* __restrict__ biases, const Element* __restrict__ residual,
                 Output* __restrict__ y, float* workspace, unsigned* arrivals) {
  using Tile = MmaTile<Element, BM, BN, BK, WARPS_M, WARPS_N, STAGES>;
  convolve_stretch<Tile, ACTIVATION, CACHED>(p, x, w, biases, residual, y, workspace, arrivals);
}

template <class Output, int ACTIVATION, int BM, int BN, int GROUPS_N, int STAGES, int BLOCKS_PER_SM,
          bool CACHED>
__global__ void __launch_bounds__(2 * BM * GROUPS_N, BLOCKS_PER_SM)
    wgmma_stream_k(ConvolutionShape p, const half* __restrict__ x, const half* __restrict__ w,
                   const float* __restrict__ biases, const half* __restrict__ residual,
                   Output* __restrict__ y, float* workspace, unsigned* arrivals) {
  using Tile = WgmmaTile<BM, BN, GROUPS_N, STAGES>;
  convolve_stretch<Tile, ACTIVATION, CACHED>(p, x, w, biases, residual, y, workspace, arrivals);
}
