// lanes.cuh -- a few neighbouring numbers that move as one: a 16-byte load for four floats or eight
// halves takes one instruction and one request where single loads take one for each. In registers
// they are floats, whatever memory has.
#pragma once
#include "half.cuh"

template <int count>
struct alignas(count < 4 ? count * sizeof(float) : 16) Lanes {
  float lane[count];
};

// The same number of halves, two to a word.
template <int count>
struct alignas(2 * count) HalfLanes {
  unsigned word[count / 2];
};

// `address` is a multiple of the lanes' size in memory, or of 16.
template <int count>
DEVICE_INLINE Lanes<count> load_lanes(const float* address) {
  return *reinterpret_cast<const Lanes<count>*>(address);
}

template <int count>
DEVICE_INLINE void store_lanes(float* address, const Lanes<count>& value) {
  *reinterpret_cast<Lanes<count>*>(address) = value;
}

template <int count>
DEVICE_INLINE Lanes<count> load_lanes(const half* address) {
  Lanes<count> values;
  if constexpr (count == 1) {
    values.lane[0] = load_one(address);
  } else {
    const HalfLanes<count> packed = *reinterpret_cast<const HalfLanes<count>*>(address);
#pragma unroll
    for (int i = 0; i < count / 2; i++) {
      const float2 pair = dev::unpack_halves(packed.word[i]);
      values.lane[2 * i] = pair.x;
      values.lane[2 * i + 1] = pair.y;
    }
  }
  return values;
}

// Each number is rounded to the nearest half.
template <int count>
DEVICE_INLINE void store_lanes(half* address, const Lanes<count>& values) {
  if constexpr (count == 1) {
    store_one(address, values.lane[0]);
  } else {
    HalfLanes<count> packed;
#pragma unroll
    for (int i = 0; i < count / 2; i++)
      packed.word[i] = dev::pack_halves(values.lane[2 * i], values.lane[2 * i + 1]);
    *reinterpret_cast<HalfLanes<count>*>(address) = packed;
  }
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
