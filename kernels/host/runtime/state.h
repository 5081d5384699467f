// state.h -- the block that is running, its threads, and the run they belong to.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "../cuda.h"
#include "fiber.h"

namespace host {

constexpr unsigned warp_size = 32;

// What nobody has written: bytes of all ones are a NaN as a float and -1 as an int.
constexpr int poison = 0xFF;

enum class State : uint8_t { ready, at_barrier, in_warp, ended };

// A copy from global to shared memory on its way.
struct Copy {
  char* shared;
  const char* global;
  int bytes;
  int wanted;      // the first so many; zeros instead of the others
  bool at_once;    // landed when begun
  int group;       // how many groups the thread had closed before
  uintptr_t pc;
};

// A warpgroup's multiplication that has not been waited for: a thread's part of it.
struct Product {
  float* sums;
  int columns;
  const char *a, *b;  // matrices in shared memory
  int chunk;          // the first one of their rows
  int group;          // how many groups the thread had closed before
  uintptr_t pc;
};

struct Thread {
  Fiber fiber;
  unsigned number, lane;  // in its block, in its warp
  uint3 index;
  State state;
  Place place;            // of the primitive that it waits at
  const char* primitive;  // that primitive's name
  unsigned mask;          // of the warp collective
  uint32_t operand[2], result;  // of the warp collective
  void* fragments;        // of the tensor core's
  uintptr_t call_pc;      // of a primitive that is touching memory on the thread's behalf, or 0
  int closed_groups;      // of asynchronous copies
  std::vector<Copy> copies;
  int closed_products;    // groups of a warpgroup's multiplications
  std::vector<Product> products;
};

struct Warp {
  unsigned arrived;   // lanes that wait in a collective
  uint16_t epoch;     // how many warp barriers since the block's last barrier
};

struct Block {
  unsigned number;  // x fastest
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  unsigned ended, at_barrier;
  // Barriers, counted on from block to block of a launch; those of this block begin at first_epoch.
  uint32_t first_epoch, epoch;
  bool has_share;  // of a queue's items (handover.cpp), since its first claim
  unsigned share;  // how many it may still claim
};

// splitmix64 (Steele, Lea, Flood 2014): small, and its numbers are the same with every compiler.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; i--) std::swap(items[i - 1], items[next() % i]);
  }
};

// The library that the kernel lies in.
struct Library {
  uintptr_t base = 0, end = 0;  // base: what program counters in its debug information count from
  char* static_shared = nullptr;
  size_t static_shared_bytes = 0;
};

// The launch in progress.
struct Run {
  const Launch* launch;
  void (*body)(void* context);
  void* context;
  Library library;
  Block block;
  unsigned blocks_to_come;  // after the running one
  Fiber scheduler;
  Thread* current = nullptr;  // the running thread; null while the scheduler runs
  Random random;
  char* dynamic_shared;
  bool failed = false;
  char message[1024];  // what went wrong
};
static Run run;

// Sets the launch's message, if it has none yet, and marks it failed.
void report(const char* format, ...) __attribute__((format(printf, 1, 2)));
// The same from a fiber, which ends here.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void leave_fiber();

// Pieces of messages. Fixed arrays, because a fiber that fails is never unwound.
struct Text {
  char text[192];
};
Text thread_text(unsigned block, unsigned thread);
inline Text thread_text(const Thread& thread) {
  return thread_text(run.block.number, thread.number);
}
Text place_text(Place place);
Text pc_text(uintptr_t pc);

void run_block();  // scheduler.cpp

}  // namespace host
