// Non-maximum suppression: of boxes of one class that overlap, the most confident stays.
//
// Three kernels. sort_rows ranks the rows by falling confidence, equals by candidate and class.
// nms_mask asks of every pair whether the earlier row suppresses the later one, and keeps a bit:
//
//   IoU = |a ∩ b| / |a ∪ b| > threshold,   or   DIoU = IoU - (d² / c²)^beta > threshold
//
// with d the distance of the centres and c the diagonal of the smallest box around both. nms_scan
// walks down the rows: one that no kept row suppresses is kept, and suppresses its own.
//
// Arrays: rows, sorted are (images, capacity) Rows, of which counts (images,) are there; mask is
// (images, capacity, capacity / 64) words: bit k of word w of row i is set if i suppresses row
// 64 w + k, for later rows only. capacity is a multiple of 256.
// Launches are sized for the capacity; blocks beyond the rows that there are leave at once.
// Nothing depends on the order of threads, so survivors and their order are those of the reference,
// tinyyolo3/boxes/nms.py; IoU and DIoU are boxes/iou.py's bits (__fmul_rn is never part of an FMA).
#include "boxes.cuh"

using Word = unsigned long long;
constexpr int TILE = 64;  // bits of a word
constexpr int SORT_BLOCK = 256;
constexpr int LARGEST_TILES = 256;  // capacity 16384

// What rows are sorted by.
struct Key {
  float confidence;
  int candidate, class_id;
};

DEVICE_INLINE bool precedes(const Key& a, const Key& b) {
  if (a.confidence != b.confidence) return a.confidence > b.confidence;
  return a.candidate != b.candidate ? a.candidate < b.candidate : a.class_id < b.class_id;
}

// A row's rank is the number of rows that precede it, which is counted: n² comparisons, all of
// them independent, against tiles of 256 keys in shared memory. With n about a hundred this takes
// one round where a sorting network would take a dozen barriers.
// Launch: block 256, grid (capacity / 256, images); shared memory: 256 Keys.
extern "C" __global__ void __launch_bounds__(SORT_BLOCK) sort_rows(
    const Row* __restrict__ rows, const int* __restrict__ counts, Row* sorted, int capacity) {
  struct Tile {
    Key keys[SORT_BLOCK];
  };
  Tile& tile = SHARED_STRUCT(Tile);
  const int count = min(counts[blockIdx.y], capacity);
  if (static_cast<int>(blockIdx.x) * SORT_BLOCK >= count) return;  // the whole block
  const Row* image_rows = rows + static_cast<long long>(blockIdx.y) * capacity;
  const int index = blockIdx.x * SORT_BLOCK + threadIdx.x;
  Key mine{};
  Row row;
  if (index < count) {
    row = image_rows[index];
    mine = {row.confidence, row.candidate, row.class_id};
  }
  int rank = 0;
  for (int first = 0; first < count; first += SORT_BLOCK) {
    const int other = first + threadIdx.x;
    if (other < count) {
      const Row& theirs = image_rows[other];
      tile.keys[threadIdx.x] = {theirs.confidence, theirs.candidate, theirs.class_id};
    }
    __syncthreads();
    const int keys = min(SORT_BLOCK, count - first);
    for (int k = 0; k < keys; k++) rank += precedes(tile.keys[k], mine);
    __syncthreads();
  }
  if (index < count) sorted[static_cast<long long>(blockIdx.y) * capacity + rank] = row;
}

// A box as its sides.
struct Sides {
  float left, top, right, bottom, area, cx, cy;
  int class_id;
};

DEVICE_INLINE Sides sides_of(const Row& row) {
  const float4 box = row.box;
  const float half_width = box.z / 2, half_height = box.w / 2;
  return {box.x - half_width, box.y - half_height,     box.x + half_width, box.y + half_height,
          __fmul_rn(box.z, box.w), box.x, box.y, row.class_id};
}

DEVICE_INLINE float iou(const Sides& a, const Sides& b) {
  const float width = fminf(a.right, b.right) - fmaxf(a.left, b.left);
  const float height = fminf(a.bottom, b.bottom) - fmaxf(a.top, b.top);
  const float intersection = width < 0.f || height < 0.f ? 0.f : __fmul_rn(width, height);
  const float both = a.area + b.area - intersection;
  return both == 0.f ? 0.f : intersection / both;
}

// Of boxes that overlap, so that the diagonal is not zero.
DEVICE_INLINE float diou(const Sides& a, const Sides& b, float overlap, double beta) {
  const float width = fmaxf(a.right, b.right) - fminf(a.left, b.left);
  const float height = fmaxf(a.bottom, b.bottom) - fminf(a.top, b.top);
  const float dx = a.cx - b.cx, dy = a.cy - b.cy;
  const float diagonal = __fmul_rn(width, width) + __fmul_rn(height, height);
  const float ratio = (__fmul_rn(dx, dx) + __fmul_rn(dy, dy)) / diagonal;
  return overlap - static_cast<float>(pow(static_cast<double>(ratio), beta));
}

DEVICE_INLINE bool suppresses(const Sides& a, const Sides& b, const Selection& selection) {
  if (!selection.agnostic && a.class_id != b.class_id) return false;
  const float overlap = iou(a, b);
  if (!(overlap > selection.iou_threshold)) return false;
  // The distance only lowers the overlap, so it need not be taken of the rest.
  return selection.suppression != SUPPRESS_DIOU ||
         diou(a, b, overlap, selection.beta) > selection.iou_threshold;
}

// Launch: block 64, grid (capacity / 64, capacity / 64, images), one block for a tile of 64 later
// rows (x) against 64 rows (y); shared memory: 64 Sides. 20 operations for a pair, 64 pairs for a
// word written: bound by arithmetic where there are many rows, else by latency.
extern "C" __global__ void __launch_bounds__(TILE) nms_mask(
    const Row* __restrict__ sorted, const int* __restrict__ counts,
    const Selection* __restrict__ selection_of_call, Word* mask, int capacity) {
  struct Tile {
    Sides later[TILE];
  };
  Tile& tile = SHARED_STRUCT(Tile);
  const int count = min(counts[blockIdx.z], capacity);
  const int first_later = blockIdx.x * TILE, first_row = blockIdx.y * TILE;
  if (first_later >= count || first_later < first_row) return;  // the whole block
  const Selection selection = *selection_of_call;
  if (selection.suppression == SUPPRESS_NONE) return;
  const long long first_of_image = static_cast<long long>(blockIdx.z) * capacity;
  const int thread = threadIdx.x, row = first_row + thread;
  if (first_later + thread < count)
    tile.later[thread] = sides_of(sorted[first_of_image + first_later + thread]);
  __syncthreads();
  if (row >= count) return;
  const Sides mine = sides_of(sorted[first_of_image + row]);
  const int end = min(TILE, count - first_later);
  Word word = 0;
  for (int k = max(0, row + 1 - first_later); k < end; k++)
    if (suppresses(mine, tile.later[k], selection)) word |= Word{1} << k;
  mask[(first_of_image + row) * (capacity / TILE) + blockIdx.x] = word;
}

// Resolves 64 rows among themselves: `candidates` are those that no kept row before them
// suppresses, `rows[k]` whom the k-th suppresses.
DEVICE_INLINE Word resolve_tile(Word candidates, const Word* rows) {
  Word kept = 0;
  while (candidates != 0) {
    const Word lowest = candidates & (~candidates + 1);
    kept |= lowest;
    candidates &= ~(lowest | rows[__popcll(lowest - 1)]);
  }
  return kept;
}

// What is decided of an image goes to counts_out: {rows decoded, rows kept, overflows, 0}.
// Launch: block 256, one block an image; shared memory: 256 + 64 + 1 words.
extern "C" __global__ void __launch_bounds__(256, 1) nms_scan(
    const Row* __restrict__ sorted, const int* __restrict__ counts,
    const Selection* __restrict__ selection_of_call, const Word* __restrict__ mask,
    const int* __restrict__ overflows, int4* counts_out, Row* kept_rows, int capacity) {
  struct Walk {
    Word suppressed[LARGEST_TILES];
    Word diagonal[TILE];
    Word kept;
  };
  Walk& walk = SHARED_STRUCT(Walk);
  const int decoded = counts[blockIdx.x], count = min(decoded, capacity);
  const int tiles = dev::ceil_div(count, TILE), words = capacity / TILE, thread = threadIdx.x;
  const bool suppressing = selection_of_call->suppression != SUPPRESS_NONE;
  const long long first_of_image = static_cast<long long>(blockIdx.x) * capacity;
  const Row* rows = sorted + first_of_image;
  const Word* image_mask = mask + first_of_image * words;
  Row* out = kept_rows + first_of_image;
  for (int k = thread; k < tiles; k += blockDim.x) walk.suppressed[k] = 0;
  int kept = 0;  // so far; the same in all threads
  for (int tile = 0; tile < tiles; tile++) {
    const int first = tile * TILE, here = min(TILE, count - first);
    const Word* tile_mask = image_mask + static_cast<long long>(first) * words;
    if (thread < here)
      walk.diagonal[thread] =
          suppressing ? tile_mask[static_cast<long long>(thread) * words + tile] : 0;
    __syncthreads();
    if (thread == 0) {
      const Word there = here == TILE ? ~Word{0} : (Word{1} << here) - 1;
      walk.kept = resolve_tile(there & ~walk.suppressed[tile], walk.diagonal);
    }
    __syncthreads();
    const Word chosen = walk.kept;
    if (thread < here && (chosen >> thread & 1))
      out[kept + __popcll(chosen & ((Word{1} << thread) - 1))] = rows[first + thread];
    kept += __popcll(chosen);
    for (int k = tile + 1 + thread; suppressing && k < tiles; k += blockDim.x) {
      Word suppressed = walk.suppressed[k];
      for (int row = 0; row < here; row++)
        if (chosen >> row & 1) suppressed |= tile_mask[static_cast<long long>(row) * words + k];
      walk.suppressed[k] = suppressed;
    }
  }
  if (thread == 0) counts_out[blockIdx.x] = {decoded, kept, overflows[blockIdx.x], 0};
}
