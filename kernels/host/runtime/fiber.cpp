// fiber.cpp -- the switch between fibers, in fifteen instructions on x86-64, by ucontext elsewhere.
#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#ifndef HOST_UCONTEXT
// The System V convention: a called function preserves rbx, rbp, r12 to r15 and the stack pointer;
// the return address is on the stack.
extern "C" void host_switch_stack(void** save, void* resume);
asm(R"(
  .text
  .globl host_switch_stack
  .hidden host_switch_stack
  .type host_switch_stack, @function
host_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size host_switch_stack, .-host_switch_stack
)");
#endif

namespace host {

constexpr size_t most_stacks = 1024, guard_bytes = 1 << 20;
constexpr uint64_t canary = 0x736b6361747320a5;

// One mapping for all, as their number in a process is limited: an overflow runs into the next
// stack. The canary tells of it before the next thread runs; the guard ends an endless recursion.
static char* stacks() {
  static char* start = nullptr;
  if (!start) {
    constexpr size_t bytes = guard_bytes + most_stacks * stack_bytes;
    void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages, guard_bytes, PROT_NONE) != 0) abort();
    start = static_cast<char*>(pages) + guard_bytes;
  }
  return start;
}

static char* fiber_stack(size_t index) { return stacks() + index * stack_bytes; }

static bool overran_stack(size_t index) {
  return *reinterpret_cast<const uint64_t*>(fiber_stack(index)) != canary;
}

static bool below_stacks(const void* address) {
  return static_cast<size_t>(stacks() - static_cast<const char*>(address)) <= guard_bytes;
}

static void prepare(Fiber& fiber, size_t index, void (*entry)()) {
  char* stack = fiber_stack(index);
  *reinterpret_cast<uint64_t*>(stack) = canary;
#ifdef HOST_UCONTEXT
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = stack_bytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#else
  // What host_switch_stack will pop: six registers and the address to go to; over them a null
  // return address, where debuggers stop, which also aligns the stack as on entry to a function.
  void** top = reinterpret_cast<void**>(stack + stack_bytes);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int registers = 0; registers < 6; registers++) *--top = nullptr;
  fiber.stack_pointer = top;
#endif
}

static void switch_fiber(Fiber& from, Fiber& to) {
#ifdef HOST_UCONTEXT
  swapcontext(&from.context, &to.context);
#else
  host_switch_stack(&from.stack_pointer, to.stack_pointer);
#endif
}

}  // namespace host
