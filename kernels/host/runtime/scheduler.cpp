// scheduler.cpp -- one block: its threads take turns, each running until it waits or ends. The
// order is that of their numbers, or a new random one for each round.
#include <cstring>

#include "checker.h"
#include "state.h"

namespace host {

static bool same_place(Place a, Place b) { return a.line == b.line && !strcmp(a.file, b.file); }

void block_barrier(Place caller) {
  Thread& thread = *run.current;
  thread.place = caller;
  thread.primitive = "__syncthreads()";
  thread.state = State::at_barrier;
  run.block.at_barrier++;
  switch_fiber(thread.fiber, run.scheduler);
}

static void begin_thread() {
  run.body(run.context);
  Thread& thread = *run.current;
  if (!thread.copies.empty()) {
    const Copy& copy = thread.copies.front();
    fail("%s ends without having waited for its asynchronous copy at %s",
         thread_text(thread).text, pc_text(copy.pc).text);
  }
  if (!thread.products.empty()) {
    fail("%s ends without having waited for its warpgroup's multiplication at %s",
         thread_text(thread).text, pc_text(thread.products.front().pc).text);
  }
  run.block.ended++;
  leave_fiber();
}

static void resume(Thread& thread) {
  run.current = &thread;
  thread_index = thread.index;
  checker_turn_begins();
  switch_fiber(run.scheduler, thread.fiber);
  run.current = nullptr;
  if (overran_stack(thread.number)) {
    report("%s needs more than %zu bytes of stack", thread_text(thread).text, stack_bytes);
  }
}

// All threads wait or have ended. Lets them go on from a barrier, or reports why they cannot.
static void release_barrier() {
  Block& block = run.block;
  Thread *waiting = nullptr, *ended = nullptr, *elsewhere = nullptr, *in_warp = nullptr;
  for (Thread& thread : block.threads) {
    if (thread.state == State::ended) ended = &thread;
    if (thread.state == State::in_warp) in_warp = &thread;
    if (thread.state != State::at_barrier) continue;
    if (!waiting) waiting = &thread;
    if (!same_place(thread.place, waiting->place)) elsewhere = &thread;
  }
  const Thread& stuck = in_warp ? *in_warp : *waiting;
  const Text who = thread_text(stuck), where = place_text(stuck.place);
  if (in_warp) {
    const unsigned missing = stuck.mask & ~block.warps[stuck.number / warp_size].arrived;
    return report("deadlock: %s waits in %s at %s for lanes %08x, which never come", who.text,
                  stuck.primitive, where.text, missing);
  }
  if (elsewhere) {
    return report("divergent barrier: %s waits in __syncthreads() at %s, %s in another at %s",
                  who.text, where.text, thread_text(*elsewhere).text,
                  place_text(elsewhere->place).text);
  }
  if (ended) {
    return report("missed barrier: %s waits in __syncthreads() at %s, but %s has ended", who.text,
                  where.text, thread_text(*ended).text);
  }
  for (Thread& thread : block.threads) thread.state = State::ready;
  for (Warp& warp : block.warps) warp.epoch = 0;
  block.at_barrier = 0;
  block.epoch++;
}

static void begin_block() {
  Block& block = run.block;
  block.ended = block.at_barrier = 0;
  block.has_share = false;
  block.first_epoch = ++block.epoch;
  for (Warp& warp : block.warps) warp = {};
  for (Thread& thread : block.threads) {
    thread.state = State::ready;
    thread.call_pc = 0;
    thread.closed_groups = thread.closed_products = 0;
    thread.products.clear();
    thread.copies.clear();
    prepare(thread.fiber, thread.number, begin_thread);
  }
}

void run_block() {
  begin_block();
  Block& block = run.block;
  static std::vector<unsigned> order;
  order.resize(block.threads.size());
  for (unsigned i = 0; i < order.size(); i++) order[i] = i;
  while (block.ended < order.size()) {
    if (run.launch->seed) run.random.shuffle(order);
    bool ran = false;
    for (unsigned number : order) {
      if (block.threads[number].state != State::ready) continue;
      resume(block.threads[number]);
      if (run.failed) return;
      ran = true;
    }
    if (!ran) release_barrier();
    if (run.failed) return;
  }
}

}  // namespace host
