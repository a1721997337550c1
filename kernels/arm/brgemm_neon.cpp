// brgemm_{u8s8,s8s8}_neon_5x4x16, brgemm_f32f32_neon_6x16x1: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: rows as they are, 16 bytes at a time; u8 flipped to s8 on the way
// B: [ceil(k/16)][4][16] s8:  k0..15 of column 0 | k0..15 of column 1 | ... | k0..15 of column 3 | k16..31 of column 0 | ...
//    f32: [k][16]:  k0 of columns 0..15 | k1 of columns 0..15 | ...
// C: s32, f32, u8, s8; columns beyond n in pieces
// Registers, of 32: 5 x 4 accumulators, 1 of B, 5 of A, 4 products, the constant 0x80 of u8
//    f32: 6 x 4 accumulators, 6 of A, 2 of B
// Needs Armv8.0. SMULL gives 16-bit products, SADALP adds pairs of them into s32: no sum has only 16 bits, so exact
// Modelled: llvm-mca 19 (tests/arm_speed.py), inner loop, % of SMULL and SADALP alone, GCC 12: Cortex-A55, which does both in the
//   same unit, and in order, s8s8 96, u8s8 91 with its flips; Cortex-A72 s8s8 100, u8s8 93; f32, % of FMLA, Cortex-A72 98
#include "kernels/arm/lane.inl.h"
#include "kernels/arm/widening.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kWideMr = 5, kMr = 6, kNv = 4;
static_assert(kWideMr * 4 + 1 + kWideMr + 4 + 1 <= 32, "int8: accumulators, B, A, products, the constant 0x80 of u8");
static_assert(kMr * kNv + kMr + 2 <= 32, "f32: accumulators, A, B");

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_neon_5x4x16(const BrgemmArgs* g) { brgemm<Widening<kWideMr, true>>(*g); }
void octavo_brgemm_s8s8_neon_5x4x16(const BrgemmArgs* g) { brgemm<Widening<kWideMr, false>>(*g); }
void octavo_brgemm_f32f32_neon_6x16x1(const BrgemmArgs* g) { brgemm<Fmla<kMr, kNv>>(*g); }
}
