// A whole network in one launch.
//
// The idea. Launched layer by layer, a network of 75 convolutions waits 75 times for its slowest
// block, and each time the multiprocessors run empty and fill again: at batch 1 that takes as long
// as the arithmetic. Here the launch has as many blocks as the GPU runs at a time, and they stay.
// All layers are cut into *items*, tiles of 64 pixels (and 64 filters, and perhaps a part of the
// terms), which lie in one row in the order of the layers. A block claims the next item, waits until
// what it reads is there, computes it, says so, and claims another. No layer waits for the last tile
// of the one before: a tile waits for those under its windows.
//
// Readiness. The pixels of a step's output, 64 at a time, are a *band* with a counter: whoever has
// finished an item of the band signals there, and a reader waits until all have. A step has a list of
// what it needs: whose bands, and which of them lie under an item (NetworkNeed).
//
// Why it ends. Items are claimed in order, and an item needs only items before it. So of all items
// that are not finished the first is in the hands of a block that runs and waits for nothing. It does
// not matter how many blocks the GPU runs at a time, nor in which order it begins them.
//
// While it waits, a block is not idle: the weights of its tile depend on nobody, and their copies to
// shared memory are under way before it asks for the first pixel (sum_slices).
//
// Determinism. Which block computes an item changes no bit of it. Parts of a tile's terms are added up
// in their order, by whoever comes last (MmaSums::combine).
//
// Memory. `maps` is the arena, in which nothing is overwritten that anybody reads later: each map has
// a place of its own. Maps are read with plain loads and cp.async, never through the read-only path
// (no __restrict__ on what is loaded): they change while the kernel runs. `weights` has every layer's
// weights and biases, packed as for convolution_mma.cu and convolution_depthwise.cu; `partial` is for
// tiles whose terms are shared. `counters`:
// [0] the queue, [1] blocks that are done, then bands and arrivals; all 0 before and after. Places are
// in bytes.
// Launch: grid of any size, best as many blocks as are resident; block Tile::threads, dynamic shared
// memory sizeof(NetworkShared).
// Arithmetic intensity: of a convolution's items as for convolution_mma.cu, one tile for all of them.
// Reference: the steps' own, which the engine runs one by one (tinyyolo3/engine/cuda/lower.py);
// tinyyolo3/engine/cuda/persistent.py makes the table of steps.
#include "depthwise.cuh"
#include "maxpool.cuh"
#include "mma_convolution.cuh"
#include "mma_tile.cuh"
#include "upsample.cuh"

using Tile = MmaTile<half, 64, 64, 64, 2, 2, 3>;
constexpr int BLOCKS_PER_SM = 3;

// What persistent_structs.py calls Kind, Under and MOST_NEEDS.
enum { CONVOLUTION, DEPTHWISE, MAXPOOL, UPSAMPLE, COPY, COPY_TO_FLOATS };
enum { SAME_PIXELS, UNDER_WINDOW, UNDER_SQUARE };
constexpr int MOST_NEEDS = 12;

// Outputs that a step must wait for.
struct NetworkNeed {
  int counters;  // the first band's
  int signals;   // of each band
  int under;     // which bands an item needs
};

struct NetworkStep {
  long long x, w, biases, residual, y, partial;  // residual -1: none
  ConvolutionShape shape;  // of steps that are no convolutions, what they have of it
  float scale;             // of upsampling
  int kind, to_floats, in_lanes;
  int first_item, parts, arrivals;
  int counters;            // its own first band's
  int needs_count;
  NetworkNeed needs[MOST_NEEDS];
};

struct NetworkShared {
  Shared<Tile> tile;
  int item;
};

// Rows of the input that output rows first .. last need.
DEVICE_INLINE int first_row_needed(const ConvolutionShape& p, int under, int row) {
  if (under == UNDER_SQUARE) return row / p.stride_y;
  return min(max(row * p.stride_y - p.padding, 0), p.height - 1);
}
DEVICE_INLINE int last_row_needed(const ConvolutionShape& p, int under, int row) {
  if (under == UNDER_SQUARE) return row / p.stride_y;
  const int bottom = row * p.stride_y - p.padding + (p.size - 1) * p.dilation;
  return min(max(bottom, 0), p.height - 1);
}

// Waits for all that an item of pixels m0 .. needs. Threads wait for a band each.
DEVICE_INLINE void wait_for_needs(const NetworkStep& step, const unsigned* counters, int m0) {
  const ConvolutionShape& p = step.shape;
  const int last = min(m0 + Tile::BM, output_pixels(p)) - 1;
  for (int n = 0; n < step.needs_count; n++) {
    const NetworkNeed& need = step.needs[n];
    int from = m0 / Tile::BM, to = from;
    if (need.under != SAME_PIXELS) {
      const OutputPixel a = output_pixel(p, m0), b = output_pixel(p, last);
      const int top = a.image * p.height + first_row_needed(p, need.under, a.row);
      const int bottom = b.image * p.height + last_row_needed(p, need.under, b.row);
      from = top * p.width / Tile::BM;
      to = ((bottom + 1) * p.width - 1) / Tile::BM;
    }
    for (int band = from + threadIdx.x; band <= to; band += Tile::threads)
      dev::wait_for_signals(counters + need.counters + band, need.signals);
  }
  __syncthreads();
}

template <class T>
DEVICE_INLINE T* at_byte(void* base, long long offset) {
  return reinterpret_cast<T*>(static_cast<char*>(base) + offset);
}
template <class T>
DEVICE_INLINE const T* at_byte(const void* base, long long offset) {
  return reinterpret_cast<const T*>(static_cast<const char*>(base) + offset);
}

// A tile, or a part of its terms. Returns whether it is finished: of parts, the last one's is.
DEVICE_INLINE bool convolve_item(const NetworkStep& step, NetworkShared& shared, int item,
                                 float* maps, const unsigned char* weights, float* partial,
                                 unsigned* counters) {
  const ConvolutionShape& p = step.shape;
  const int tiles_f = dev::ceil_div(p.filters, Tile::BN);
  const int tile_index = item / step.parts, part = item % step.parts;
  const int m0 = tile_index / tiles_f * Tile::BM, f0 = tile_index % tiles_f * Tile::BN;
  const int slices = slices_of<Tile>(p);
  const int begin = slices * part / step.parts, end = slices * (part + 1) / step.parts;
  Tile tile = sum_slices<Tile, false>(
      shared.tile, p, at_byte<half>(static_cast<const void*>(maps), step.x),
      at_byte<half>(weights, step.w), at_byte<float>(weights, step.biases), m0, f0, begin, end,
      [&] { wait_for_needs(step, counters, m0); });
  if (step.parts > 1) {
    float* sums = at_byte<float>(partial, step.partial) +
                  static_cast<long long>(tile_index) * step.parts * (Tile::BM * Tile::BN);
    unsigned* arrivals = counters + step.arrivals + tile_index;
    if (!tile.combine(shared.tile.ticket, sums, arrivals, part, step.parts)) return false;
  }
  const int pixels_left = output_pixels(p) - m0;
  auto pixel_of = [&](int row) { return row < pixels_left ? m0 + row : -1; };
  const half* residual = step.residual < 0 ? nullptr : at_byte<half>(maps, step.residual);
  const float* biases = shared.tile.biases;
  if (step.to_floats) {
    store<ACTIVATION_OF_SHAPE>(p, tile, pixel_of, f0, biases, residual,
                               at_byte<float>(maps, step.y));
  } else if (p.activation == ACTIVATION_LEAKY) {
    store<ACTIVATION_LEAKY>(p, tile, pixel_of, f0, biases, residual, at_byte<half>(maps, step.y));
  } else {
    store<ACTIVATION_OF_SHAPE>(p, tile, pixel_of, f0, biases, residual,
                               at_byte<half>(maps, step.y));
  }
  return true;
}

// A band of pixels of a step that computes each output on its own, LANES channels at a time.
template <int LANES>
DEVICE_INLINE void compute_band(const NetworkStep& step, int m0, float* maps,
                                const unsigned char* weights) {
  const ConvolutionShape& p = step.shape;
  const Map x_map = {p.images, p.height, p.width, p.channels, p.x_pitch};
  const Map y_map = {p.images, p.out_height, p.out_width, p.filters, p.y_pitch};
  const half* x = at_byte<half>(maps, step.x);
  half* y = at_byte<half>(maps, step.y);
  const int groups = p.filters / LANES, pixels = p.out_height * p.out_width;
  const int count = (min(m0 + Tile::BM, output_pixels(p)) - m0) * groups;
  for (int i = threadIdx.x; i < count; i += Tile::threads) {
    const int m = m0 + i / groups, image = m / pixels;
    const Position at = position_of<LANES>(y_map, image, m % pixels * groups + i % groups);
    switch (step.kind) {
      case DEPTHWISE: {
        const Strip strip = {at.channel, image, at.row, at.column, true};
        const half* residual = step.residual < 0 ? nullptr : at_byte<half>(maps, step.residual);
        convolve_strip<1, LANES>(p, strip, x, at_byte<float>(weights, step.w),
                                 at_byte<float>(weights, step.biases), residual, y);
        break;
      }
      case MAXPOOL:
        take_maximum<LANES>(at, x, x_map, y, y_map, p.size, p.stride_y, p.stride_x, p.padding);
        break;
      case UPSAMPLE: upsample<LANES>(at, x, x_map, y, y_map, p.stride_y, step.scale); break;
      case COPY:
        store_lanes(y + map_offset(y_map, at), load_lanes<LANES>(x + map_offset(x_map, at)));
        break;
      default:
        store_lanes(at_byte<float>(maps, step.y) + map_offset(y_map, at),
                    load_lanes<LANES>(x + map_offset(x_map, at)));
    }
  }
}

// The last block to be done makes all counters 0 again, for the next launch.
DEVICE_INLINE void leave(NetworkShared& shared, unsigned* counters, int counters_count) {
  if (threadIdx.x == 0) shared.tile.ticket = dev::arrive(counters + 1);
  __syncthreads();
  if (shared.tile.ticket != gridDim.x - 1) return;
  for (int i = threadIdx.x; i < counters_count; i += Tile::threads) counters[i] = 0;
}

extern "C" __global__ void __launch_bounds__(128, BLOCKS_PER_SM)
    persistent(const NetworkStep* __restrict__ steps, int items, float* maps,
               const unsigned char* __restrict__ weights, float* partial, unsigned* counters,
               int counters_count) {
  NetworkShared& shared = SHARED_STRUCT(NetworkShared);
  dev::wait_for_launch_before();
  int current = 0;
  for (;;) {
    if (threadIdx.x == 0) shared.item = dev::claim(counters, items);
    __syncthreads();  // and all are done with the shared memory of the item before
    const int item = shared.item;
    if (item < 0) break;
    while (steps[current + 1].first_item <= item) current++;  // behind the last there is an end
    const NetworkStep& step = steps[current];
    const int index = item - step.first_item;
    bool finished = true;
    int m0 = index * Tile::BM;
    if (step.kind == CONVOLUTION) {
      m0 = index / step.parts / dev::ceil_div(step.shape.filters, Tile::BN) * Tile::BM;
      finished = convolve_item(step, shared, index, maps, weights, partial, counters);
    } else {
      wait_for_needs(step, counters, m0);
      if (step.in_lanes) {
        compute_band<8>(step, m0, maps, weights);
      } else {
        compute_band<1>(step, m0, maps, weights);
      }
    }
    __syncthreads();  // the whole item is stored
    if (threadIdx.x == 0 && finished) dev::signal(counters + step.counters + m0 / Tile::BM);
  }
  leave(shared, counters, counters_count);
}
