// brgemm_{u8s8,s8s8}_neon_6x4x16, brgemm_f32f32_neon_6x16x1: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: rows as they are, 16 bytes at a time; u8 flipped to s8 on the way
// B: [ceil(k/16)][4][16] s8:  k0..15 of column 0 | k0..15 of column 1 | ... | k0..15 of column 3 | k16..31 of column 0 | ...
//    f32: [k][16]:  k0 of columns 0..15 | k1 of columns 0..15 | ...
// C: s32, f32, u8, s8; columns beyond n in pieces
// Registers, of 32: 6 x 4 accumulators, 4 of B, 1 of A, products; f32: 6 x 4 accumulators, 6 of A, 2 of B
// Needs Armv8.0. SMULL gives 16-bit products, SADALP adds pairs of them into s32: no sum has only 16 bits, so exact
#include "kernels/arm/lane.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kMr = 6, kNv = 4;
static_assert(kMr * 4 + 4 + 1 + 2 <= 32, "int8: accumulators, B, A, two products");
static_assert(kMr * kNv + kMr + 2 <= 32, "f32: accumulators, A, B");

// Without a dot product by lane, lanes are K and not columns: an accumulator for each column, whose lanes are summed at the end.
struct WideS8 : Q {
  struct Acc {
    int32x4_t column[4];
  };
  struct B {
    int8x16_t column[4];
  };
  template <int M>
  using Rows = PointerRows<M>;
  static constexpr int mr = kMr, nv = 1, kr = 16, vector_bytes = 64, a_bytes = 1, a_step = 16;
  static constexpr int64_t k_block = INT64_MAX;
  static constexpr bool has_tail = true;
  static constexpr int splits(int) { return 1; }
  static constexpr int64_t steps(int64_t k) { return k / kr; }

  static OCTAVO_INLINE void keep(B&) {}
  using Q::keep;
  static OCTAVO_INLINE Acc zero() {
    const int32x4_t z = splat(0);
    return {{z, z, z, z}};
  }
  static OCTAVO_INLINE int8x16_t a(const char* p) { return vld1q_s8(reinterpret_cast<const int8_t*>(p)); }
  static OCTAVO_INLINE B load_b(const char* p) { return {{a(p), a(p + 16), a(p + 32), a(p + 48)}}; }
  static OCTAVO_INLINE Acc dot(Acc acc, int8x16_t a, B b) {
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) {
      acc.column[j] = vpadalq_s16(acc.column[j], vmull_s8(vget_low_s8(a), vget_low_s8(b.column[j])));
      acc.column[j] = vpadalq_s16(acc.column[j], vmull_high_s8(a, b.column[j]));
    }
    return acc;
  }
  static OCTAVO_INLINE I finish(const Acc& acc) {
    return vpaddq_s32(vpaddq_s32(acc.column[0], acc.column[1]), vpaddq_s32(acc.column[2], acc.column[3]));
  }

  template <int M>
  struct Tail {
    RowEnds<M> ends;
    OCTAVO_INLINE int8x16_t operator()(int i) const { return vreinterpretq_s8_u8(ends[i]); }
  };
};

// u8 as s8: xor 0x80 takes 128 from each value (PackFormat::a_offset). Behind the end of a row too, where B is zero.
struct WideU8 : WideS8 {
  static OCTAVO_INLINE int8x16_t flip(int8x16_t x) { return veorq_s8(x, vdupq_n_s8(-128)); }
  static OCTAVO_INLINE int8x16_t a(const char* p) { return flip(WideS8::a(p)); }
  template <int M>
  struct Tail {
    RowEnds<M> ends;
    OCTAVO_INLINE int8x16_t operator()(int i) const { return flip(vreinterpretq_s8_u8(ends[i])); }
  };
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_neon_6x4x16(const BrgemmArgs* g) { brgemm<WideU8>(*g); }
void octavo_brgemm_s8s8_neon_6x4x16(const BrgemmArgs* g) { brgemm<WideS8>(*g); }
void octavo_brgemm_f32f32_neon_6x16x1(const BrgemmArgs* g) { brgemm<Fmla<kMr, kNv>>(*g); }
}
