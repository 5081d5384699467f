// half.h -- half.cuh on the CPU.
#pragma once
#include "cuda.h"

namespace host {

// Compilers' own type for binary16 rounds to nearest, as the GPU's instruction does.
inline unsigned half_bits(float value) {
  return bits_as<uint16_t>(static_cast<_Float16>(value));
}
inline float half_value(unsigned bits) {
  return static_cast<float>(bits_as<_Float16>(static_cast<uint16_t>(bits)));
}

}  // namespace host

namespace dev {

inline unsigned pack_halves(float first, float second) {
  return host::half_bits(first) | host::half_bits(second) << 16;
}

inline float2 unpack_halves(unsigned packed) {
  return make_float2(host::half_value(packed & 0xffff), host::half_value(packed >> 16));
}

}  // namespace dev
