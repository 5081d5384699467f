// handover.cpp -- what blocks tell each other: arrivals, signals and waits for them, and a queue of
// items that they share. Blocks run one after another, so that nothing needs to be made visible;
// what is in order with what, check mode knows (order.cpp).
#include <algorithm>

#include "checker.h"
#include "state.h"

namespace host {

// Counts one more at a counter, for what the block has done so far.
static unsigned count_up(unsigned* counter, uintptr_t pc) {
  run.current->call_pc = pc;
  check_access(counter, sizeof *counter, Access::atomic, pc);
  checker_release(counter);
  return (*counter)++;
}

unsigned arrive(unsigned* counter) {
  const auto pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  run.current->call_pc = pc;
  checker_acquire(counter);
  const unsigned before = count_up(counter, pc);
  run.current->call_pc = 0;
  return before;
}

void signal(unsigned* counter) {
  count_up(counter, reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
  run.current->call_pc = 0;
}

// The blocks before have done all that they will ever do. What is missing could come from a later
// block alone, which on a GPU may not begin before this one has ended.
void wait_for_signals(const unsigned* counter, unsigned count) {
  const auto pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  run.current->call_pc = pc;
  check_access(counter, sizeof *counter, Access::atomic, pc);
  if (*counter < count) {
    fail("endless: %s waits for %u signals at %s, of which %u have come; no block before this one "
         "will send another", thread_text(*run.current).text, count, pc_text(pc).text, *counter);
  }
  // Of more than it waits for, any may be those that it has seen.
  if (*counter == count) checker_acquire(counter);
  run.current->call_pc = 0;
}

// A block claims its share of what is left and is then told that all is gone: as if the others
// claimed at the same time. By the seed shares differ; the last block takes what there is.
int claim(unsigned* queue, int count) {
  const auto pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  run.current->call_pc = pc;
  check_access(queue, sizeof *queue, Access::atomic, pc);
  run.current->call_pc = 0;
  Block& block = run.block;
  const unsigned left = static_cast<unsigned>(count) - std::min(*queue, static_cast<unsigned>(count));
  if (!block.has_share) {
    block.has_share = true;
    block.share = (left + run.blocks_to_come) / (run.blocks_to_come + 1);
    if (run.launch->seed) block.share = static_cast<unsigned>(run.random.next() % (2 * block.share + 1));
    if (!run.blocks_to_come) block.share = left;
  }
  if (!block.share || !left) return -1;
  block.share--;
  return static_cast<int>((*queue)++);
}

}  // namespace host
