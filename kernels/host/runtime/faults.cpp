// faults.cpp -- a kernel that touches memory it may not is an error of the launch, not the end of
// the process. While a launch runs, signals that a kernel raises end its fiber; those from anywhere
// else, other threads included, go to whoever handled them before.
#include "faults.h"

#include <pthread.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>

#include "state.h"

namespace host {

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static struct sigaction earlier[4];
static pthread_t launching;

static uintptr_t fault_pc(const void* context) {
#if defined(__x86_64__)
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
  return static_cast<uintptr_t>(machine.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return static_cast<const ucontext_t*>(context)->uc_mcontext.pc;
#else
  (void)context;
  return 0;
#endif
}

static void on_fault(int number, siginfo_t* what, void* context) {
  if (!pthread_equal(pthread_self(), launching) || !run.current) {
    // Not a kernel's. With the earlier handler back in place, the fault will occur again.
    for (int i = 0; i < 4; i++) {
      if (signals[i] == number) sigaction(number, &earlier[i], nullptr);
    }
    return;
  }
  const Thread& thread = *run.current;
  // Messages take return addresses, hence the 1; a primitive's fault is laid to its caller.
  const uintptr_t pc = thread.call_pc ? thread.call_pc : fault_pc(context) + 1;
  const Text who = thread_text(thread), where = pc_text(pc);
  if (number == SIGSEGV || number == SIGBUS) {
    if (below_stacks(what->si_addr)) {
      fail("%s needs more than %zu bytes of stack at %s", who.text, stack_bytes, where.text);
    }
    fail("out of bounds: %s touches address %p at %s", who.text, what->si_addr, where.text);
  }
  if (number == SIGFPE) fail("%s divides an integer by zero at %s", who.text, where.text);
  fail("%s meets an undefined operation at %s", who.text, where.text);
}

void trap() {
  const auto pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  fail("%s calls __trap() at %s", thread_text(*run.current).text, pc_text(pc).text);
}

FaultGuard::FaultGuard() {
  launching = pthread_self();
  // A fiber that has overrun its stack has none left to handle the signal on. The stack is this
  // operating-system thread's while the launch lasts; Python's faulthandler may have set another.
  static char* stack = static_cast<char*>(malloc(signal_stack_bytes));
  stack_t ours{};
  ours.ss_sp = stack;
  ours.ss_size = signal_stack_bytes;
  sigaltstack(&ours, &earlier_stack_);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  // SA_NODEFER: the handler does not return but switches fibers, so nothing would unblock signals.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int i = 0; i < 4; i++) sigaction(signals[i], &action, &earlier[i]);
}

FaultGuard::~FaultGuard() {
  for (int i = 0; i < 4; i++) sigaction(signals[i], &earlier[i], nullptr);
  sigaltstack(&earlier_stack_, nullptr);
}

}  // namespace host
