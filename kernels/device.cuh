// device.cuh -- the one header that every kernel includes, and the only file with PTX beside
// half.cuh and tensor_cores.cuh.
//
// A kernel is compiled twice from the same text: by NVRTC for the GPU, where each dev:: function
// below is one or two instructions, and by a C++ compiler for the CPU (tests, `--device host`),
// where the same names are carried out by host/.
#pragma once

#if defined(__CUDACC_RTC__) || defined(__CUDACC__)
#define HOST_BUILD 0
#define DEVICE_INLINE __device__ __forceinline__
#define FLT_MAX 3.402823466e+38f
#define INFINITY __int_as_float(0x7f800000)

// The block's dynamic shared memory, seen as one struct: `Tiles& tiles = SHARED_STRUCT(Tiles);`.
extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];
#define SHARED_STRUCT(T) (*reinterpret_cast<T*>(dynamic_shared_memory))

namespace dev {

DEVICE_INLINE unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Copies 16 bytes from global to shared memory without holding up the thread; writes zeros where
// `wanted` is false. Both addresses are multiples of 16. Before sm_80 the thread copies at once.
DEVICE_INLINE void cp_async16(void* shared, const void* global, bool wanted) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(wanted ? 16 : 0)
               : "memory");
#else
  *static_cast<uint4*>(shared) =
      wanted ? *static_cast<const uint4*>(global) : make_uint4(0, 0, 0, 0);
#endif
}

// The same for 4 bytes.
DEVICE_INLINE void cp_async4(void* shared, const void* global, bool wanted) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(wanted ? 4 : 0)
               : "memory");
#else
  *static_cast<unsigned*>(shared) = wanted ? *static_cast<const unsigned*>(global) : 0;
#endif
}

// Closes the group of the copies that this thread has begun since the last group.
DEVICE_INLINE void cp_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all but this thread's newest `pending` groups have landed. Other threads see them
// after the next __syncthreads().
template <int pending>
DEVICE_INLINE void cp_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
#endif
}

// Counts a block's arrival at `counter` and returns how many came before it. What the block wrote
// before (with a __syncthreads() between) is seen by the blocks that arrive later, after their next
// __syncthreads(). Called by one thread of each block.
DEVICE_INLINE unsigned arrive(unsigned* counter) {
  __threadfence();
  const unsigned before = atomicAdd(counter, 1u);
  __threadfence();
  return before;
}

// Counts one more at `counter`, as arrive() does, of a block that wants nothing of others.
DEVICE_INLINE void signal(unsigned* counter) {
  __threadfence();
  atomicAdd(counter, 1u);
}

// Waits until there are `count` signals at `counter`. What the blocks that sent them wrote before is
// seen by this thread, and after the next __syncthreads() by its block. Whoever waits must be sure
// that the signals come from blocks that run already: others may never begin.
DEVICE_INLINE void wait_for_signals(const unsigned* counter, unsigned count) {
  unsigned found;
  do {
    asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(found) : "l"(counter) : "memory");
  } while (found < count);
}

// Claims the next of the items 0 .. count - 1 from a queue of all blocks, 0 at first; -1 when there
// is none left. Items are claimed in order, so that an item's claimant may wait for signals of those
// before: their claimants run.
DEVICE_INLINE int claim(unsigned* queue, int count) {
  const unsigned item = atomicAdd(queue, 1u);
  return item < static_cast<unsigned>(count) ? static_cast<int>(item) : -1;
}

}  // namespace dev

#else
#include "host/cuda.h"
#define HOST_BUILD 1
#define DEVICE_INLINE HOST_INLINE
#define SHARED_STRUCT(T) (*reinterpret_cast<T*>(host::dynamic_shared_memory(sizeof(T))))

namespace dev {

// The run time keeps the caller's address for its messages: these are always inlined.
HOST_INLINE void cp_async16(void* shared, const void* global, bool wanted) {
  host::copy_async(shared, global, 16, wanted ? 16 : 0);
}
HOST_INLINE void cp_async4(void* shared, const void* global, bool wanted) {
  host::copy_async(shared, global, 4, wanted ? 4 : 0);
}
HOST_INLINE void cp_async_commit() { host::copy_async_commit(); }
template <int pending>
HOST_INLINE void cp_async_wait() {
  host::copy_async_wait(pending);
}
HOST_INLINE unsigned arrive(unsigned* counter) { return host::arrive(counter); }
HOST_INLINE void signal(unsigned* counter) { host::signal(counter); }
HOST_INLINE void wait_for_signals(const unsigned* counter, unsigned count) {
  host::wait_for_signals(counter, count);
}
HOST_INLINE int claim(unsigned* queue, int count) { return host::claim(queue, count); }

}  // namespace dev
#endif

namespace dev {

template <class T>
DEVICE_INLINE T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

}  // namespace dev

// A map of activations in memory: (images, height, width) pixels of `channels` numbers each, pixel
// after pixel, `pitch` numbers apart. A map inside a wider one (a route) has pitch > channels.
struct Map {
  int images, height, width, channels, pitch;
};
