// wgmma_tile.cuh -- one block's part of a matrix product by warpgroups: mma_tile.cuh's plan where
// tensor cores read both matrices from shared memory.
//
// The idea. A warpgroup, four warps, starts the multiplication of 64 rows of x with BN / GROUPS_N
// of w by one instruction for each 16 terms, and need not wait for it: the sums belong to the tensor
// cores until it does. Each of the four warps has 16 of the rows. Warpgroups that share the columns
// have fewer copies each, but all of them read the same pixels.
//
// Shared layout. mma_tile.cuh's rows of 128 bytes whose chunks are moved by ^ (row % 8) are just
// what the hardware calls a swizzle of 128 bytes. It takes rows by eights of 1,024 bytes, so stages
// begin at multiples of that.
//
// Pipeline. While slice s is multiplied, s - 1 may be unfinished. So the stage of s - 2 is the one
// to fill: STAGES - 2 slices are on their way, with one barrier a slice. What copies have written
// must be made visible to tensor cores, which see memory by ways of their own.
#pragma once
#include "mma_sums.cuh"
#include "warpgroups.cuh"

template <int BM_, int BN_, int GROUPS_N, int STAGES_>
struct WgmmaTile : MmaSums<half, BM_, BN_, BM_ / 16, GROUPS_N> {
  using Sums = MmaSums<half, BM_, BN_, BM_ / 16, GROUPS_N>;
  using Element = half;
  using Sums::BM, Sums::BN, Sums::chunk, Sums::threads;
  static constexpr int group_columns = BN / GROUPS_N;
  static constexpr int BK = 64, STAGES = STAGES_, AHEAD = STAGES - 2;
  static constexpr int chunks = BK / chunk;      // of a row
  static constexpr int step = threads / chunks;  // rows that the block copies at a time
  static_assert(BM % 64 == 0, "a warpgroup has 64 rows");
  static_assert(BM % step == 0 && BN % step == 0, "copies are even");
  static_assert(STAGES >= 3, "two slices are multiplied while others are copied");

  struct Stage {
    alignas(1024) half x[BM * BK];
    half w[BN * BK];
  };

  DEVICE_INLINE WgmmaTile()
      : Sums(group_row() + threadIdx.x / 32 % 4 * 16, threadIdx.x / 128 % GROUPS_N * group_columns) {}

  // The first row of this warpgroup.
  static DEVICE_INLINE int group_row() {
    return BM == 64 ? 0 : threadIdx.x / (128 * GROUPS_N) * 64;
  }

  // Where a chunk of a row is kept, in elements.
  static DEVICE_INLINE int place(int row, int chunk_index) {
    return row * BK + (chunk_index ^ row % 8) * chunk;
  }

  // Adds `slices` slices, as MmaTile does.
  template <class CopyW, class CopyX, class WaitForX>
  DEVICE_INLINE void accumulate(Stage (&stages)[STAGES], int slices, CopyW copy_w,
                                CopyX copy_x, WaitForX wait_for_x) {
#pragma unroll
    for (int s = 0; s < AHEAD; s++)
      if (s < slices) copy_w(stages[s]);
    wait_for_x();
#pragma unroll
    for (int s = 0; s < AHEAD; s++) {
      if (s < slices) copy_x(stages[s]);
      dev::cp_async_commit();
    }
    int reading = 0, filling = AHEAD;
#pragma unroll 1
    for (int s = 0; s < slices; s++) {
      dev::cp_async_wait<AHEAD - 1>();
      dev::show_tensor_cores();
      __syncthreads();
      const dev::SharedMatrix x(stages[reading].x + group_row() * BK);
      const dev::SharedMatrix w(stages[reading].w + this->first_column * BK);
      dev::warpgroup_begin();
#pragma unroll
      for (int k = 0; k < chunks; k += 2)
        dev::warpgroup_multiply<group_columns>(this->sums[0], x.from_chunk(k), w.from_chunk(k));
      dev::warpgroup_commit();
      if (s + AHEAD < slices) {
        copy_w(stages[filling]);
        copy_x(stages[filling]);
      }
      dev::cp_async_commit();
      dev::warpgroup_wait<1>();
      reading = reading + 1 == STAGES ? 0 : reading + 1;
      filling = filling + 1 == STAGES ? 0 : filling + 1;
    }
    dev::warpgroup_wait<0>();
    dev::cp_async_wait<0>();
  }
};
