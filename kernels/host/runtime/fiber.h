// fiber.h -- fibers: threads of control that hand over to each other by name, each with its own
// stack. A switch saves what a called function must preserve, and nothing else.
#pragma once
#include <cstddef>

#if !defined(__x86_64__) && !defined(HOST_UCONTEXT)
#define HOST_UCONTEXT  // machines whose registers fiber.cpp does not know
#endif
#ifdef HOST_UCONTEXT
#include <ucontext.h>
#endif

namespace host {

struct Fiber {
#ifdef HOST_UCONTEXT
  ucontext_t context;
#else
  void* stack_pointer = nullptr;
#endif
};

constexpr size_t stack_bytes = 64 << 10;

// The lowest byte of stack `index`, 0 to 1023. Stacks lie side by side, and under all of them a
// stretch that may not be touched.
static char* fiber_stack(size_t index);

// Makes a fiber begin, on stack `index`, with entry(), which must never return.
static void prepare(Fiber& fiber, size_t index, void (*entry)());

// Stops here, as `from`, and goes on with `to`; returns when something switches to `from`.
static void switch_fiber(Fiber& from, Fiber& to);

// Whether the fiber on stack `index` has used more of it than there is.
static bool overran_stack(size_t index);
static bool below_stacks(const void* address);

}  // namespace host
