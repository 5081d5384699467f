// gemm_tile.cuh -- one block's part of a matrix product, C[m][n] += sum over k of x[m][k] w[k][n],
// with both operands copied through shared memory and the sums in registers.
//
// The idea. A multiply-add needs two numbers, and shared memory delivers 32 a cycle to an SM that
// could do 128 multiply-adds: each number read must serve several. A thread therefore owns TM x TN
// sums. For 4 terms (k .. k + 3) it reads TM float4 of x and TN float4 of w, and does 4 TM TN
// multiply-adds: with 8 x 8, 16 loads for 256. In the compiled loop, addresses and the pipeline
// included, 67 (4 x 4), 77 (8 x 4) or 85 % (8 x 8) of the instructions are multiply-adds.
//
// Shared layout. x as [m][k], w as [k][n], each just as it lies in global memory: a 16-byte
// cp.async moves four numbers without passing through registers, and nothing is transposed. A
// float4 of x is four terms of one row, a float4 of w four columns of one term, so a thread loads
// as much as it would with x transposed; it holds 4 TM numbers of x instead of TM.
//
// Bank conflicts. A warp's 32 lanes are 4 rows x 8 columns of threads, and it owns 4 TM rows and
// 8 TN columns. Bit 0 of the lane counts rows, bits 1-3 columns, bit 4 rows, as in CUTLASS's SIMT
// kernels: so half a warp, which the hardware can serve in one go when neighbouring lanes share
// an address, reads 8 different float4 of w side by side (all 32 banks once), or 2 of x from
// neighbouring rows. BK = 16 puts these 64 bytes apart and BK = 8 32 bytes, in different banks
// either way: two wavefronts a load. Of the 16 cycles that four warps' 8 x 8 sums take for a term,
// shared memory is then busy for 8; with 8 x 4 for 6 of 8, with 4 x 4 for all of 4. Served by the
// quarter warp, 4 x 4 could reach half of the peak; an H200 reached 52 %.
//
// Register banks. Since Ampere a scheduler can issue a multiply-add in every cycle, but a register
// file of two banks, even and odd, gives it one register of each in that time, and a multiply-add
// reads three. The third has to be kept from the one before, by the same operand's latch (".reuse"
// in the compiled code). Hence the order of multiply_term: along a row of sums x stays, at its end
// w stays and x changes; each reads one sum and one other number. Those must lie in different
// banks. A float4 of w fills registers even, odd, even, odd; so do four sums that are stored by one
// instruction, each in the bank of its column's w, which is the wrong one. Therefore sums leave
// with each pair swapped, which gives them the other bank. And where a row ends, x changes instead
// of w: the k-th term of every row lies in the bank of k, so the column of that sum is even for
// even terms. Multiply-adds a cycle, counted in the code compiled for sm_90: 0.64 (4 x 4), 0.74
// (8 x 4), 0.75 (8 x 8). Without swaps, and each row from column 0 on, it was 0.56, 0.60 and 0.69,
// of which an H200 reached 0.94, 0.97 and 0.92 (2026-11-20); today's order is not measured yet.
//
// Pipeline. STAGES slices of BK terms are in flight: while one is multiplied, cp.async fills the
// others. One barrier a slice: past it, all copies of this slice are visible, and nobody reads any
// more from the stage that is filled next.
#pragma once
#include "device.cuh"

template <int BM_, int BN_, int BK_, int TM_, int TN_, int STAGES_>
struct GemmTile {
  static constexpr int BM = BM_, BN = BN_, BK = BK_, TM = TM_, TN = TN_, STAGES = STAGES_;
  static constexpr int warps_m = BM / (4 * TM), warps_n = BN / (8 * TN);
  static constexpr int threads = 32 * warps_m * warps_n;
  static_assert(BM % (4 * TM) == 0 && BN % (8 * TN) == 0 && TN % 4 == 0, "warps tile the block");
  static_assert(BK == 8 || BK == 16, "of 32 terms, neighbouring rows would share their banks");
  static_assert(BM * BK / 4 % threads == 0 && BN * BK / 4 % threads == 0, "copies are even");

  struct Stage {
    float x[BM * BK], w[BK * BN];
  };
  struct Shared {
    Stage stages[STAGES];
    unsigned ticket;
  };

  // This thread's rows are row + 4 i, its columns column + 32 j .. + 3, i < TM, j < TN / 4.
  int row, column;
  float sums[TM][TN];

  DEVICE_INLINE GemmTile() {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    row = warp / warps_n * (4 * TM) + (lane / 16 * 2 + lane % 2);
    column = warp % warps_n * (8 * TN) + lane / 2 % 8 * 4;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++) sums[i][j] = 0.f;
  }

  // Adds the products of one slice. The loop stays a loop: were all terms in sight at a time, the
  // compiler would mix them, and undo the order that multiply_term has put them into.
  DEVICE_INLINE void multiply(const Stage& stage) {
    const float* x = stage.x + row * BK;
    const float* w = stage.w + column;
    const float* end = x + BK;
#pragma unroll 1
    for (; x != end; x += 4, w += 4 * BN) {
      float4 a[TM];
#pragma unroll
      for (int i = 0; i < TM; i++) a[i] = *reinterpret_cast<const float4*>(x + 4 * i * BK);
      multiply_term<0>(w + 0 * BN, [&](int i) { return a[i].x; });
      multiply_term<1>(w + 1 * BN, [&](int i) { return a[i].y; });
      multiply_term<2>(w + 2 * BN, [&](int i) { return a[i].z; });
      multiply_term<3>(w + 3 * BN, [&](int i) { return a[i].w; });
    }
  }

  // Down the rows with four columns at a time, from left to right and back: see "Register banks".
  template <int TERM, class X>
  DEVICE_INLINE void multiply_term(const float* w, X x) {
#pragma unroll
    for (int j = 0; j < TN; j += 4) {
      const float4 v = *reinterpret_cast<const float4*>(w + 8 * j);
      const float b[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < TM; i++)
#pragma unroll
        for (int step = 0; step < 4; step++) {
          const int c = turning_column(TERM, i % 2 ? 3 - step : step);
          sums[i][j + c] += x(i) * b[c];
        }
    }
  }

  // The four columns' order: its ends are even columns for even terms, odd columns for odd terms.
  static DEVICE_INLINE constexpr int turning_column(int term, int step) {
    if (term % 2 == 0) return step < 2 ? step : 5 - step;
    return step < 2 ? 1 - step : step;
  }

  // Four sums as they leave for memory, each pair swapped: see "Register banks".
  DEVICE_INLINE float4 swapped(int i, int j) const {
    return make_float4(sums[i][j + 1], sums[i][j], sums[i][j + 3], sums[i][j + 2]);
  }

  // Adds `slices` slices. copy(stage) begins the copies of the next slice.
  template <class Copy>
  DEVICE_INLINE void accumulate(Shared& shared, int slices, Copy copy) {
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
      if (s < slices) copy(shared.stages[s]);
      dev::cp_async_commit();
    }
    int reading = 0, filling = STAGES - 1;
#pragma unroll 1
    for (int s = 0; s < slices; s++) {
      dev::cp_async_wait<STAGES - 2>();
      __syncthreads();
      if (s + STAGES - 1 < slices) copy(shared.stages[filling]);
      dev::cp_async_commit();
      multiply(shared.stages[reading]);
      filling = reading;
      reading = reading + 1 == STAGES ? 0 : reading + 1;
    }
    dev::cp_async_wait<0>();
  }

  // Split-K: `parts` blocks have summed a share each. All leave their sums in `partial`, of
  // parts * BM * BN floats, and the one that finds itself last adds them in the order of the parts,
  // so that the result does not depend on which block that is. Returns whether this is the one.
  // `arrivals` is 0 before and after.
  DEVICE_INLINE bool combine(Shared& shared, float* partial, unsigned* arrivals, int part,
                             int parts) {
    float4* mine = reinterpret_cast<float4*>(partial) + part * (BM * BN / 4) + threadIdx.x;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j += 4)
        mine[(i * TN + j) / 4 * threads] = swapped(i, j);
    __syncthreads();
    if (threadIdx.x == 0) shared.ticket = dev::arrive(arrivals);
    __syncthreads();
    if (shared.ticket != parts - 1) return false;
    if (threadIdx.x == 0) *arrivals = 0;
    const float4* others = reinterpret_cast<const float4*>(partial) + threadIdx.x;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++) sums[i][j] = 0.f;
#pragma unroll 1
    for (int p = 0; p < parts; p++, others += BM * BN / 4)
#pragma unroll
      for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j += 4) {
          const float4 v = others[(i * TN + j) / 4 * threads];
          sums[i][j + 1] += v.x;
          sums[i][j] += v.y;
          sums[i][j + 3] += v.z;
          sums[i][j + 2] += v.w;
        }
    return true;
  }
};

// Copies slices of w[k][n], rows `pitch` apart: this thread has four columns and every `step`-th
// row. pitch is a multiple of 4, and columns from it on count as zeros; rows come in whole slices.
template <class Tile>
struct ColumnRows {
  static constexpr int across = Tile::BN / 4, step = Tile::threads / across;
  static constexpr int rows = Tile::BK / step;
  static_assert(Tile::threads % across == 0 && Tile::BK % step == 0, "copies are even");

  const float* w;
  const int& pitch;  // the kernel's parameter itself, which costs no register
  int next, to;
  bool wanted;

  DEVICE_INLINE ColumnRows(const float* w, const int& pitch, int n0, int term)
      : w(w), pitch(pitch) {
    const int row = threadIdx.x / across, column = threadIdx.x % across * 4;
    to = row * Tile::BN + column;
    wanted = n0 + column < pitch;
    next = (term + row) * pitch + n0 + column;
  }

  // Begins the copies of a slice and goes on to the next.
  DEVICE_INLINE void copy(float* shared) {
#pragma unroll
    for (int r = 0; r < rows; r++)
      dev::cp_async16(shared + to + r * step * Tile::BN, w + (next + r * step * pitch), wanted);
    next += Tile::BK * pitch;
  }
};
