// half.cuh -- numbers of 16 bits in memory, floats in registers: IEEE 754's binary16, 11 bits of
// precision, up to 65504. Kernels compute in float whatever their maps hold and round when they
// store. No cuda_fp16.h: NVRTC needs no header.
#pragma once
#include "device.cuh"

struct alignas(2) half {
  unsigned short bits;
};

#if HOST_BUILD
#include "host/half.h"
#else

namespace dev {

// Two floats rounded to the nearest halves, the first in the lower 16 bits; infinity from 65520 on.
DEVICE_INLINE unsigned pack_halves(float first, float second) {
  unsigned packed;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(second), "f"(first));
#else
  asm("{ .reg .b16 low, high; cvt.rn.f16.f32 low, %1; cvt.rn.f16.f32 high, %2;"
      "  mov.b32 %0, {low, high}; }"
      : "=r"(packed)
      : "f"(first), "f"(second));
#endif
  return packed;
}

DEVICE_INLINE float2 unpack_halves(unsigned packed) {
  float2 values;
  asm("{ .reg .b16 low, high; mov.b32 {low, high}, %2;"
      "  cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
      : "=f"(values.x), "=f"(values.y)
      : "r"(packed));
  return values;
}

}  // namespace dev
#endif

// One number of a map of floats or of halves.
DEVICE_INLINE float load_one(const float* from) { return *from; }
DEVICE_INLINE float load_one(const half* from) { return dev::unpack_halves(from->bits).x; }
DEVICE_INLINE void store_one(float* to, float value) { *to = value; }
DEVICE_INLINE void store_one(half* to, float value) {
  to->bits = static_cast<unsigned short>(dev::pack_halves(value, 0.f));
}

// Halves overflow where floats do not. What is computed from an infinity or from NaN is one itself
// in every kernel on halves, so that it reaches the network's outputs, where it is looked for
// (decode.cu): where a function makes a finite `result` of such an `argument`, this makes NaN of it.
template <class Element>
DEVICE_INLINE float keep_overflow(float result, float argument) {
  return sizeof(Element) == 2 ? result + 0.f * argument : result;
}
