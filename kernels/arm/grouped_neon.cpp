// grouped_{u8s8,s8s8}_neon_240x32x1: few channels a group, 16 columns of one to four groups at a time
// acc[i][j] = bias[j] + sum_t sum_p A_t[i][(j / group_n) * k + p] * B_t[p][j]
// A: 16 bytes of a row, widened to words
// B: [k][32] s8 widened to s16:  k0 of columns 0..31 | k1 of columns 0..31 | ...
// C: s32, f32, u8, s8, in blocks of 4x16 and 4x4
// Registers, of 32: 4 x 4 accumulators, 8 of A, 1 of B
// Needs Armv8.0. SMLAL adds products of words to s32: exact
// Counted: instructions per 1000 MACs of 3x3 convolutions, 14x14 pixels, 32 groups of 4 / 8 / 16 channels, GCC 12
//   (tests/arm_layers.py --full): u8 534 / 420 / 375; without groups, where 16 values are multiplied for 4, 2307 / 1038 / 500
#include "kernels/arm/grouped.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

template <bool Signed>
struct WordsByLane : Q {
  struct A {
    int16x8_t low, high;
  };
  using B = int16x4_t;
  static constexpr int rows = 4, step = 1, kr = 1, a_bytes = 1, b_bytes = 2;
  static_assert(rows * kBlock / lanes + rows * 2 + 1 <= 32, "accumulators, A, B");

  static OCTAVO_INLINE A a(const char* p, int bytes) {
    const uint8x16_t x = load_up_to_16(p, bytes);
    if constexpr (Signed) return {vmovl_s8(vget_low_s8(vreinterpretq_s8_u8(x))), vmovl_high_s8(vreinterpretq_s8_u8(x))};
    return {vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x))), vreinterpretq_s16_u16(vmovl_high_u8(x))};
  }
  static OCTAVO_INLINE B load_b(const char* p) { return vld1_s16(reinterpret_cast<const int16_t*>(p)); }
  template <int Lane>
  static OCTAVO_INLINE int32x4_t dot(int32x4_t acc, B w, const A& a) {
    return vmlal_laneq_s16(acc, w, Lane < 8 ? a.low : a.high, Lane % 8);
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_grouped_u8s8_neon_240x32x1(const BrgemmArgs* g) { brgemm_grouped<WordsByLane<false>>(*g); }
void octavo_grouped_s8s8_neon_240x32x1(const BrgemmArgs* g) { brgemm_grouped<WordsByLane<true>>(*g); }
}
