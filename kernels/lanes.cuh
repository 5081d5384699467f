// lanes.cuh -- a few neighbouring numbers that move as one: a 16-byte load for four floats takes
// one instruction and one request where four loads take four of each.
#pragma once
#include "device.cuh"

template <int count>
struct alignas(count * sizeof(float)) Lanes {
  float lane[count];
};

// `address` is a multiple of the lanes' size.
template <int count>
DEVICE_INLINE Lanes<count> load_lanes(const float* address) {
  return *reinterpret_cast<const Lanes<count>*>(address);
}

template <int count>
DEVICE_INLINE void store_lanes(float* address, const Lanes<count>& value) {
  *reinterpret_cast<Lanes<count>*>(address) = value;
}

template <int count>
DEVICE_INLINE Lanes<count> operator+(Lanes<count> a, const Lanes<count>& b) {
#pragma unroll
  for (int i = 0; i < count; i++) a.lane[i] += b.lane[i];
  return a;
}

// sum += a * b, lane by lane.
template <int count>
DEVICE_INLINE void multiply_add(Lanes<count>& sum, const Lanes<count>& a, const Lanes<count>& b) {
#pragma unroll
  for (int i = 0; i < count; i++) sum.lane[i] += a.lane[i] * b.lane[i];
}
