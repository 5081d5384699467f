// Every primitive that the kernels rely on, alone: asynchronous copies, shared memory, arguments,
// warp collectives, atomics, arithmetic. benchmarks/gpu_primitives.py launches each and says what
// must come out, bit for bit; the functions of `elementary` are held to a count of units in the
// last place.
//
// Arrays: float32, int32 and uint32, flat; out[k * count + i] is the k-th result of thread i.
// Launch: given with each kernel. Shared memory: sizeof of the struct that a kernel uses.
#include "device.cuh"

// One block of 64 threads. x: 64 float4, y: 64 floats. Each thread copies one of each and reads
// its neighbour's: x has landed after the wait that lets one group pend, y after the second wait.
struct Landing {
  float4 wide[64];
  float narrow[64];
};

extern "C" __global__ void __launch_bounds__(64) copies(const float4* x, const float* y,
                                                        float* out) {
  Landing& landing = SHARED_STRUCT(Landing);
  const int i = threadIdx.x, next = (i + 1) % 64;
  dev::cp_async16(&landing.wide[i], x + i, i % 3 != 0);
  dev::cp_async_commit();
  dev::cp_async4(&landing.narrow[i], y + i, i % 2 != 0);
  dev::cp_async_commit();
  dev::cp_async_wait<1>();
  __syncthreads();
  const float4 wide = landing.wide[next];
  out[i] = wide.x;
  out[64 + i] = wide.y;
  out[128 + i] = wide.z;
  out[192 + i] = wide.w;
  dev::cp_async_wait<0>();
  __syncthreads();
  out[256 + i] = landing.narrow[next];
}

// One thread: where the members of a struct in shared memory lie, and its address's remainder.
struct Mixed {
  unsigned char byte;
  int word;
  float2 pair;
  unsigned short half;
  float4 quad;
  unsigned long long mask;
};

extern "C" __global__ void shared_layout(int* out) {
  Mixed& mixed = SHARED_STRUCT(Mixed);
  const char* base = reinterpret_cast<const char*>(&mixed);
  out[0] = static_cast<int>(reinterpret_cast<unsigned long long>(base) % 16);
  out[1] = static_cast<int>(reinterpret_cast<const char*>(&mixed.word) - base);
  out[2] = static_cast<int>(reinterpret_cast<const char*>(&mixed.pair) - base);
  out[3] = static_cast<int>(reinterpret_cast<const char*>(&mixed.half) - base);
  out[4] = static_cast<int>(reinterpret_cast<const char*>(&mixed.quad) - base);
  out[5] = static_cast<int>(reinterpret_cast<const char*>(&mixed.mask) - base);
  out[6] = static_cast<int>(sizeof(Mixed));
}

// One thread: what arrives of arguments of every size, between one another.
extern "C" __global__ void parameters(int first, Map map, float scale, const float* none,
                                     long long offset, Map other, int* out) {
  out[0] = first;
  out[1] = map.images;
  out[2] = map.height;
  out[3] = map.width;
  out[4] = map.channels;
  out[5] = map.pitch;
  out[6] = __float_as_int(scale);
  out[7] = none == nullptr;
  out[8] = static_cast<int>(offset >> 32);
  out[9] = static_cast<int>(offset);
  out[10] = other.images;
  out[11] = other.pitch;
}

// One block of 64 threads, two warps. x: 64.
extern "C" __global__ void __launch_bounds__(64) collectives(const int* x, int* out) {
  const int i = threadIdx.x, lane = i % 32, own = x[i];
  const unsigned all = 0xffffffffu;
  out[i] = __shfl_sync(all, own, (lane * 7) % 32);
  out[64 + i] = __shfl_up_sync(all, own, 3);
  out[128 + i] = __shfl_down_sync(all, own, 5);
  out[192 + i] = __shfl_xor_sync(all, own, 16);
  out[256 + i] = static_cast<int>(__ballot_sync(all, own > 0));
  out[320 + i] = __any_sync(all, own == x[0]);
  out[384 + i] = __all_sync(all, own > -1000);
  // A half of each warp on its own, as in a loop that other threads have left.
  out[448 + i] = lane < 16 ? static_cast<int>(__ballot_sync(0xffffu, own % 2 != 0)) : -1;
}

// Blocks of 64. x: one number a thread. sums: 6 words, zero before; bits: one double word, zero.
extern "C" __global__ void __launch_bounds__(64) atomics(const int* x, unsigned* sums,
                                                         unsigned long long* bits) {
  const int own = x[blockIdx.x * blockDim.x + threadIdx.x];
  atomicAdd(reinterpret_cast<int*>(sums), own);
  atomicAdd(sums + 1, static_cast<unsigned>(own));
  atomicMax(sums + 2, static_cast<unsigned>(own));
  atomicOr(sums + 3, 1u << (own & 31));
  atomicCAS(sums + 4, 0u, 7u);
  atomicOr(bits, 1ull << (own & 63));
}

// Blocks of 64. x, y, z: count. Correctly rounded, so that there is one right answer, for
// subnormal numbers too; out holds the results' bits.
extern "C" __global__ void __launch_bounds__(64) arithmetic(const float* x, const float* y,
                                                            const float* z, int count, int* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float a = x[i], b = y[i], c = z[i];
  out[i] = __float_as_int(__fadd_rn(a, b));
  out[count + i] = __float_as_int(__fsub_rn(a, b));
  out[2 * count + i] = __float_as_int(__fmul_rn(a, b));
  out[3 * count + i] = __float_as_int(__fdiv_rn(a, b));
  out[4 * count + i] = __float_as_int(a / b);
  out[5 * count + i] = __float_as_int(sqrtf(fabsf(a)));
  out[6 * count + i] = __float_as_int(fmaf(a, b, c));
  out[7 * count + i] = __float_as_int(floorf(a));
  out[8 * count + i] = __float_as_int(rintf(a));
  out[9 * count + i] = __float_as_int(fminf(a, b));
  out[10 * count + i] = __float_as_int(fmaxf(a, b));
  out[11 * count + i] = static_cast<int>(fmaxf(fminf(a, 1e6f), -1e6f));
  out[12 * count + i] = __popc(static_cast<unsigned>(__float_as_int(a)));
  out[13 * count + i] = __ffs(__float_as_int(b));
  out[14 * count + i] = __clz(__float_as_int(fabsf(c)));
}

// Blocks of 64. x: count. Whether a product is rounded before it is added to: 1 if a * a + b, as
// plain C++ says it, has the bits of two roundings. The kernels' results may depend on it.
extern "C" __global__ void __launch_bounds__(64) contraction(const float* x, const float* y,
                                                             int count, int* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float plain = x[i] * x[i] + y[i];
  out[i] = __float_as_int(plain) == __float_as_int(__fadd_rn(__fmul_rn(x[i], x[i]), y[i]));
}

// Blocks of 64. x: count, any numbers; out: what the two libraries round differently.
extern "C" __global__ void __launch_bounds__(64) elementary(const float* x, int count,
                                                            float* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float a = x[i];
  out[i] = expf(a);
  out[count + i] = log1pf(fabsf(a));
  out[2 * count + i] = tanhf(a);
  out[3 * count + i] = logf(fabsf(a));
  out[4 * count + i] = expm1f(a);
}
