// mma_sums.cuh -- one block's sums of a matrix product on tensor cores, in its warps' registers, and
// how the blocks that share a product's terms add theirs up.
//
// A warp owns TM x TN fragments of 16 x 8 sums and multiplies TM fragments of x with TN of w for each
// 16 terms (mma_tile.cuh says why so many).
//
// Columns. A fragment's columns belong to lanes in pairs (tensor_cores.cuh), so that a lane would
// store 4 bytes here and 4 there. But which filter is column n is free to choose: in each group of
// 32 columns, 4 fragments, column 8 j + 2 q + e is filter 8 q + 2 j + e of the group. Lane q then
// has 8 neighbouring filters, 16 bytes of halves. The weights' rows are packed in this order
// beforehand.
#pragma once
#include "tensor_cores.cuh"

template <class Element_, int BM_, int BN_, int WARPS_M, int WARPS_N>
struct MmaSums {
  using Element = Element_;
  static constexpr int BM = BM_, BN = BN_;
  static constexpr int threads = 32 * WARPS_M * WARPS_N;
  static constexpr int chunk = 16 / sizeof(Element);  // terms of 16 bytes
  static constexpr int TM = BM / WARPS_M / 16, TN = BN / WARPS_N / 8;
  static constexpr int groups = TN / 4;               // of 32 columns
  static_assert(BM % (16 * WARPS_M) == 0 && BN % (32 * WARPS_N) == 0, "warps tile the block");

  struct Fragments {
    unsigned x[TM][4], w[TN][2];
  };

  // This warp's part of the tile; this lane's sums are of rows row + 16 i + 8 h and of filters
  // column + 32 g .. + 7.
  int first_row, first_column, row, column;
  float sums[TM][TN][4];

  DEVICE_INLINE MmaSums(int first_row, int first_column)
      : first_row(first_row), first_column(first_column) {
    const int lane = threadIdx.x % 32;
    row = first_row + lane / 4;
    column = first_column + lane % 4 * 8;
    clear();
  }

  DEVICE_INLINE void clear() {
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) sums[i][j][e] = 0.f;
  }

  // Loads a fragment of x, rounded if its numbers are longer than tensor cores take; the weights
  // are rounded already.
  static DEVICE_INLINE void load_x(unsigned (&fragment)[4], const Element* from) {
    dev::load_matrices(fragment, from);
    if (sizeof(Element) == 4)
#pragma unroll
      for (int r = 0; r < 4; r++) fragment[r] = dev::round_to_tf32(fragment[r]);
  }

  // Loads two neighbouring fragments of w.
  static DEVICE_INLINE void load_w(unsigned (&first)[2], unsigned (&second)[2],
                                   const Element* from) {
    unsigned two[4];
    dev::load_matrices(two, from);
    first[0] = two[0], first[1] = two[1];
    second[0] = two[2], second[1] = two[3];
  }

  DEVICE_INLINE void multiply(const Fragments& fragments) {
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++)
        dev::multiply<Element>(sums[i][j], fragments.x[i], fragments.w[j]);
  }

  // Split-K, as in gemm_tile.cuh: `parts` blocks leave their sums in `partial`, and the last to
  // arrive adds them in the order of the parts. Returns whether this is the one. `ticket` lies in
  // shared memory; `arrivals` is 0 before and after. All wait for that block, whose loads take most
  // of a microsecond: it has several parts' under way at a time, as registers allow.
  DEVICE_INLINE bool combine(unsigned& ticket, float* partial, unsigned* arrivals, int part,
                             int parts) {
    constexpr int at_once = TM * TN >= 16 ? 1 : 16 / (TM * TN);
    float4* mine = reinterpret_cast<float4*>(partial) + part * (BM * BN / 4) + threadIdx.x;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++) {
        const float(&v)[4] = sums[i][j];
        mine[(i * TN + j) * threads] = make_float4(v[0], v[1], v[2], v[3]);
      }
    __syncthreads();
    if (threadIdx.x == 0) ticket = dev::arrive(arrivals);
    __syncthreads();
    if (ticket != parts - 1) return false;
    if (threadIdx.x == 0) *arrivals = 0;
    const float4* others = reinterpret_cast<const float4*>(partial) + threadIdx.x;
    clear();
#pragma unroll (at_once)
    for (int p = 0; p < parts; p++, others += BM * BN / 4)
#pragma unroll
      for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
          const float4 v = others[(i * TN + j) * threads];
          sums[i][j][0] += v.x;
          sums[i][j][1] += v.y;
          sums[i][j][2] += v.z;
          sums[i][j][3] += v.w;
        }
    return true;
  }
};
