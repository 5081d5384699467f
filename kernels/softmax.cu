// Softmax, forward: scores to probabilities that sum to one.
//
//   y[i] = exp(x[i] / t - m) / sum over k of exp(x[k] / t - m),    m = max over k of x[k] / t
//
// over each of `groups` equal runs of a picture's elements in the order channel, row, column; t is
// the temperature. Taking the maximum off keeps exp from overflowing.
//
// Arrays: x, y are Maps of one shape (channels last; floats, or halves for softmax_forward_half).
// In a map of one pixel, which is what classifiers end in, a run is consecutive in memory.
// Launch: block 256, grid (groups, images). Each thread takes every 256th element of the block's
// run; maxima and sums are joined in shared memory in pairs, always in the same order.
// Shared memory: one Partial. Arithmetic intensity: two exps for 16 bytes, three passes over
// numbers that stay in the caches: bound by latency.
// Reference: tinyyolo3/layers/softmax.py, softmax_forward_reference.
#include "pixelwise.cuh"

constexpr int THREADS = 256;

struct Partial {
  float values[THREADS];
};

struct Larger {
  DEVICE_INLINE float operator()(float a, float b) const { return a > b ? a : b; }
};

struct Sum {
  DEVICE_INLINE float operator()(float a, float b) const { return a + b; }
};

// The threads' values joined into one, which all threads get.
template <class Join>
DEVICE_INLINE float join_block(Partial& partial, float value, Join join) {
  const int thread = threadIdx.x;
  __syncthreads();  // the last result has been read
  partial.values[thread] = value;
  for (int threads = THREADS / 2; threads > 0; threads /= 2) {
    __syncthreads();
    if (thread < threads) {
      partial.values[thread] = join(partial.values[thread], partial.values[thread + threads]);
    }
  }
  __syncthreads();
  return partial.values[0];
}

// Where a picture's element, counted in the order channel, row, column, lies in its map.
DEVICE_INLINE long long element_offset(const Map& map, int image, int element) {
  const int area = map.height * map.width, pixel = element % area;
  return map_offset(map, image, pixel / map.width, pixel % map.width, element / area);
}

template <class Element>
DEVICE_INLINE void softmax(const Element* __restrict__ x, const Map& x_map,
                           Element* __restrict__ y, const Map& y_map, int groups,
                           float temperature) {
  Partial& partial = SHARED_STRUCT(Partial);
  const int image = blockIdx.y;
  const int size = x_map.height * x_map.width * x_map.channels / groups;
  const int first = blockIdx.x * size, last = first + size;

  float largest = -INFINITY;
  for (int i = first + threadIdx.x; i < last; i += THREADS) {
    largest = Larger()(largest, load_one(x + element_offset(x_map, image, i)) / temperature);
  }
  largest = join_block(partial, largest, Larger());

  float sum = 0.f;
  for (int i = first + threadIdx.x; i < last; i += THREADS) {
    sum += expf(load_one(x + element_offset(x_map, image, i)) / temperature - largest);
  }
  sum = join_block(partial, sum, Sum());

  for (int i = first + threadIdx.x; i < last; i += THREADS) {
    const float score = load_one(x + element_offset(x_map, image, i)) / temperature;
    const float probability = expf(score - largest) / sum;
    store_one(y + element_offset(y_map, image, i), keep_overflow<Element>(probability, score));
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) softmax_forward(
    const float* __restrict__ x, Map x_map, float* __restrict__ y, Map y_map, int groups,
    float temperature) {
  softmax(x, x_map, y, y_map, groups, temperature);
}

extern "C" __global__ void __launch_bounds__(THREADS) softmax_forward_half(
    const half* __restrict__ x, Map x_map, half* __restrict__ y, Map y_map, int groups,
    float temperature) {
  softmax(x, x_map, y, y_map, groups, temperature);
}
