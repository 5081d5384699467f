// warpgroups.h -- warpgroups.cuh on the CPU. A multiplication is done when it is waited for, and
// reads its operands then: whoever has written to them meanwhile, or reads the sums too early, gets
// other numbers, and check mode sees the race.
#pragma once
#include "half.h"

namespace host {

// Starts a multiplication of this thread's part of 64 x 16 by 16 x columns halves: warpgroups.cpp.
void warpgroup_multiply(float* sums, int columns, const char* a, const char* b, int chunk,
                        Place caller);
void warpgroup_commit();
void warpgroup_wait(int pending);

}  // namespace host

namespace dev {

struct SharedMatrix {
  const char* rows;
  int chunk = 0;

  explicit SharedMatrix(const void* rows) : rows(static_cast<const char*>(rows)) {}

  SharedMatrix from_chunk(int index) const {
    SharedMatrix moved = *this;
    moved.chunk += index;
    return moved;
  }
};

inline void show_tensor_cores() {}
inline void warpgroup_begin() {}
inline void warpgroup_commit() { host::warpgroup_commit(); }
template <int pending>
inline void warpgroup_wait() {
  host::warpgroup_wait(pending);
}

template <int N>
HOST_INLINE void warpgroup_multiply(float (&sums)[N / 8][4], SharedMatrix a, SharedMatrix b,
                                    HOST_CALLER) {
  host::warpgroup_multiply(sums[0], N, a.rows, b.rows, a.chunk, caller);
}

}  // namespace dev
