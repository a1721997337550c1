// brgemm_{u8s8,s8s8}_avx512vnni_{14,120}x32x4, brgemm_f32f32_avx512vnni_{14,120}x32x1: one tile, or groups of 6 rows for short
// sums (stream.inl.h), or bytes along K for one column (one_column.inl.h); and for tests the AVX-VNNI tiles in EVEX encoding
// acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: rows as they are; four bytes (one float) at a time, broadcast from memory; s8 flipped to u8 on the way
// B: [ceil(k/4)][32][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 31 | k4..7 of column 0 | ...
//    f32: [k][32]:  k0 of columns 0..31 | k1 of columns 0..31 | ...
// C: s32, f32, u8, s8; columns beyond n masked
// Registers, of 32: 14 x 2 accumulators (6 x 2 and the 6 x 2 of the group before), 2 of B, 1 of A, and for s8s8 the constant
// 0x80; addresses in 7 of 16. One column: 8 and 8 accumulators, 1 of A, the constant
// Needs AVX-512 F, BW, DQ, VL, VNNI. vpdpbusd sums four u8*s8 into s32 without saturation: exact
// Measured: Zen 4, 2026-11-20, % of vpdpbusd zmm (f32: of FMA), full tile in cache, GCC 12 / Clang 19:
//   u8s8 k=64 s32 87 / 90, u8 83 / 80; k=256 s32 95 / 96, u8 94 / 93; k=1024 s32 98 / 98, u8 97 / 97; s8s8 the same +-1
//   f32 k=64 96 / 95, k=256 98 / 97, k=1024 98 / 98
//   2026-11-28, GCC 12, columns that end in half a register: 3136x24x144 u8 88, 4096x8x256 u8 69; f32 8 columns, k=96 69
//   one column, u8: 4096x1x64 14, 4096x1x256 22, 4096x1x1024 16: A is read at 33, 53 and 38 GB/s
#include "kernels/stream.inl.h"
#include "kernels/x86/column_bytes.inl.h"
#include "kernels/x86/dot.inl.h"
#include "kernels/x86/ymm.inl.h"
#include "kernels/x86/zmm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct ZmmVnni : Zmm {
  static OCTAVO_INLINE I dpbusd(I acc, I a, I b) { return _mm512_dpbusd_epi32(acc, a, b); }
  // Of the lower halves; the upper ones are not used.
  static OCTAVO_INLINE I dot_half(I acc, I a, I b) {
    return _mm512_castsi256_si512(
        _mm256_dpbusd_epi32(_mm512_castsi512_si256(acc), _mm512_castsi512_si256(a), _mm512_castsi512_si256(b)));
  }
  static OCTAVO_INLINE F dot_half(F acc, F a, F b) {
    return _mm512_castps256_ps512(
        _mm256_fmadd_ps(_mm512_castps512_ps256(a), _mm512_castps512_ps256(b), _mm512_castps512_ps256(acc)));
  }
};
// The same where values of A are used in lower halves only: two such loads take as long as one of a whole register.
struct HalfVnni : ZmmVnni {
  using ZmmVnni::splat;
  static OCTAVO_INLINE F splat(float x) { return _mm512_castps256_ps512(_mm256_set1_ps(x)); }
  static OCTAVO_INLINE I splat_at(const char* p) {
    int32_t x;
    std::memcpy(&x, p, sizeof x);
    return _mm512_castsi256_si512(_mm256_set1_epi32(x));
  }
};
// The AVX-VNNI kernels in EVEX encoding, so that machines without AVX-VNNI can test their code.
struct YmmVnni : Ymm {
  static OCTAVO_INLINE I dpbusd(I acc, I a, I b) { return _mm256_dpbusd_epi32(acc, a, b); }
};

constexpr int kMr = 14, kGroup = 6, kYmmMrU8 = 6, kYmmMrS8 = 5;
static_assert(kMr * 2 + 2 + 1 + 1 <= 32, "accumulators, B, A, and the constant 0x80 of s8s8");
static_assert(kGroup * 2 * 2 + 2 + 1 + 1 <= 32, "accumulators of two groups, B, A, and the constant 0x80 of s8s8");

// D: what is multiplied; H: the same with values of A in lower halves only.
template <class D>
OCTAVO_INLINE void tile_or_column(const BrgemmArgs& g) {
  is_one_column<ByteColumn<D>>(g) ? brgemm_column<ByteColumn<D>>(g) : brgemm<D>(g);
}
template <class D, class H>
OCTAVO_INLINE void groups_or_column(const BrgemmArgs& g) {
  is_one_column<ByteColumn<D>>(g) ? brgemm_column<ByteColumn<D>>(g) : brgemm_stream<D, kGroup, H>(g);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_avx512vnni_14x32x4(const BrgemmArgs* g) { tile_or_column<DotU8<ZmmVnni, kMr>>(*g); }
void octavo_brgemm_u8s8_avx512vnni_120x32x4(const BrgemmArgs* g) {
  groups_or_column<DotU8<ZmmVnni, kMr>, DotU8<HalfVnni, kMr>>(*g);
}
void octavo_brgemm_s8s8_avx512vnni_14x32x4(const BrgemmArgs* g) { tile_or_column<DotS8<ZmmVnni, kMr>>(*g); }
void octavo_brgemm_s8s8_avx512vnni_120x32x4(const BrgemmArgs* g) {
  groups_or_column<DotS8<ZmmVnni, kMr>, DotS8<HalfVnni, kMr>>(*g);
}
void octavo_brgemm_f32f32_avx512vnni_14x32x1(const BrgemmArgs* g) { brgemm<Fma<Zmm, kMr>>(*g); }
void octavo_brgemm_f32f32_avx512vnni_120x32x1(const BrgemmArgs* g) {
  brgemm_stream<Fma<ZmmVnni, kMr>, kGroup, Fma<HalfVnni, kMr>>(*g);
}
void octavo_brgemm_u8s8_avx512vnni_6x16x4_ymm(const BrgemmArgs* g) { brgemm<DotU8<YmmVnni, kYmmMrU8>>(*g); }
void octavo_brgemm_s8s8_avx512vnni_5x16x4_ymm(const BrgemmArgs* g) { brgemm<DotS8<YmmVnni, kYmmMrS8>>(*g); }
}
