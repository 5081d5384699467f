// checker.cpp -- which accesses are wrong: outside of what the kernel was given, of bytes that
// nobody has written, of copies under way, or unordered with another thread's (order.cpp). That
// addresses are multiples of what they should be is seen to in sanitizers.cpp.
#include "checker.h"

#include <algorithm>
#include <vector>

#include "order.cpp"
#include "shadow.h"
#include "state.h"

namespace host {

static std::vector<Region> arrays;          // the launch's, as registered
static std::vector<Region> shared_regions;  // dynamic, static
static const Region* recent;                // where the last access was
static uint64_t accesses_in_turn;

// A thread that touches memory so often without waiting or ending will do so for ever: it waits for
// what another thread would have to write, or its loop has no end.
constexpr uint64_t most_accesses_in_turn = 1 << 25;

static void checker_launch_begins() {
  order_launch_begins();
  recent = nullptr;
  shared_regions.clear();
  const auto add = [](const char* start, size_t bytes, const char* name) {
    shared_regions.emplace_back(start, bytes, true, name);
  };
  add(run.dynamic_shared, run.launch->shared_bytes, "dynamic shared memory");
  add(run.library.static_shared, run.library.static_shared_bytes, "static shared memory");
}

static void checker_block_begins() {
  order_block_begins();
  for (const Region& region : shared_regions) region.forget_contents();
}

static void checker_turn_begins() {
  own_stack = reinterpret_cast<uintptr_t>(fiber_stack(run.current->number));
  accesses_in_turn = 0;
}

// One word of an access, on its way through the checks.
struct Step {
  const Region& region;
  Record record;
  uintptr_t pc, address;
};

static const char* verb(Access access) {
  switch (access) {
    case Access::read: return "reads";
    case Access::atomic: return "updates";
    case Access::begin_copy: return "begins an asynchronous copy to";
    default: return "writes";
  }
}

static const char* past(Access access) {
  switch (access) {
    case Access::read: return "read";
    case Access::atomic: return "updated";
    case Access::begin_copy: return "began an asynchronous copy to";
    case Access::end_copy: return "copied asynchronously to";
    default: return "wrote";
  }
}

// The array that an address lies in or is nearest to, unless that is far.
static Text address_text(uintptr_t address) {
  Text out;
  snprintf(out.text, sizeof out.text, "address 0x%zx, which lies in no array", address);
  uintptr_t nearest = 1 << 20;
  for (const Region& region : arrays) {
    const size_t size = region.end() - region.start();
    const uintptr_t after = address - region.end(), before = region.start() - address;
    if (region.holds(address)) {
      snprintf(out.text, sizeof out.text, "byte %zu of %s (%zu bytes)",
               address - region.start(), region.name(), size);
      return out;
    }
    if (std::min(after, before) >= nearest) continue;
    nearest = std::min(after, before);
    snprintf(out.text, sizeof out.text, "memory %zu bytes %s %s (%zu bytes)", nearest,
             after < before ? "past the end of" : "before", region.name(), size);
  }
  return out;
}

static Text memory_text(const Region& region, uintptr_t address) {
  if (!region.shared()) return address_text(address);
  Text out;
  snprintf(out.text, sizeof out.text, "byte %zu of %s",
           address - region.start(), region.name());
  return out;
}

static Text other_text(const Record& other) {
  const Text who = thread_text(block_of(other.epoch), other.thread);
  const Text where = pc_text(run.library.base + other.pc);
  Text out;
  snprintf(out.text, sizeof out.text, "%s %s it at %s", who.text, past(other.access), where.text);
  return out;
}

[[noreturn]] static void fail_race(const Step& step, const Record& other) {
  const char* reason = "no __syncthreads() comes between";
  if (other.epoch < run.block.first_epoch) {
    reason = "nothing orders the two blocks";
  } else if (same_warp(other, step.record)) {
    reason = "no __syncwarp() comes between";
  }
  fail("race: %s %s %s at %s; %s, and %s", thread_text(*run.current).text,
       verb(step.record.access), memory_text(step.region, step.address).text,
       pc_text(step.pc).text, other_text(other).text, reason);
}

// Whether a record is of an access to these bytes. Shared memory of an earlier block is another.
static bool concerns(const Step& step, const Record& record) {
  return record.bytes & step.record.bytes &&
         (!step.region.shared() || record.epoch >= run.block.first_epoch);
}

static void check_contents(const Step& step, const Cell& cell, uint8_t unwritten) {
  const Access access = step.record.access;
  if (access == Access::end_copy) return;
  if (cell.writer.access == Access::begin_copy && concerns(step, cell.writer)) {
    fail("asynchronous copy: %s %s %s at %s; %s and it has not been waited for",
         thread_text(*run.current).text, verb(access),
         memory_text(step.region, step.address).text, pc_text(step.pc).text,
         other_text(cell.writer).text);
  }
  const bool reads = access == Access::read || access == Access::atomic;
  if (reads && unwritten & step.record.bytes) {
    fail("uninitialised: %s %s %s at %s, which nothing has written yet",
         thread_text(*run.current).text, verb(access),
         memory_text(step.region, step.address).text, pc_text(step.pc).text);
  }
}

static void check_order(const Step& step, const Cell& cell) {
  const Access access = step.record.access;
  if (access == Access::end_copy) return;  // since it began, nobody else was let near
  const auto check = [&](const Record& other) {
    if (concerns(step, other) && unordered(other, step.record)) fail_race(step, other);
  };
  const bool both_atomic = access == Access::atomic && cell.writer.access == Access::atomic;
  if (!both_atomic) check(cell.writer);
  if (access == Access::read) return;
  for (const Record& reader : cell.readers) check(reader);
  check(cell.earlier_block_reader);
}

// Which of the two readers a new one takes the place of; see Cell.
static Record& reader_to_replace(Cell& cell, const Record& now) {
  Record &first = cell.readers[0], &second = cell.readers[1];
  if (first.epoch != now.epoch || first.thread == now.thread) return first;
  if (second.epoch != now.epoch || second.thread == now.thread) return second;
  if (!same_warp(first, second)) return same_warp(first, now) ? first : second;
  return first.warp_epoch < second.warp_epoch ? first : second;
}

static void keep(const Step& step, Cell& cell, uint8_t& unwritten) {
  const Record& record = step.record;
  if (record.access != Access::read) {
    cell.writer = record;
    if (record.access == Access::begin_copy) {
      unwritten |= record.bytes;
    } else {
      unwritten &= static_cast<uint8_t>(~record.bytes);
    }
    return;
  }
  for (Record& reader : cell.readers) {
    if (!reader.epoch || reader.epoch >= run.block.first_epoch) continue;
    cell.earlier_block_reader = reader;
    reader = {};
  }
  Record& place = reader_to_replace(cell, record);
  const bool again = place.thread == record.thread && place.epoch == record.epoch;
  const uint8_t bytes = again ? place.bytes | record.bytes : record.bytes;
  place = record;
  place.bytes = bytes;
}

// Whether a read need be neither checked nor kept, as nearly all: nobody has written to the word or
// begun a copy to it since the last barrier, and readers on record since then, who found the bytes
// written, stand for this one too (see Cell).
static bool is_settled(const Cell& cell, const Record& now) {
  const Record &writer = cell.writer, &first = cell.readers[0], &second = cell.readers[1];
  const bool in_order = writer.epoch < now.epoch &&
                        (writer.epoch >= run.block.first_epoch || !writer.epoch);
  if (!in_order) return false;
  const auto covers = [&](const Record& reader) {
    return reader.epoch == now.epoch && (reader.bytes & now.bytes) == now.bytes;
  };
  const auto as_new = [&](const Record& reader) { return reader.warp_epoch == now.warp_epoch; };
  if (!covers(first)) return false;
  if (first.thread == now.thread && as_new(first)) return true;
  if (!covers(second)) return false;
  if (!same_warp(first, second)) return true;
  return same_warp(first, now) && as_new(first) && as_new(second);
}

static const Region* find_region(uintptr_t address) {
  if (recent && recent->holds(address)) return recent;
  for (const auto* regions : {&shared_regions, &arrays}) {
    for (const Region& region : *regions) {
      if (region.holds(address)) return recent = &region;
    }
  }
  return nullptr;
}

[[noreturn]] static void fail_outside(uintptr_t address, size_t bytes, Access access, uintptr_t pc,
                                      const Region* region) {
  fail("out of bounds: %s %s %zu bytes of %s at %s", thread_text(*run.current).text, verb(access),
       bytes, region ? memory_text(*region, address).text : address_text(address).text,
       pc_text(pc).text);
}

// The memory that an access is inside of; none where it reads a table of constants, which lies in
// the library itself.
static const Region* region_around(uintptr_t start, size_t bytes, Access access, uintptr_t pc) {
  const Region* region = find_region(start);
  const bool constant = !region && start - run.library.base < run.library.end - run.library.base;
  if (constant && access == Access::read) return nullptr;
  if (!region || start + bytes > region->end()) fail_outside(start, bytes, access, pc, region);
  return region;
}

static void check_inside(const void* address, size_t bytes, uintptr_t pc) {
  region_around(reinterpret_cast<uintptr_t>(address), bytes, Access::read, pc);
}

static void check_memory(uintptr_t start, size_t bytes, Access access, uintptr_t pc) {
  if (!run.current) return;  // what HOST_EXPORT adds is instrumented too
  const Region* region = region_around(start, bytes, access, pc);
  if (!region) return;
  const Thread& thread = *run.current;
  if (++accesses_in_turn > most_accesses_in_turn) {
    fail("endless: %s has touched memory %llu times since it last waited, now at %s",
         thread_text(thread).text, static_cast<unsigned long long>(accesses_in_turn),
         pc_text(pc).text);
  }
  Step step{*region, {}, pc, start};
  step.record = {run.block.epoch, static_cast<uint32_t>(pc - run.library.base),
                 static_cast<uint16_t>(thread.number),
                 run.block.warps[thread.number / warp_size].epoch, 0, access};
  for (uintptr_t word = start / 4; word * 4 < start + bytes; word++) {
    const uintptr_t low = std::max(start, word * 4) - word * 4;
    const uintptr_t high = std::min(start + bytes, word * 4 + 4) - word * 4;
    step.record.bytes = static_cast<uint8_t>((1 << high) - (1 << low));
    Cell& cell = region->cell(word);
    uint8_t& unwritten = region->unwritten(word);
    if (access == Access::read && is_settled(cell, step.record)) continue;
    check_contents(step, cell, unwritten);
    check_order(step, cell);
    keep(step, cell, unwritten);
  }
}

}  // namespace host

// Lets the next launch touch an array. `written`: it has contents. `name`: for messages.
HOST_API void host_register(const void* address, size_t bytes, int written, const char* name) {
  host::arrays.emplace_back(address, bytes, false, name);
  if (!written) host::arrays.back().forget_contents();
}

// Returns how many bytes of the array registered at an address nobody has written, and the first.
HOST_API size_t host_unwritten(const void* address, size_t* first) {
  for (const host::Region& region : host::arrays) {
    if (region.start() != reinterpret_cast<uintptr_t>(address)) continue;
    return region.count_unwritten(first);
  }
  return 0;
}

HOST_API void host_unregister_all() { host::arrays.clear(); }
