// primitives.h -- what threads do together: barriers, exchanges within a warp, atomics, copies.
// Each is a word of CUDA over a function of the run time.
#pragma once
#include <cstddef>
#include <cstring>

#include "place.h"

namespace host {

void block_barrier(Place caller);                                         // scheduler.cpp
void warp_barrier(unsigned mask, Place caller);                           // warp.cpp
unsigned warp_ballot(unsigned mask, bool predicate, Place caller);        // warp.cpp
enum class Shuffle { index, up, down, exclusive_or };
unsigned warp_shuffle(unsigned mask, unsigned value, int operand, int width, Shuffle kind,
                      Place caller);                                      // warp.cpp
void atomic_load(const void* address, void* value, size_t bytes);         // memory.cpp
void atomic_store(void* address, const void* value, size_t bytes);        // memory.cpp
void* dynamic_shared_memory(size_t bytes);                                // memory.cpp
unsigned arrive(unsigned* counter);                                       // handover.cpp
void signal(unsigned* counter);                                           // handover.cpp
void wait_for_signals(const unsigned* counter, unsigned count);           // handover.cpp
int claim(unsigned* queue, int count);                                    // handover.cpp
void copy_async(void* shared, const void* global, int bytes, int wanted);  // async_copy.cpp
void copy_async_commit();                                                 // async_copy.cpp
void copy_async_wait(int pending);                                        // async_copy.cpp
[[noreturn]] void trap();                                                 // faults.cpp

}  // namespace host

HOST_INLINE void __syncthreads(HOST_CALLER) { host::block_barrier(caller); }
HOST_INLINE void __syncwarp(unsigned mask = ~0u, HOST_CALLER) { host::warp_barrier(mask, caller); }
[[noreturn]] HOST_INLINE void __trap() { host::trap(); }

HOST_INLINE unsigned __ballot_sync(unsigned mask, int predicate, HOST_CALLER) {
  return host::warp_ballot(mask, predicate != 0, caller);
}
HOST_INLINE int __any_sync(unsigned mask, int predicate, HOST_CALLER) {
  return host::warp_ballot(mask, predicate != 0, caller) != 0;
}
HOST_INLINE int __all_sync(unsigned mask, int predicate, HOST_CALLER) {
  return host::warp_ballot(mask, predicate == 0, caller) == 0;
}

namespace host {

template <class T>
HOST_INLINE T shuffle_bits(unsigned mask, T value, int operand, int width, Shuffle kind,
                           Place caller) {
  static_assert(sizeof(T) == 4, "shuffles of 4-byte values only");
  unsigned bits;
  memcpy(&bits, &value, 4);
  bits = warp_shuffle(mask, bits, operand, width, kind, caller);
  memcpy(&value, &bits, 4);
  return value;
}

}  // namespace host

#define HOST_SHUFFLE(name, kind)                                                                   \
  template <class T>                                                                               \
  HOST_INLINE T name(unsigned mask, T value, int operand, int width = 32, HOST_CALLER) {           \
    return host::shuffle_bits(mask, value, operand, width, host::Shuffle::kind, caller);           \
  }
HOST_SHUFFLE(__shfl_sync, index)
HOST_SHUFFLE(__shfl_up_sync, up)
HOST_SHUFFLE(__shfl_down_sync, down)
HOST_SHUFFLE(__shfl_xor_sync, exclusive_or)
#undef HOST_SHUFFLE

namespace host {

// A thread is never interrupted between the two calls. They are the run time's, so that check mode
// does not take them for plain accesses.
template <class T, class Update>
HOST_INLINE T atomic_update(T* address, Update update) {
  T old;
  atomic_load(address, &old, sizeof(T));
  const T updated = update(old);
  atomic_store(address, &updated, sizeof(T));
  return old;
}

}  // namespace host

#define HOST_ATOMIC(name, T, updated)                                  \
  HOST_INLINE T name(T* address, T operand) {                          \
    return host::atomic_update(address, [=](T old) -> T { return updated; }); \
  }
#define HOST_ATOMICS(T)                                       \
  HOST_ATOMIC(atomicAdd, T, old + operand)                    \
  HOST_ATOMIC(atomicMin, T, operand < old ? operand : old)    \
  HOST_ATOMIC(atomicMax, T, old < operand ? operand : old)    \
  HOST_ATOMIC(atomicOr, T, old | operand)                     \
  HOST_INLINE T atomicExch(T* address, T operand) {           \
    return host::atomic_update(address, [=](T) -> T { return operand; }); \
  }                                                           \
  HOST_INLINE T atomicCAS(T* address, T expected, T desired) { \
    return host::atomic_update(address,                       \
                               [=](T old) -> T { return old == expected ? desired : old; }); \
  }
HOST_ATOMICS(int)
HOST_ATOMICS(unsigned)
HOST_ATOMICS(unsigned long long)
HOST_ATOMIC(atomicAdd, float, old + operand)
#undef HOST_ATOMICS
#undef HOST_ATOMIC
