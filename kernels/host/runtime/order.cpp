// order.cpp -- which accesses are in order with which, whoever happened to run first here.
//
// Two accesses of a block are in order if a __syncthreads() lies between: their epochs differ. Two
// of a warp are also if a __syncwarp() does. Blocks are in order by dev::arrive() only: what one
// did in the epochs before its arrival comes before what later arrivals at the counter do after.
#include <algorithm>
#include <unordered_map>
#include <vector>

#include "shadow.h"
#include "state.h"

namespace host {

struct Arrival {
  size_t turn;  // of the block, in the order in which blocks ran
  uint32_t epoch;
};

static std::vector<unsigned> blocks;        // that ran so far, in order
static std::vector<uint32_t> first_epochs;  // of each
static std::unordered_map<const void*, std::vector<Arrival>> arrivals;  // by counter
static std::vector<uint32_t> seen;          // by turn: the epoch of an arrival before this block's
static uint32_t seen_since;                 // this block's arrival
static unsigned seen_by;

static void order_launch_begins() {
  blocks.clear();
  first_epochs.clear();
  arrivals.clear();
}

static void order_block_begins() {
  blocks.push_back(run.block.number);
  first_epochs.push_back(run.block.epoch + 1);
  seen.clear();
}

static size_t turn_of(uint32_t epoch) {
  const auto after = std::upper_bound(first_epochs.begin(), first_epochs.end(), epoch);
  return after - first_epochs.begin() - 1;
}

// The number of the block that an epoch belonged to.
static unsigned block_of(uint32_t epoch) { return blocks[turn_of(epoch)]; }

static void checker_arrival(const void* counter) {
  seen_since = run.block.epoch;
  seen_by = run.current->number;
  seen.resize(blocks.size());
  for (const Arrival& other : arrivals[counter]) {
    seen[other.turn] = std::max(seen[other.turn], other.epoch);
  }
  arrivals[counter].push_back({blocks.size() - 1, run.block.epoch});
}

static bool same_warp(const Record& a, const Record& b) {
  return a.thread / warp_size == b.thread / warp_size;
}

// Whether nothing orders an earlier access and this thread's present one.
static bool unordered(const Record& earlier, const Record& now) {
  if (earlier.epoch < run.block.first_epoch) {
    const bool arrived = !seen.empty() && (now.epoch > seen_since || now.thread == seen_by);
    const uint32_t until = arrived ? seen[turn_of(earlier.epoch)] : 0;
    return earlier.epoch > until ||
           (earlier.epoch == until && earlier.access != Access::atomic);  // not the arrival itself
  }
  if (earlier.epoch != now.epoch || earlier.thread == now.thread) return false;
  return !same_warp(earlier, now) || earlier.warp_epoch == now.warp_epoch;
}

}  // namespace host
