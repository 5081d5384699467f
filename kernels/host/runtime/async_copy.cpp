// async_copy.cpp -- cp.async. A copy may land at any time between its start and its wait: by the
// launch's seed each lands at once or only when waited for. Until it is waited for, what is read is
// poison, and in check mode an error.
#include <cstring>

#include "checker.h"
#include "state.h"

namespace host {

static void land(const Copy& copy) {
  if (copy.wanted) memcpy(copy.shared, copy.global, copy.wanted);
  memset(copy.shared + copy.wanted, 0, copy.bytes - copy.wanted);
}

void copy_async(void* shared, const void* global, int bytes, int wanted) {
  Thread& thread = *run.current;
  const uintptr_t pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  thread.call_pc = pc;
  const auto misaligned = [=](const void* address) {
    return reinterpret_cast<uintptr_t>(address) % bytes != 0;
  };
  if (misaligned(shared) || (wanted && misaligned(global))) {
    fail("misaligned: %s copies %d bytes asynchronously from or to an address that is no multiple "
         "of %d at %s", thread_text(thread).text, bytes, bytes, pc_text(pc).text);
  }
  if (wanted) {
    // A GPU reads what is wanted; compute-sanitizer's memcheck judges all of it.
    check_inside(global, bytes, pc);
    check_access(global, wanted, Access::read, pc);
  }
  check_access(shared, bytes, Access::begin_copy, pc);
  const bool at_once = run.launch->seed && run.random.next() & 1;
  const Copy copy = {static_cast<char*>(shared), static_cast<const char*>(global), bytes, wanted,
                     at_once, thread.closed_groups, pc};
  if (at_once) {
    land(copy);
  } else {
    memset(shared, poison, bytes);
  }
  thread.copies.push_back(copy);
  thread.call_pc = 0;
}

void copy_async_commit() { run.current->closed_groups++; }

void copy_async_wait(int pending) {
  Thread& thread = *run.current;
  const int landing = thread.closed_groups - pending;
  size_t kept = 0;
  for (const Copy copy : thread.copies) {
    if (copy.group >= landing) {
      thread.copies[kept++] = copy;
      continue;
    }
    thread.call_pc = copy.pc;
    if (!copy.at_once) land(copy);
    // To other threads the data are written here, by this thread: they need a barrier after it.
    check_access(copy.shared, copy.bytes, Access::end_copy, copy.pc);
  }
  thread.call_pc = 0;
  thread.copies.resize(kept);
}

}  // namespace host
