// K of grouped.inl.h for SDOT and SUDOT by lane: four values a lane.
#pragma once

#include "kernels/arm/grouped.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

enum class Dot { s8, u8, flipped_u8 };  // u8 by SUDOT, which comes with i8mm, or as s8: xor 0x80 takes 128 (PackFormat::a_offset)

template <Dot D>
struct DotByLane : Q {
  using A = int8x16_t;
  using B = int8x16_t;
  static constexpr int rows = 5, step = 4, kr = 4, a_bytes = 1, b_bytes = 1;
  static_assert(rows * kBlock / lanes + rows + 2 <= 32, "accumulators, A, B, the constant 0x80");

  static OCTAVO_INLINE A a(const char* p, int bytes) {
    const int8x16_t x = vreinterpretq_s8_u8(load_up_to_16(p, bytes));
    return D == Dot::flipped_u8 ? veorq_s8(x, vdupq_n_s8(-128)) : x;
  }
  static OCTAVO_INLINE B load_b(const char* p) { return vld1q_s8(reinterpret_cast<const int8_t*>(p)); }
  template <int Lane>
  static OCTAVO_INLINE int32x4_t dot(int32x4_t acc, B w, A a) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    if constexpr (D == Dot::u8) return vsudotq_laneq_s32(acc, w, vreinterpretq_u8_s8(a), Lane);
#endif
    return vdotq_laneq_s32(acc, w, a, Lane);
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
