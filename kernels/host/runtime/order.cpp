// order.cpp -- which accesses are in order with which, whoever happened to run first here.
//
// Two accesses of a block are in order if a __syncthreads() lies between: their epochs differ. Two
// of a warp are also if a __syncwarp() does. Blocks are in order by what they hand over alone: a
// dev::arrive() or dev::signal() *releases* what its block did in the epochs before, a dev::arrive()
// or a wait for signals *acquires* what has been released at its counter: for its thread at once, for
// the block's other threads from the next barrier on. Nothing is passed on: who wants what a third
// block did asks for it at that block's counter.
#include <algorithm>
#include <unordered_map>
#include <vector>

#include "shadow.h"
#include "state.h"

namespace host {

struct Release {
  size_t turn;  // of the block, in the order in which blocks ran
  uint32_t epoch;
};

struct Acquired {
  Release from;
  unsigned thread;
};

static std::vector<unsigned> blocks;        // that ran so far, in order
static std::vector<uint32_t> first_epochs;  // of each
static std::unordered_map<const void*, std::vector<Release>> releases;  // by counter
static std::vector<uint32_t> seen;     // by turn: the epoch of a release that the whole block sees
static std::vector<Acquired> acquired;  // in epoch acquired_in, by one thread each
static uint32_t acquired_in;

static void order_launch_begins() {
  blocks.clear();
  first_epochs.clear();
  releases.clear();
}

static void order_block_begins() {
  blocks.push_back(run.block.number);
  first_epochs.push_back(run.block.epoch + 1);
  seen.assign(blocks.size(), 0);
  acquired.clear();
}

static size_t turn_of(uint32_t epoch) {
  const auto after = std::upper_bound(first_epochs.begin(), first_epochs.end(), epoch);
  return after - first_epochs.begin() - 1;
}

// The number of the block that an epoch belonged to.
static unsigned block_of(uint32_t epoch) { return blocks[turn_of(epoch)]; }

// After a barrier, all threads see what one has acquired before.
static void share_acquired() {
  if (acquired_in == run.block.epoch) return;
  for (const Acquired& one : acquired) {
    uint32_t& until = seen[one.from.turn];
    until = std::max(until, one.from.epoch);
  }
  acquired.clear();
  acquired_in = run.block.epoch;
}

static void checker_release(const void* counter) {
  releases[counter].push_back({blocks.size() - 1, run.block.epoch});
}

static void checker_acquire(const void* counter) {
  share_acquired();
  for (const Release& from : releases[counter]) acquired.push_back({from, run.current->number});
}

// The epoch of a block's release up to which a thread of this one sees what it did.
static uint32_t seen_until(size_t turn, unsigned thread) {
  share_acquired();
  uint32_t until = seen[turn];
  for (const Acquired& one : acquired) {
    if (one.thread == thread && one.from.turn == turn) until = std::max(until, one.from.epoch);
  }
  return until;
}

static bool same_warp(const Record& a, const Record& b) {
  return a.thread / warp_size == b.thread / warp_size;
}

// Whether nothing orders an earlier access and this thread's present one.
static bool unordered(const Record& earlier, const Record& now) {
  if (earlier.epoch < run.block.first_epoch) {
    const uint32_t until = seen_until(turn_of(earlier.epoch), now.thread);
    return earlier.epoch > until ||
           (earlier.epoch == until && earlier.access != Access::atomic);  // not the release itself
  }
  if (earlier.epoch != now.epoch || earlier.thread == now.thread) return false;
  return !same_warp(earlier, now) || earlier.warp_epoch == now.warp_epoch;
}

}  // namespace host
