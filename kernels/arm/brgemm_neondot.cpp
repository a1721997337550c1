// brgemm_s8s8_neondot_6x16x4: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: rows as they are, 16 bytes at a time
// B: [ceil(k/4)][16][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 15 | k4..7 of column 0 | ...
// C: s32, f32, u8, s8; columns beyond n in pieces
// Registers, of 32: 6 x 4 accumulators, 6 of A, 2 of B
// Needs dotprod. SDOT sums four s8*s8 into s32 without saturation: exact
// Modelled: llvm-mca 19, Neoverse N1, inner loop, % of SDOT alone, GCC 12 / Clang 19: 98 / 100
#include "kernels/arm/lane.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kMr = 6, kNv = 4;
static_assert(kMr * kNv + kMr + 2 <= 32, "accumulators, A, B");

// SDOT by lane: four s8 times four s8 into each s32 lane.
struct DotS8 : ByLane<kMr, kNv> {
  using Acc = int32x4_t;
  using A = int8x16_t;
  using B = int8x16_t;
  static constexpr int kr = 4, a_bytes = 1;
  static constexpr int splits(int vectors) { return vectors <= 4 ? 2 : 1; }

  static OCTAVO_INLINE Acc zero() { return splat(0); }
  static OCTAVO_INLINE A a(const char* p) { return vld1q_s8(reinterpret_cast<const int8_t*>(p)); }
  static OCTAVO_INLINE B load_b(const char* p) { return a(p); }
  template <int Lane>
  static OCTAVO_INLINE Acc dot(Acc acc, const A& a, B b) {
    return vdotq_laneq_s32(acc, b, a, Lane);
  }

  template <int M>
  struct Tail {
    RowEnds<M> ends;
    OCTAVO_INLINE A operator()(int i) const { return vreinterpretq_s8_u8(ends[i]); }
  };
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_s8s8_neondot_6x16x4(const BrgemmArgs* g) { brgemm<DotS8>(*g); }
}
