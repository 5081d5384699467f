// eights.cuh -- eight neighbouring numbers of a map, halves or floats, that move as one: 16 bytes
// of halves or twice 16 of floats. Arithmetic is in floats whatever memory has.
#pragma once
#include "half.cuh"

template <class T>
struct Eight;

template <>
struct Eight<half> {
  uint4 words;
};

template <>
struct Eight<float> {
  float4 first, second;
};

// Whether a map's eights begin at multiples of 16 bytes.
template <class T>
DEVICE_INLINE bool in_eights(const T* pointer, int pitch) {
  return reinterpret_cast<unsigned long long>(pointer) % 16 == 0 &&
         pitch * static_cast<int>(sizeof(T)) % 16 == 0;
}

DEVICE_INLINE Eight<half> load_eight(const half* from) {
  return {*reinterpret_cast<const uint4*>(from)};
}

DEVICE_INLINE Eight<float> load_eight(const float* from) {
  const float4* address = reinterpret_cast<const float4*>(from);
  return {address[0], address[1]};
}

DEVICE_INLINE void store_eight(half* to, const float (&v)[8]) {
  *reinterpret_cast<uint4*>(to) =
      make_uint4(dev::pack_halves(v[0], v[1]), dev::pack_halves(v[2], v[3]),
                 dev::pack_halves(v[4], v[5]), dev::pack_halves(v[6], v[7]));
}

DEVICE_INLINE void store_eight(float* to, const float (&v)[8]) {
  float4* address = reinterpret_cast<float4*>(to);
  address[0] = make_float4(v[0], v[1], v[2], v[3]);
  address[1] = make_float4(v[4], v[5], v[6], v[7]);
}

DEVICE_INLINE void add_eight(float (&values)[8], const Eight<half>& other) {
  const unsigned words[4] = {other.words.x, other.words.y, other.words.z, other.words.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 pair = dev::unpack_halves(words[i]);
    values[2 * i] += pair.x, values[2 * i + 1] += pair.y;
  }
}

DEVICE_INLINE void add_eight(float (&values)[8], const Eight<float>& other) {
  values[0] += other.first.x, values[1] += other.first.y;
  values[2] += other.first.z, values[3] += other.first.w;
  values[4] += other.second.x, values[5] += other.second.y;
  values[6] += other.second.z, values[7] += other.second.w;
}
