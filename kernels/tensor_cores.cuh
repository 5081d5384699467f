// tensor_cores.cuh -- the numbers that tensor cores multiply, and the instructions that feed them.
//
// A tensor core multiplies small matrices whose numbers are spread over a warp's registers: all 32
// lanes execute the instruction together, none may be missing. For D += A B of 16 x 16 by 16 x 8
// numbers of 16 bits, with g = lane / 4 and q = lane % 4, a lane holds ("PTX ISA", matrix fragments
// of mma.m16n8k16):
//
//   A: rows g and g + 8, terms 2 q, 2 q + 1, 2 q + 8 and 2 q + 9, two to a register
//   B: column g, the same terms          D: rows g and g + 8, columns 2 q and 2 q + 1, as floats
//
// ldmatrix hands out just these: it reads 8 x 8 matrices of 16 bits from shared memory, 8 rows of
// 16 bytes at 8 addresses, and gives a lane the 4 bytes at 4 q of row g. Nothing in this says that
// the 4 bytes are two numbers: with one number of 32 bits in their place, the same registers are
// the fragments of mma.m16n8k8 for tf32, floats whose lowest 13 bits are not looked at. So kernels
// here are written once for both; a "chunk" is 16 bytes of a row, and a multiplication takes two
// chunks.
#pragma once
#include "half.cuh"

#if HOST_BUILD
#include "host/tensor_cores.h"
#else

namespace dev {

// A float's bits, rounded to the nearest of tf32, ties away from zero. NaN and infinities stay.
DEVICE_INLINE unsigned round_to_tf32(unsigned bits) {
#if __CUDA_ARCH__ >= 800
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(__uint_as_float(bits)));
#endif
  return bits;
}

// Begins a copy of the first `bytes`, 0 to 16 and even, of 16 bytes to shared memory; zeros follow.
// Both addresses are multiples of 16, and all 16 bytes are inside of the array unless `bytes` is 0.
// Before sm_80 the thread copies at once. `cached`: by way of the L1 cache, for what the block reads
// again.
template <bool cached>
DEVICE_INLINE void cp_async16_first(void* shared, const void* global, int bytes) {
#if __CUDA_ARCH__ >= 800
  if (cached)
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes)
                 : "memory");
  else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes)
                 : "memory");
#else
  const auto* halves = static_cast<const unsigned short*>(global);
  unsigned words[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    words[i] = bytes > 4 * i ? halves[2 * i] : 0;
    if (bytes > 4 * i + 2) words[i] |= static_cast<unsigned>(halves[2 * i + 1]) << 16;
  }
  *static_cast<uint4*>(shared) = bytes == 16
                                     ? *static_cast<const uint4*>(global)
                                     : make_uint4(words[0], words[1], words[2], words[3]);
#endif
}

// A launch may begin before the one before it has ended, where the host asks for that (programmatic
// dependent launch, from sm_90 on; elsewhere these do nothing). A block does what needs none of the
// other launch's results and waits for its end, which is also the end of all launches before: each
// waits in turn. A launch lets the next begin when all its blocks say so.
DEVICE_INLINE void let_next_launch_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
DEVICE_INLINE void wait_for_launch_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Four 8 x 8 matrices: lane l gives the address of row l % 8 of matrix l / 8, 16 bytes.
DEVICE_INLINE void load_matrices(unsigned (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}

// sums += a * b in numbers of type Element, half or float as tf32; the sums are floats.
template <class Element>
DEVICE_INLINE void multiply(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

template <>
DEVICE_INLINE void multiply<half>(float (&sums)[4], const unsigned (&a)[4],
                                  const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else  // Turing takes half as many terms at a time
#pragma unroll
  for (int h = 0; h < 2; h++)
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[2 * h]), "r"(a[2 * h + 1]), "r"(b[h]));
#endif
}

template <>
DEVICE_INLINE void multiply<float>(float (&sums)[4], const unsigned (&a)[4],
                                   const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();  // Turing has no tf32; launchers refuse it
#endif
}

}  // namespace dev
#endif
