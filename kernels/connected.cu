// Connected layer: every output is a weighted sum of all inputs of its image.
//
//   y[n][o] = activate(b[o] + sum over k of w[o][k] * x[n][k])
//
// Darknet counts k as channel, row, column; maps here are channels last, so the weights are put in
// the order row, column, channel once, when they are packed, and k runs as the map lies in memory.
//
// Arrays: x a Map, k its (row, column, channel) with the map's pitch between pixels; w (outputs,
// terms) without gaps; b (outputs,); y a Map of one pixel per image. Maps are of Elements, w and b
// of floats. With 4 lanes, channels, the pitch of x and the addresses in numbers are multiples of
// 4.
// The weights are most of the data by far and each serves a single multiply-add per image: all
// that matters is to read them once, at the memory's full speed. So a block of 256 threads takes 4
// outputs of `images` images: its threads stride along k, neighbours next to each other, each with
// 4 * images sums of its own, so that an x that was loaded serves 4 weights and a weight all
// images. At the end the threads' sums are added in a fixed order: first within each warp by
// shuffles, then over the 8 warps through shared memory.
// Launch: block 256, grid (ceil(outputs / 4), ceil(images of x / images)).
// Shared memory: struct WarpSums, 128 * images bytes. There are as many blocks on a multiprocessor as
// leave each thread the registers it needs; left alone, the compiler spills some to fit more.
// Arithmetic intensity: 2 * images operations for 4 bytes: bound by memory.
// Reference: tinyyolo3/layers/connected.py, connected_forward_reference.
#include "activation.cuh"
#include "lanes.cuh"

constexpr int OUTPUTS = 4;
constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;

template <int sums>
struct WarpSums {
  float of_warp[WARPS][sums];
};

// Adds the lanes' products to a sum in a fixed order.
template <int lanes>
DEVICE_INLINE float dot(const Lanes<lanes>& a, const Lanes<lanes>& b, float sum) {
#pragma unroll
  for (int i = 0; i < lanes; i++) sum += a.lane[i] * b.lane[i];
  return sum;
}

// This thread's share of the sums: every 256th group of lanes along k. Outputs and images beyond
// the last are computed as the last and not stored, which spares the loop their conditions.
template <int images, int lanes, class Element>
DEVICE_INLINE void accumulate(const Element* __restrict__ x, const Map& x_map,
                              const float* __restrict__ weights, int outputs, int first_output,
                              int first_image, float (&sums)[images * OUTPUTS]) {
  const int pixels = x_map.height * x_map.width, terms = pixels * x_map.channels;
  const int gap = x_map.pitch - x_map.channels;
  const float* rows[OUTPUTS];
  const Element* pictures[images];
#pragma unroll
  for (int o = 0; o < OUTPUTS; o++) {
    rows[o] = weights + static_cast<long long>(min(first_output + o, outputs - 1)) * terms;
  }
#pragma unroll
  for (int n = 0; n < images; n++) {
    const long long image = min(first_image + n, x_map.images - 1);
    pictures[n] = x + image * pixels * x_map.pitch;
  }
  for (int k = threadIdx.x * lanes; k < terms; k += THREADS * lanes) {
    const long long source = k + static_cast<long long>(k / x_map.channels) * gap;
    Lanes<lanes> inputs[images];
#pragma unroll
    for (int n = 0; n < images; n++) inputs[n] = load_lanes<lanes>(pictures[n] + source);
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++) {
      const Lanes<lanes> weight = load_lanes<lanes>(rows[o] + k);
#pragma unroll
      for (int n = 0; n < images; n++) {
        sums[n * OUTPUTS + o] = dot(inputs[n], weight, sums[n * OUTPUTS + o]);
      }
    }
  }
}

template <int images, int lanes, class Element = float>
__global__ void __launch_bounds__(THREADS, images == 1 ? 4 : 3) connected(
    const Element* __restrict__ x, Map x_map, const float* __restrict__ weights,
    const float* __restrict__ biases, Element* y, Map y_map, int activation) {
  constexpr int count = images * OUTPUTS;
  WarpSums<count>& shared = SHARED_STRUCT(WarpSums<count>);
  const int first_output = blockIdx.x * OUTPUTS, first_image = blockIdx.y * images;
  float sums[count] = {};
  accumulate<images, lanes>(x, x_map, weights, y_map.channels, first_output, first_image, sums);
#pragma unroll
  for (int i = 0; i < count; i++) {
    for (int distance = 16; distance > 0; distance /= 2) {
      sums[i] += __shfl_xor_sync(0xffffffffu, sums[i], distance);
    }
    if (threadIdx.x % 32 == 0) shared.of_warp[threadIdx.x / 32][i] = sums[i];
  }
  __syncthreads();
  if (threadIdx.x >= count) return;
  const int image = first_image + threadIdx.x / OUTPUTS;
  const int output = first_output + threadIdx.x % OUTPUTS;
  if (image >= x_map.images || output >= y_map.channels) return;
  float sum = 0.f;
  for (int warp = 0; warp < WARPS; warp++) sum += shared.of_warp[warp][threadIdx.x];
  store_one(y + static_cast<long long>(image) * y_map.pitch + output,
            activate_for<Element>(sum + biases[output], activation));
}
