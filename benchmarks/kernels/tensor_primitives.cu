// Every primitive of tensor_cores.cuh and half.cuh, alone; benchmarks/gpu_tensor_primitives.py
// launches each and says what must come out, bit for bit.
//
// Arrays: flat. Launch: given with each kernel. Shared memory: sizeof of the struct that a kernel
// uses.
#include "tensor_cores.cuh"

// Blocks of 64. x: pairs * 2 floats, none of them NaN, whose bits two machines may choose. rounded:
// each pair as two halves; back: those as floats; tf32: the bits that a multiplication looks at.
extern "C" __global__ void __launch_bounds__(64) conversions(const float* x, int pairs,
                                                             unsigned* rounded, float* back,
                                                             unsigned* tf32) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= pairs) return;
  rounded[i] = dev::pack_halves(x[2 * i], x[2 * i + 1]);
  const float2 values = dev::unpack_halves(rounded[i]);
  back[2 * i] = values.x;
  back[2 * i + 1] = values.y;
  for (int e = 0; e < 2; e++)
    tf32[2 * i + e] = dev::round_to_tf32(__float_as_uint(x[2 * i + e])) & ~0x1fffu;
}

// One block of 64 threads, of which each copies the first 0, 2, ..., 16 bytes of 16, through the L1
// cache or past it. x: 512 halves; out: 2 * 512.
struct Landing {
  uint4 chunks[2][64];
};

extern "C" __global__ void __launch_bounds__(64) partial_copies(const unsigned short* x,
                                                                uint4* out) {
  Landing& landing = SHARED_STRUCT(Landing);
  const int i = threadIdx.x, next = (i + 1) % 64, bytes = 2 * (i % 9);
  dev::cp_async16_first<false>(&landing.chunks[0][i], x + 8 * i, bytes);
  dev::cp_async16_first<true>(&landing.chunks[1][i], x + 8 * i, bytes);
  dev::cp_async_commit();
  dev::cp_async_wait<0>();
  __syncthreads();
  out[i] = landing.chunks[0][next];
  out[64 + i] = landing.chunks[1][next];
}

// One warp. x: 32 rows of 16 bytes, from which each lane takes one, in another order than they lie.
// out[4 * lane + m]: its word of matrix m.
struct Rows {
  uint4 rows[32];
};

extern "C" __global__ void __launch_bounds__(32) matrices(const uint4* x, unsigned* out) {
  Rows& shared = SHARED_STRUCT(Rows);
  const int lane = threadIdx.x;
  shared.rows[lane] = x[lane];
  __syncwarp();
  unsigned words[4];
  dev::load_matrices(words, &shared.rows[(5 * lane + 3) % 32]);
  for (int m = 0; m < 4; m++) out[4 * lane + m] = words[m];
}

// One warp multiplies x, 16 rows of two chunks, by w, 8 columns of two chunks, and adds the product
// to sums, 16 rows of 8.
template <class Element>
__global__ void __launch_bounds__(32) multiplication(const Element* x, const Element* w,
                                                     float* sums) {
  constexpr int chunk = 16 / sizeof(Element);
  Rows& shared_x = SHARED_STRUCT(Rows);
  Rows& shared_w = *(&shared_x + 1);
  const int lane = threadIdx.x;
  shared_x.rows[lane] = *reinterpret_cast<const uint4*>(x + lane * chunk);
  if (lane < 16) shared_w.rows[lane] = *reinterpret_cast<const uint4*>(w + lane * chunk);
  __syncwarp();
  unsigned a[4], b[4];
  dev::load_matrices(a, &shared_x.rows[lane % 16 * 2 + lane / 16]);
  dev::load_matrices(b, &shared_w.rows[lane % 8 * 2 + lane / 8 % 2]);
  const unsigned factors[2] = {b[0], b[1]};
  float* own = sums + lane / 4 * 8 + lane % 4 * 2;
  float d[4] = {own[0], own[1], own[64], own[65]};
  dev::multiply<Element>(d, a, factors);
  for (int e = 0; e < 4; e++) own[e / 2 * 64 + e % 2] = d[e];
}
