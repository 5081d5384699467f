// mma_tile.cuh -- one block's part of a matrix product, C[m][n] += sum over k of x[m][k] * w[n][k],
// on tensor cores: gemm_tile.cuh's plan with a warp's matrices in the place of a thread's numbers.
//
// The idea. One multiply-add instruction of a warp takes a 16 x 16 and a 16 x 8 matrix, and a
// tensor core could start the next one a few cycles later: what it waits for is shared memory, 128
// bytes a cycle. So a warp owns TM x TN fragments of 16 x 8 sums, in registers. For 16 terms it
// loads TM fragments of x (512 bytes) and TN of w (256 bytes), and multiplies each with each: with
// 4 x 8, 4 KiB serve 32 instructions. The fragments of the next 16 terms are loaded meanwhile.
//
// Shared layout. Rows of BK terms, 64 or 128 bytes, as they lie in global memory; of both x and w a
// row is what ldmatrix wants 16-byte chunks of. The 8 rows of a matrix would lie in the same banks,
// one or two rows apart, so chunk c of row r is kept where chunk c ^ (r % 8) would be (with 64-byte
// rows c ^ (r / 2 % 4)): then 8 rows' chunks fill all 32 banks once, and so does a row's copy.
//
// Columns. A fragment's columns belong to lanes in pairs (tensor_cores.cuh), so that a lane would
// store 4 bytes here and 4 there. But which filter is column n is free to choose: in each group of
// 32 columns, 4 fragments, column 8 j + 2 q + e is filter 8 q + 2 j + e of the group. Lane q then
// has 8 neighbouring filters, 16 bytes of halves. The weights' rows are packed in this order
// beforehand.
//
// Pipeline. As in gemm_tile.cuh: STAGES slices, one barrier a slice.
#pragma once
#include "tensor_cores.cuh"

template <class Element_, int BM_, int BN_, int BK_, int WARPS_M, int WARPS_N, int STAGES_>
struct MmaTile {
  using Element = Element_;
  static constexpr int BM = BM_, BN = BN_, BK = BK_, STAGES = STAGES_;
  static constexpr int threads = 32 * WARPS_M * WARPS_N;
  static constexpr int chunk = 16 / sizeof(Element);  // terms of 16 bytes
  static constexpr int chunks = BK / chunk;           // of a row
  static constexpr int step = threads / chunks;       // rows that the block copies at a time
  static constexpr int TM = BM / WARPS_M / 16, TN = BN / WARPS_N / 8;
  static constexpr int groups = TN / 4;               // of 32 columns
  static_assert(BM % (16 * WARPS_M) == 0 && BN % (32 * WARPS_N) == 0, "warps tile the block");
  static_assert(chunks == 4 || chunks == 8, "rows of 64 or 128 bytes");
  static_assert(threads % chunks == 0 && BM % step == 0 && BN % step == 0, "copies are even");

  struct Stage {
    alignas(16) Element x[BM * BK];
    Element w[BN * BK];
  };
  struct Fragments {
    unsigned x[TM][4], w[TN][2];
  };

  // This lane's sums are of rows row + 16 i + 8 h and of filters column + 32 g .. + 7.
  int row, column;
  float sums[TM][TN][4];

  // Where a chunk of a row is kept, in elements.
  static DEVICE_INLINE int place(int row, int chunk_index) {
    const int moved = chunks == 8 ? row % 8 : row / 2 % 4;
    return row * BK + (chunk_index ^ moved) * chunk;
  }

  DEVICE_INLINE MmaTile() {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int first_row = warp / WARPS_N * (16 * TM), first_column = warp % WARPS_N * (8 * TN);
    row = first_row + lane / 4;
    column = first_column + lane % 4 * 8;
    // Matrices of 8 rows and one chunk: of x rows 0-7 and 8-15 of the first chunk, then of the
    // second; of w rows 0-7 of both chunks, then rows 8-15.
    x_place_ = place(first_row + lane % 16, lane / 16);
    w_place_ = place(first_column + lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) sums[i][j][e] = 0.f;
  }

  // Adds `slices` slices. copy_w(stage) and copy_x(stage) begin the copies of the next slice. x may
  // be what the launch before writes; the weights, and what the caller has begun, are not.
  template <class CopyW, class CopyX>
  DEVICE_INLINE void accumulate(Stage (&stages)[STAGES], int slices, CopyW copy_w,
                                CopyX copy_x) {
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++)
      if (s < slices) copy_w(stages[s]);
    dev::wait_for_launch_before();
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
        multiply(fragments[k % 2]);
      }
      filling = reading;
      reading = reading + 1 == STAGES ? 0 : reading + 1;
    }
    dev::cp_async_wait<0>();
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
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) sums[i][j][e] = 0.f;
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

 private:
  int x_place_, w_place_;

  // Loads the fragments of chunks 2 k and 2 k + 1. Rows of fragments are multiples of 8 apart, so
  // that all have their chunks moved alike; and moving by ^ can be undone by ^.
  DEVICE_INLINE void load(Fragments& fragments, const Stage& stage, int k) {
    const Element* x = stage.x + (x_place_ ^ 2 * k * chunk);
    const Element* w = stage.w + (w_place_ ^ 2 * k * chunk);
#pragma unroll
    for (int i = 0; i < TM; i++) {
      dev::load_matrices(fragments.x[i], x + 16 * i * BK);
      if (sizeof(Element) == 4)  // the weights are rounded already
#pragma unroll
        for (int r = 0; r < 4; r++) fragments.x[i][r] = dev::round_to_tf32(fragments.x[i][r]);
    }
#pragma unroll
    for (int j = 0; j < TN; j += 2) {
      unsigned two[4];
      dev::load_matrices(two, w + 8 * j * BK);
      fragments.w[j][0] = two[0], fragments.w[j][1] = two[1];
      fragments.w[j + 1][0] = two[2], fragments.w[j + 1][1] = two[3];
    }
  }

  DEVICE_INLINE void multiply(const Fragments& fragments) {
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++)
        dev::multiply<Element>(sums[i][j], fragments.x[i], fragments.w[j]);
  }
};
