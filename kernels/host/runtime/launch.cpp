// launch.cpp -- a launch: its blocks one after another, in the order of their numbers or, by the
// seed, a random one.
#include "checker.h"
#include "faults.h"
#include "state.h"

namespace host {

uint3 thread_index, block_index;
dim3 block_size, grid_size;

static void check_shape(const Launch& launch) {
  const auto volume = [](dim3 d) { return static_cast<uint64_t>(d.x) * d.y * d.z; };
  const dim3 &grid = launch.grid, &block = launch.block;
  if (!volume(block) || volume(block) > 1024 || block.z > 64) {
    report("a block of %u x %u x %u threads: 1 to 1024 are possible, at most 64 along z", block.x,
           block.y, block.z);
  }
  if (!volume(grid) || volume(grid) > 0x7FFFFFFF) {
    report("a grid of %u x %u x %u blocks: 1 to 2147483647 can be run here", grid.x, grid.y,
           grid.z);
  }
}

static void make_threads(dim3 size) {
  Block& block = run.block;
  block.epoch = 0;
  block.threads.resize(size.x * size.y * size.z);
  block.warps.resize((block.threads.size() + warp_size - 1) / warp_size);
  for (unsigned i = 0; i < block.threads.size(); i++) {
    Thread& thread = block.threads[i];
    thread.number = i;
    thread.lane = i % warp_size;
    thread.index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
  }
}

static void run_blocks(dim3 grid) {
  std::vector<unsigned> order(grid.x * grid.y * grid.z);
  for (unsigned i = 0; i < order.size(); i++) order[i] = i;
  if (run.launch->seed) run.random.shuffle(order);
  run.blocks_to_come = static_cast<unsigned>(order.size());
  for (unsigned number : order) {
    run.blocks_to_come--;
    block_index = {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
    run.block.number = number;
    memory_block_begins();
    checker_block_begins();
    run_block();
    if (run.failed) return;
  }
}

int launch(const Launch& launch, void (*body)(void*), void* context) {
  run.launch = &launch;
  run.body = body;
  run.context = context;
  run.failed = false;
  run.random.state = launch.seed;
  block_size = launch.block;
  grid_size = launch.grid;
  check_shape(launch);
  if (run.failed) return 1;
  run.library = find_library();
  memory_launch_begins();
  if (run.failed) return 1;
  make_threads(launch.block);
  checker_launch_begins();
  const FaultGuard guard;
  run_blocks(launch.grid);
  return run.failed;
}

}  // namespace host
