// tensor_cores.h -- tensor_cores.cuh on the CPU.
#pragma once
#include "half.h"

namespace host {

void load_matrices(unsigned* registers, const void* row, Place caller);  // tensor_cores.cpp
enum class Products { halves, tf32 };
void multiply_fragments(float* sums, const unsigned* a, const unsigned* b, Products kind,
                        Place caller);                                   // tensor_cores.cpp

}  // namespace host

namespace dev {

// Launches run one after another.
inline void let_next_launch_begin() {}
inline void wait_for_launch_before() {}

// Half of the last bit that is kept is added to the magnitude, and the bits below are cut off.
inline unsigned round_to_tf32(unsigned bits) {
  const bool finite = (bits & 0x7f800000) != 0x7f800000;
  return finite ? (bits + 0x1000) & ~0x1fffu : bits;
}

template <bool cached>
HOST_INLINE void cp_async16_first(void* shared, const void* global, int bytes) {
  host::copy_async(shared, global, 16, bytes);
}

HOST_INLINE void load_matrices(unsigned (&registers)[4], const void* row, HOST_CALLER) {
  host::load_matrices(registers, row, caller);
}

template <class Element>
HOST_INLINE void multiply(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                          HOST_CALLER) {
  host::multiply_fragments(sums, a, b,
                           sizeof(Element) == 2 ? host::Products::halves : host::Products::tf32,
                           caller);
}

}  // namespace dev
