// mma_tile.cuh -- one block's part of a matrix product, C[m][n] += sum over k of x[m][k] * w[n][k],
// on tensor cores: gemm_tile.cuh's plan with a warp's matrices in the place of a thread's numbers.
//
// The idea. One multiply-add instruction of a warp takes a 16 x 16 and a 16 x 8 matrix, and a
// tensor core could start the next one a few cycles later: what it waits for is shared memory, 128
// bytes a cycle. So a warp owns TM x TN fragments of 16 x 8 sums, in registers (mma_sums.cuh). For
// 16 terms it loads TM fragments of x (512 bytes) and TN of w (256 bytes), and multiplies each with
// each: with 4 x 8, 4 KiB serve 32 instructions. The fragments of the next 16 terms are loaded
// meanwhile.
//
// Shared layout. Rows of BK terms, 64 or 128 bytes, as they lie in global memory; of both x and w a
// row is what ldmatrix wants 16-byte chunks of. The 8 rows of a matrix would lie in the same banks,
// one or two rows apart, so chunk c of row r is kept where chunk c ^ (r % 8) would be (with 64-byte
// rows c ^ (r / 2 % 4)): then 8 rows' chunks fill all 32 banks once, and so does a row's copy.
//
// Pipeline. As in gemm_tile.cuh: STAGES slices, one barrier a slice.
#pragma once
#include "mma_sums.cuh"

template <class Element_, int BM_, int BN_, int BK_, int WARPS_M, int WARPS_N, int STAGES_>
struct MmaTile : MmaSums<Element_, BM_, BN_, WARPS_M, WARPS_N> {
  using Sums = MmaSums<Element_, BM_, BN_, WARPS_M, WARPS_N>;
  using Element = Element_;
  using Fragments = typename Sums::Fragments;
  using Sums::BM, Sums::BN, Sums::TM, Sums::TN, Sums::chunk, Sums::threads;
  static constexpr int BK = BK_, STAGES = STAGES_;
  static constexpr int chunks = BK / chunk;      // of a row
  static constexpr int step = threads / chunks;  // rows that the block copies at a time
  static_assert(chunks == 4 || chunks == 8, "rows of 64 or 128 bytes");
  static_assert(threads % chunks == 0 && BM % step == 0 && BN % step == 0, "copies are even");

  struct Stage {
    alignas(16) Element x[BM * BK];
    Element w[BN * BK];
  };

  // Where a chunk of a row is kept, in elements.
  static DEVICE_INLINE int place(int row, int chunk_index) {
    const int moved = chunks == 8 ? row % 8 : row / 2 % 4;
    return row * BK + (chunk_index ^ moved) * chunk;
  }

  DEVICE_INLINE MmaTile()
      : Sums(threadIdx.x / 32 / WARPS_N * (16 * TM), threadIdx.x / 32 % WARPS_N * (8 * TN)) {
    const int lane = threadIdx.x % 32;
    // Matrices of 8 rows and one chunk: of x rows 0-7 and 8-15 of the first chunk, then of the
    // second; of w rows 0-7 of both chunks, then rows 8-15.
    x_place_ = place(this->first_row + lane % 16, lane / 16);
    w_place_ = place(this->first_column + lane / 16 * 8 + lane % 8, lane / 8 % 2);
  }

  // Adds `slices` slices. copy_w(stage) and copy_x(stage) begin the copies of the next slice. x may
  // be what others still write: wait_for_x() comes before it, behind the first copies of weights.
  template <class CopyW, class CopyX, class WaitForX>
  DEVICE_INLINE void accumulate(Stage (&stages)[STAGES], int slices, CopyW copy_w,
                                CopyX copy_x, WaitForX wait_for_x) {
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++)
      if (s < slices) copy_w(stages[s]);
    wait_for_x();
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
      if (s < slices) copy_x(stages[s]);
      dev::cp_async_commit();
    }
    int reading = 0, filling = STAGES - 1;
    Fragments fragments[2];
#pragma unroll 1
    for (int s = 0; s < slices; s++) {
      dev::cp_async_wait<STAGES - 2>();
      __syncthreads();
      const Stage& stage = stages[reading];
      load(fragments[0], stage, 0);
      if (s + STAGES - 1 < slices) {
        copy_w(stages[filling]);
        copy_x(stages[filling]);
      }
      dev::cp_async_commit();
#pragma unroll
      for (int k = 0; k < chunks / 2; k++) {
        if (k + 1 < chunks / 2) load(fragments[(k + 1) % 2], stage, k + 1);
        this->multiply(fragments[k % 2]);
      }
      filling = reading;
      reading = reading + 1 == STAGES ? 0 : reading + 1;
    }
    dev::cp_async_wait<0>();
  }

 private:
  int x_place_, w_place_;

  // Loads the fragments of chunks 2 k and 2 k + 1. Rows of fragments are multiples of 8 apart, so
  // that all have their chunks moved alike; and moving by ^ can be undone by ^.
  DEVICE_INLINE void load(Fragments& fragments, const Stage& stage, int k) {
    const Element* x = stage.x + (x_place_ ^ 2 * k * chunk);
    const Element* w = stage.w + (w_place_ ^ 2 * k * chunk);
#pragma unroll
    for (int i = 0; i < TM; i++) Sums::load_x(fragments.x[i], x + 16 * i * BK);
#pragma unroll
    for (int j = 0; j < TN; j += 2)
      Sums::load_w(fragments.w[j], fragments.w[j + 1], w + 8 * j * BK);
  }
};
