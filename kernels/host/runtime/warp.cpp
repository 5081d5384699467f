// warp.cpp -- collectives of a warp: the lanes of the mask wait for each other, and the last to
// come carries the exchange out for all.
#include <algorithm>
#include <cstring>

#include "state.h"

namespace host {

static unsigned lanes_in_warp(const Thread& thread) {
  const unsigned first = thread.number - thread.lane;
  return std::min<unsigned>(warp_size, run.block.threads.size() - first);
}

template <class Exchange>
static void collective(const char* name, unsigned mask, Place caller, Exchange exchange) {
  Thread& thread = *run.current;
  Warp& warp = run.block.warps[thread.number / warp_size];
  Thread* lanes = &thread - thread.lane;
  thread.primitive = name;
  thread.place = caller;
  thread.mask = mask;
  // A full mask may be given by a warp that the block's size cuts short.
  const unsigned present = ~0u >> (warp_size - lanes_in_warp(thread));
  const unsigned wanted = mask & present;
  if (!(mask >> thread.lane & 1)) {
    fail("%s calls %s at %s, but its lane %u is not in the mask %08x", thread_text(thread).text,
         name, place_text(caller).text, thread.lane, mask);
  }
  warp.arrived |= 1u << thread.lane;
  if ((warp.arrived & wanted) != wanted) {
    thread.state = State::in_warp;
    switch_fiber(thread.fiber, run.scheduler);
    return;
  }
  for (unsigned lane = 0; lane < warp_size; lane++) {
    if (!(wanted >> lane & 1)) continue;
    const Thread& other = lanes[lane];
    if (other.mask != mask || strcmp(other.primitive, name) || other.place.line != caller.line) {
      fail("divergent warp: %s calls %s at %s with mask %08x, %s calls %s at %s with mask %08x",
           thread_text(thread).text, name, place_text(caller).text, mask, thread_text(other).text,
           other.primitive, place_text(other.place).text, other.mask);
    }
  }
  exchange(lanes, wanted);
  warp.arrived &= ~wanted;
  for (unsigned lane = 0; lane < warp_size; lane++) {
    if (wanted >> lane & 1) lanes[lane].state = State::ready;
  }
}

void warp_barrier(unsigned mask, Place caller) {
  collective("__syncwarp()", mask, caller, [](Thread* lanes, unsigned) {
    run.block.warps[lanes->number / warp_size].epoch++;
  });
}

unsigned warp_ballot(unsigned mask, bool predicate, Place caller) {
  Thread& thread = *run.current;
  thread.operand[0] = predicate;
  collective("a warp vote", mask, caller, [](Thread* lanes, unsigned wanted) {
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < warp_size; lane++) {
      if (wanted >> lane & 1) ballot |= lanes[lane].operand[0] << lane;
    }
    for (unsigned lane = 0; lane < warp_size; lane++) {
      if (wanted >> lane & 1) lanes[lane].result = ballot;
    }
  });
  return thread.result;
}

// The lane that `lane` reads from: CUDA C++ Programming Guide, "Warp Shuffle Functions". Segments
// of `width` lanes do not see each other; whoever would look over the edge reads itself.
static int source_lane(int lane, int operand, int width, Shuffle kind) {
  const int first = lane & ~(width - 1), last = first + width - 1;
  switch (kind) {
    case Shuffle::index: return first + (operand & (width - 1));
    case Shuffle::up: return lane - operand < first ? lane : lane - operand;
    case Shuffle::down: return lane + operand > last ? lane : lane + operand;
    case Shuffle::exclusive_or: return (lane ^ operand) > last ? lane : lane ^ operand;
  }
  return lane;
}

unsigned warp_shuffle(unsigned mask, unsigned value, int operand, int width, Shuffle kind,
                      Place caller) {
  Thread& thread = *run.current;
  thread.operand[0] = value;
  thread.operand[1] = static_cast<uint32_t>(operand);
  collective("a warp shuffle", mask, caller, [=](Thread* lanes, unsigned wanted) {
    for (int lane = 0; lane < static_cast<int>(warp_size); lane++) {
      if (!(wanted >> lane & 1)) continue;
      const int source = source_lane(lane, static_cast<int>(lanes[lane].operand[1]), width, kind);
      if (!(wanted >> source & 1)) {
        fail("%s shuffles at %s from lane %d, which takes no part", thread_text(lanes[lane]).text,
             place_text(caller).text, source);
      }
      lanes[lane].result = lanes[source].operand[0];
    }
  });
  return thread.result;
}

}  // namespace host
