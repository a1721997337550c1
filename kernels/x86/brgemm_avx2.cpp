// brgemm_{u8s8,s8s8}_avx2_{28,240}x64x4, brgemm_f32f32_avx2_6x16x1: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: int8: copied once per call as magnitudes and signs, four broadcast at a time, for up to 256 columns; in 240x64x4, for short
//    sums, as words, two broadcast at a time; f32: rows as they are
// B: [ceil(k/4)][64][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 63 | k4..7 of column 0 | ...
//    f32: [k][16]:  k0 of columns 0..15 | k1 of columns 0..15 | ...
// C: s32, f32, u8, s8, in blocks of 2x32, 4x16, 4x8 (words: 6x16, 12x8); columns beyond n by masked and by piecewise moves
// One column of C that is dense, from 16 values of K on: by words along K (one_column.inl.h)
// Registers, of 16: 2 x 4 accumulators, 4 products, a magnitude, a sign, ones (words: 6 x 2, 2 of B, 1 of A, a product;
//   f32: 6 x 2, 2 of B, 1 of A)
// Needs AVX2, FMA. vpmaddubsw of magnitudes up to 128 with -128..127 never saturates (signs.inl.h), and vpmaddwd of words below 2^8
//   sums two products in 32 bits (words.inl.h): both are exact
// Measured: int8: Zen 3, 2026-11-27, GCC 12. Pipes bound its mix (xor, vpmaddubsw, vpmaddwd, vpaddd for 32 products) to 32 a cycle.
//   From L1 the loop reaches 25.6 (in blocks of 5x16 22.4), 28.9 without its broadcasts; vpmaddubsw on B as it is, which saturates,
//   29.8. Of plans' time the copy of A is 4 to 7 % for 64 columns and more, 17 to 20 % for 16 to 24.
//   f32: Zen 4, % of FMA: k=64 97 / 96, k=256 98 / 98, k=1024 98 / 98
#include "kernels/x86/dot.inl.h"
#include "kernels/x86/column_words.inl.h"
#include "kernels/x86/signs.inl.h"
#include "kernels/x86/words.inl.h"
#include "kernels/x86/ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kMrF32 = 6;
static_assert(2 * kBlock + kBlock + 2 + 1 <= 16, "accumulators, products, magnitude and sign, ones");
static_assert(kWordGroup * 2 + 2 + 1 + 1 <= 16, "accumulators, B, A, a product");
static_assert(kMrF32 * 2 + 2 + 1 <= 16, "accumulators, B, A");

template <bool Flip>
OCTAVO_INLINE void tile_of_signs(const BrgemmArgs& g) {
  is_one_column<WordColumn<Flip>>(g) ? brgemm_column<WordColumn<Flip>>(g) : brgemm_by_signs<Flip>(g);
}
template <bool Flip>
OCTAVO_INLINE void groups_of_words(const BrgemmArgs& g) {
  is_one_column<WordColumn<Flip>>(g) ? brgemm_column<WordColumn<Flip>>(g) : brgemm_by_words<Flip>(g);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_avx2_28x64x4(const BrgemmArgs* g) { tile_of_signs<true>(*g); }
void octavo_brgemm_s8s8_avx2_28x64x4(const BrgemmArgs* g) { tile_of_signs<false>(*g); }
void octavo_brgemm_u8s8_avx2_240x64x4(const BrgemmArgs* g) { groups_of_words<true>(*g); }
void octavo_brgemm_s8s8_avx2_240x64x4(const BrgemmArgs* g) { groups_of_words<false>(*g); }
void octavo_brgemm_f32f32_avx2_6x16x1(const BrgemmArgs* g) { brgemm<Fma<Ymm, kMrF32>>(*g); }
}
