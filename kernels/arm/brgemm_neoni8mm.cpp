// brgemm_{u8s8,s8s8}_neoni8mm_48x64x8: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: copied in pairs of rows, six rows at a time; serves 64 columns
// B: [ceil(k/8)][64][8] s8:  k0..7 of column 0 | k0..7 of column 1 | ... | k0..7 of column 63 | k8..15 of column 0 | ...
// C: s32, f32, u8, s8, in blocks of 6x16, 6x8 and 6x4; other column counts through padded copies
// Registers, of 32: 3 x 8 accumulators of 2x2 sums, 3 of A, 2 of B
// Needs I8MM. SMMLA and USMMLA sum eight s8*s8 and eight u8*s8 into s32 without saturation: exact; A is not flipped
// Modelled: llvm-mca 19 (tests/arm_speed.py), % of two (N2) or four (V1, V2) SMMLA a cycle, GCC 12: inner loop n2 99, v1 98,
//   v2 98; a whole call with 8-bit output, the copy of A and the epilogue in it, k=64 n2 61, v1 59, v2 60; k=256 n2 86, v1 85,
//   v2 85. The bound at k=64: 192 SMMLA and 114 others on the same pipes for 6x16 sums (3 for each register: float, scale, round;
//   36 to narrow, of which 6 put rows apart and 6 store; the constants' share): 63. At k=256: 87
#include "kernels/arm/mmla.inl.h"
#include "kernels/arm/neon.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct Smmla : Neon {
  using A = int8x16_t;
  static OCTAVO_INLINE A load_a(const char* p) { return vld1q_s8(reinterpret_cast<const int8_t*>(p)); }
  static OCTAVO_INLINE I mmla(I acc, A a, B b) { return vmmlaq_s32(acc, a, b); }
};
struct Usmmla : Neon {
  using A = uint8x16_t;
  static OCTAVO_INLINE A load_a(const char* p) { return vld1q_u8(reinterpret_cast<const uint8_t*>(p)); }
  static OCTAVO_INLINE I mmla(I acc, A a, B b) { return vusmmlaq_s32(acc, a, b); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_neoni8mm_48x64x8(const BrgemmArgs* g) { block_brgemm<Mmla<Usmmla>>(*g); }
void octavo_brgemm_s8s8_neoni8mm_48x64x8(const BrgemmArgs* g) { block_brgemm<Mmla<Smmla>>(*g); }
}
