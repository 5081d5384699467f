// Batch normalisation, unfused: the forward pass at inference, and the statistics for training.
//
//   y[n, i, j, c] = scales[c] * (x[n, i, j, c] - mean[c]) / divisor[c] + biases[c]
//   divisor[c] = sqrt(variance[c] + epsilon), or sqrt(variance[c]) + epsilon
//
// A network for detection folds all of this into the weights of the convolution before. On its own
// it serves for study, and for training, which needs each channel's mean and variance over a batch:
//
//   mean[c] = sum of x[., c] / count      variance[c] = sum of (x[., c] - mean[c])² / (count - 1)
//
// Arrays: x, y are Maps, y may be x itself; parameters (channels,) float32; slabs as said below.
// Launch: block (32, 8): 32 channels, whose threads lie next to each other in memory, of 8 pixels
// at a time. Grid (ceil(channels / 32), slabs): each block takes every slabs-th group of pixels.
// Arithmetic intensity: about 4 operations for the 8 bytes of a number that comes and goes, 6 for
// the 4 bytes of one that is only read: bound by memory.
// Reference: tinyyolo3/layers/batchnorm.py, batchnorm_forward_reference and
// batchnorm_statistics_reference.
#include "device.cuh"

constexpr int ROWS = 8;

extern "C" __global__ void __launch_bounds__(256) batchnorm_forward(
    const float* x, Map x_map, const float* __restrict__ mean, const float* __restrict__ variance,
    const float* __restrict__ scales, const float* __restrict__ biases, float* y, Map y_map,
    float epsilon, int epsilon_inside_root) {
  const int channel = blockIdx.x * 32 + threadIdx.x;
  if (channel >= x_map.channels) return;
  // DARKNET: pjreddie's build for the CPU adds epsilon after the root.
  const float divisor = epsilon_inside_root ? sqrtf(variance[channel] + epsilon)
                                            : sqrtf(variance[channel]) + epsilon;
  const float shift = mean[channel], scale = scales[channel], bias = biases[channel];
  const int pixels = x_map.images * x_map.height * x_map.width;
  for (int m = blockIdx.y * ROWS + threadIdx.y; m < pixels; m += gridDim.y * ROWS) {
    const float value = x[static_cast<long long>(m) * x_map.pitch + channel];
    y[static_cast<long long>(m) * y_map.pitch + channel] =
        scale * (value - shift) / divisor + bias;
  }
}

// What is known of some numbers: how many, their mean, the sum of their squared distances from it.
struct Moments {
  float count, mean, squares;
};

// Welford's update (Technometrics 4, 1962): one pass, and no large sums that cancel.
DEVICE_INLINE void add_value(Moments& all, float value) {
  const float distance = value - all.mean;
  all.count += 1.f;
  all.mean += distance / all.count;
  all.squares += distance * (value - all.mean);
}

// The moments of two sets together (Chan, Golub and LeVeque, Updating formulae, 1979).
DEVICE_INLINE void add_moments(Moments& all, const Moments& more) {
  if (more.count == 0.f) return;
  const float count = all.count + more.count, distance = more.mean - all.mean;
  all.mean += distance * (more.count / count);
  all.squares += more.squares + distance * distance * (all.count * more.count / count);
  all.count = count;
}

struct BlockMoments {
  Moments of_thread[ROWS][32];
};

// The moments of each slab of pixels: slabs[slab][0, 1, 2][channel] are count, mean and squares.
// Threads, rows and slabs are added in an order that the launch alone decides: every run gives the
// same bits, which sums by atomic additions would not.
extern "C" __global__ void __launch_bounds__(256) batchnorm_slab_moments(
    const float* __restrict__ x, Map x_map, float* slabs) {
  BlockMoments& shared = SHARED_STRUCT(BlockMoments);
  const int channel = blockIdx.x * 32 + threadIdx.x;
  const int pixels = x_map.images * x_map.height * x_map.width;
  Moments moments = {0.f, 0.f, 0.f};
  if (channel < x_map.channels) {
    for (int m = blockIdx.y * ROWS + threadIdx.y; m < pixels; m += gridDim.y * ROWS) {
      add_value(moments, x[static_cast<long long>(m) * x_map.pitch + channel]);
    }
  }
  shared.of_thread[threadIdx.y][threadIdx.x] = moments;
  __syncthreads();
  if (threadIdx.y > 0 || channel >= x_map.channels) return;
  for (int row = 1; row < ROWS; row++) add_moments(moments, shared.of_thread[row][threadIdx.x]);
  float* slab = slabs + static_cast<long long>(blockIdx.y) * 3 * x_map.channels + channel;
  slab[0] = moments.count;
  slab[x_map.channels] = moments.mean;
  slab[2 * x_map.channels] = moments.squares;
}

// Mean and variance of each channel from its slabs. Launch: 1-D, block 256, a thread per channel.
extern "C" __global__ void __launch_bounds__(256) batchnorm_statistics(
    const float* __restrict__ slabs, int slab_count, int channels, float* mean, float* variance) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  Moments moments = {0.f, 0.f, 0.f};
  for (int i = 0; i < slab_count; i++) {
    const float* slab = slabs + static_cast<long long>(i) * 3 * channels + channel;
    add_moments(moments, {slab[0], slab[channels], slab[2 * channels]});
  }
  mean[channel] = moments.mean;
  // DARKNET: divides by one less than the count (blas.c, variance_cpu), in training too.
  variance[channel] = moments.squares / (moments.count - 1.f);
}
