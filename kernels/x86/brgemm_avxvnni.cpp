// brgemm_u8s8_avxvnni_6x16x4, brgemm_s8s8_avxvnni_5x16x4: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: rows as they are; four bytes at a time, broadcast from memory; s8 flipped to u8 on the way
// B: [ceil(k/4)][16][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 15 | k4..7 of column 0 | ...
// C: s32, f32, u8, s8; columns beyond n by masked and by piecewise moves
// Registers, of 16: 6 x 2 accumulators, 2 of B, 1 of A; with the constant 0x80 of s8s8 both compilers spill, so 5 x 2 there
// Needs AVX-VNNI (vpdpbusd in VEX encoding), AVX2, FMA. Sums four u8*s8 into s32 without saturation: exact
// Measured: only in EVEX encoding (brgemm_*_avx512vnni_*_ymm, the same templates; registers beyond 16 are open to it):
//   Zen 4, 2026-11-20, % of vpdpbusd ymm, GCC 12 / Clang 19: u8s8 k=64 s32 88 / 91, u8 78 / 75; k=256 s32 96 / 97, u8 93 / 91;
//   k=1024 s32 98 / 97; s8s8 k=64 s32 80 / 89, u8 70 / 70; k=256 s32 87 / 92, u8 84 / 86; k=1024 s32 89 / 90
#include "kernels/x86/dot.inl.h"
#include "kernels/x86/ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct YmmVnni : Ymm {
  static OCTAVO_INLINE I dpbusd(I acc, I a, I b) { return _mm256_dpbusd_avx_epi32(acc, a, b); }
};

constexpr int kMrU8 = 6, kMrS8 = 5;
static_assert(kMrU8 * 2 + 2 + 1 <= 16, "accumulators, B, A");
static_assert(kMrS8 * 2 + 2 + 1 + 1 + 2 <= 16, "accumulators, B, A, the constant 0x80, two that let the next A come early");

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_avxvnni_6x16x4(const BrgemmArgs* g) { brgemm<DotU8<YmmVnni, kMrU8>>(*g); }
void octavo_brgemm_s8s8_avxvnni_5x16x4(const BrgemmArgs* g) { brgemm<DotS8<YmmVnni, kMrS8>>(*g); }
}
