// EpilogueArgs' formulas (octavo/ukernel.h) for one sum, written from the contract alone.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "octavo/ukernel.h"

namespace octavo::test {

// What a kernel must store at c for column j of e's arrays. sum: int32_t, with the bias; or float, of an f32 kernel. residual:
// that element, or null.
template <class Sum>
void apply_epilogue(const EpilogueArgs& e, int64_t j, Sum sum, const char* residual, char* c) {
  const auto clamp = [&](float v) {
    v = v > e.lo ? v : e.lo;
    return v < e.hi ? v : e.hi;
  };
  if (e.out == DType::s32) {
    std::memcpy(c, &sum, sizeof sum);
  } else if (e.out == DType::f32) {
    const float bias = e.bias_f32 ? e.bias_f32[j] : 0.0f;
    float v = e.scale ? std::fma(float(sum), e.scale[j], bias) : float(sum) + bias;
    if (residual) {
      float r;
      std::memcpy(&r, residual, sizeof r);
      v += r;
    }
    v = clamp(v);
    std::memcpy(c, &v, sizeof v);
  } else {
    float v = float(sum) * e.scale[j];
    if (residual) {
      const int r = e.residual_dtype == DType::u8 ? int(uint8_t(*residual)) : int(int8_t(*residual));
      v = std::fma(float(sum), e.scale[j], float(r - e.residual_zp) * e.residual_scale);
    }
    *c = char(int32_t(std::nearbyint(clamp(v))) + e.zp);
  }
}

}  // namespace octavo::test
