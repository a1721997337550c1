// brgemm_{u8s8,s8s8}_neon_5x4x16, brgemm_f32f32_neon_6x16x1: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: rows as they are, 16 bytes at a time; u8 flipped to s8 on the way
// B: [ceil(k/16)][4][16] s8:  k0..15 of column 0 | k0..15 of column 1 | ... | k0..15 of column 3 | k16..31 of column 0 | ...
//    f32: [k][16]:  k0 of columns 0..15 | k1 of columns 0..15 | ...
// C: s32, f32, u8, s8; columns beyond n in pieces
// Registers, of 32: 5 x 4 accumulators, 4 of B, 1 of A, 4 products; f32: 6 x 4 accumulators, 6 of A, 2 of B
// Needs Armv8.0. SMULL gives 16-bit products, SADALP adds pairs of them into s32: no sum has only 16 bits, so exact
// Modelled: llvm-mca 19, inner loop, % of SMULL and SADALP alone, GCC 12 / Clang 19: Cortex-A72 s8s8 100 / 100, u8s8 94 / 93 with
//   its flips; Cortex-A55, which does both in the same unit, s8s8 90 / 72; f32, % of FMLA, Cortex-A72 98 / 100
#include "kernels/arm/lane.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kWideMr = 5, kMr = 6, kNv = 4;
static_assert(kWideMr * 4 + 4 + 1 + 4 + 2 <= 32, "int8: accumulators, B, A, products, the next A, the constant 0x80 of u8");
static_assert(kMr * kNv + kMr + 2 <= 32, "f32: accumulators, A, B");

// Without a dot product by lane, lanes are K and not columns: an accumulator for each column, its lanes summed at the end.
struct WideS8 : Q {
  struct Acc {
    int32x4_t column[4];
  };
  struct B {
    int8x16_t column[4];
  };
  template <int M>
  using Rows = PointerRows<M>;
  static constexpr int mr = kWideMr, nv = 1, kr = 16, vector_bytes = 64, a_bytes = 1, a_step = 16;
  static constexpr int64_t k_block = INT64_MAX;
  static constexpr bool has_tail = true, in_order = true;
  static constexpr int splits(int) { return 1; }
  static constexpr int64_t steps(int64_t k) { return k / kr; }

  static OCTAVO_INLINE Acc zero() {
    const int32x4_t z = splat(0);
    return {{z, z, z, z}};
  }
  static OCTAVO_INLINE int8x16_t a(const char* p) { return vld1q_s8(reinterpret_cast<const int8_t*>(p)); }
  static OCTAVO_INLINE void now(int8x16_t& x) { asm volatile("" : "+w"(x)); }
  static OCTAVO_INLINE int8x16_t ready(int8x16_t x) { return x; }
  static OCTAVO_INLINE B load_b(const char* p) {
    B b;
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) {
      b.column[j] = vld1q_s8(reinterpret_cast<const int8_t*>(p + 16 * j));
      now(b.column[j]);  // no pairs of loads: a Cortex-A55 takes longer for one than for two loads
    }
    return b;
  }
  static OCTAVO_INLINE void dot_low(Acc& acc, int8x16_t a, const B& b) {
    int16x8_t p[4];
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) p[j] = vmull_s8(vget_low_s8(a), vget_low_s8(b.column[j]));
    add_pairs(acc, p);
  }
  static OCTAVO_INLINE void dot_high(Acc& acc, int8x16_t a, const B& b) {
    int16x8_t p[4];
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) p[j] = vmull_high_s8(a, b.column[j]);
    add_pairs(acc, p);
  }
  // Four products, then four sums, and so on: cores that work in order wait for none, and four registers hold the products.
  static OCTAVO_INLINE void add_pairs(Acc& acc, int16x8_t (&p)[4]) {
    asm volatile("" : "+w"(p[0]), "+w"(p[1]), "+w"(p[2]), "+w"(p[3]));
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) acc.column[j] = vpadalq_s16(acc.column[j], p[j]);
    asm volatile("" : "+w"(acc.column[0]), "+w"(acc.column[1]), "+w"(acc.column[2]), "+w"(acc.column[3]));
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
  static OCTAVO_INLINE int8x16_t ready(int8x16_t x) { return veorq_s8(x, vdupq_n_s8(-128)); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_neon_5x4x16(const BrgemmArgs* g) { brgemm<WideU8>(*g); }
void octavo_brgemm_s8s8_neon_5x4x16(const BrgemmArgs* g) { brgemm<WideS8>(*g); }
void octavo_brgemm_f32f32_neon_6x16x1(const BrgemmArgs* g) { brgemm<Fmla<kMr, kNv>>(*g); }
}
