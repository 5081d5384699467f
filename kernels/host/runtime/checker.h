// checker.h -- check mode's account of memory.
#pragma once
#include <cstddef>
#include <cstdint>

#include "fiber.h"

namespace host {

enum class Access : uint8_t { read, write, atomic, begin_copy, end_copy };

#ifdef HOST_CHECK

static uintptr_t own_stack;  // the running thread's, where it may do as it likes
static void check_memory(uintptr_t start, size_t bytes, Access access, uintptr_t pc);

// Accounts for an access of the running thread; `pc` is the return address of its instruction. Does
// not return where something is wrong.
inline void check_access(const void* address, size_t bytes, Access access, uintptr_t pc) {
  const auto start = reinterpret_cast<uintptr_t>(address);
  if (start - own_stack >= stack_bytes) check_memory(start, bytes, access, pc);
}

// Checks that bytes are inside of an array, of which an instruction reads perhaps only the first.
static void check_inside(const void* address, size_t bytes, uintptr_t pc);

// Notes at a counter what this block has done so far.
static void checker_release(const void* counter);

// Puts what is noted at a counter before what this thread, and after its next barrier its block,
// will do.
static void checker_acquire(const void* counter);

static void checker_launch_begins();
static void checker_block_begins();
static void checker_turn_begins();  // a thread begins or goes on

#else

inline void check_access(const void*, size_t, Access, uintptr_t) {}
inline void check_inside(const void*, size_t, uintptr_t) {}
inline void checker_release(const void*) {}
inline void checker_acquire(const void*) {}
inline void checker_launch_begins() {}
inline void checker_block_begins() {}
inline void checker_turn_begins() {}

#endif

}  // namespace host
