// memory.cpp -- shared memory, poisoned anew for each block; atomics.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "checker.h"
#include "state.h"

namespace host {

// What a block of compute capability 9.0 can have; earlier ones have less.
constexpr size_t most_shared_bytes = 227 << 10;
constexpr size_t shared_alignment = 1024;  // as device.cuh declares it for the GPU

// Dynamic shared memory ends, to within its alignment, where a page begins that nobody may touch.
static char* place_dynamic_shared(size_t bytes) {
  static char* end = nullptr;
  if (!end) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t room = (most_shared_bytes + page - 1) / page * page;
    void* start = mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0);
    if (start == MAP_FAILED) abort();
    end = static_cast<char*>(start) + room;
    mprotect(end, page, PROT_NONE);
  }
  return end - (bytes + shared_alignment - 1) / shared_alignment * shared_alignment;
}

static void memory_launch_begins() {
  const size_t dynamic = run.launch->shared_bytes, fixed = run.library.static_shared_bytes;
  if (dynamic > most_shared_bytes || dynamic + fixed > most_shared_bytes) {
    return report("%zu bytes of shared memory are asked for; a block can have %zu",
                  dynamic + fixed, most_shared_bytes);
  }
  run.dynamic_shared = place_dynamic_shared(dynamic);
}

static void memory_block_begins() {
  memset(run.dynamic_shared, poison, run.launch->shared_bytes);
  memset(run.library.static_shared, poison, run.library.static_shared_bytes);
}

void* dynamic_shared_memory(size_t bytes) {
  if (bytes > run.launch->shared_bytes) {
    fail("%s uses %zu bytes of dynamic shared memory; the launch gives %zu",
         thread_text(*run.current).text, bytes, run.launch->shared_bytes);
  }
  return run.dynamic_shared;
}

void atomic_load(const void* address, void* value, size_t bytes) {
  const auto pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  run.current->call_pc = pc;
  check_access(address, bytes, Access::atomic, pc);
  memcpy(value, address, bytes);
}

void atomic_store(void* address, const void* value, size_t bytes) {
  memcpy(address, value, bytes);
  run.current->call_pc = 0;
}

}  // namespace host
