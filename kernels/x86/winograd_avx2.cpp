// winograd_{u8s8,s8s8}_avx2_6x16x2: 3x3 convolutions of stride 1 by F(4x4, 3x3): acc = bias + S ((T a T^t) . (G w G^t)) S^t / 900
// A: pixels as they are, widened to words as they are transformed
// B: [36][batch][ceil(k/2)][16][2] s16:  k0, k1 of column 0 | k0, k1 of column 1 | ... | k0, k1 of column 15 | k2, k3 of column 0 | ...
// C: s32, f32, u8, s8, in tiles of 4x4 pixels, 16 columns
// Registers, of 16: 6 x 2 accumulators (8 columns: 12 x 1), 2 of B, 1 of A, a product
// Needs AVX2, FMA. vpmaddwd of words: two products of |V| <= 25088 (of u8 128 is taken off) and |U| <= 28800 stay below 2^31; all
//   sums are modulo 2^32
// Measured: Zen 3, 2026-11-27, GCC 12: products at the rate of vpmaddwd and vpaddd alone (80 GMAC/s, peak/vpmaddwd_vpaddd_ymm 77); in
//   products of a direct convolution, with all transforms: 16x16 pixels of 16 / 64 / 128 channels 1.7 / 2.3 / 3.0 times that peak
#include "kernels/x86/winograd_ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kTiles = 6;
constexpr PackFormat kFormat{16, 2, 2, 0};
static_assert(kTiles * 2 + 2 + 1 + 1 <= 16, "accumulators, B, A, a product");

struct Words : WordsYmm {
  // acc[v] += x * w[v], in pairs of words: the products first.
  template <int NV>
  static OCTAVO_INLINE void dot(I (&acc)[NV], I x, const I (&w)[NV]) {
    I y[NV];
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) now(y[v] = _mm256_madd_epi16(x, w[v]));
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) accumulate(acc[v], y[v]);
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_winograd_u8s8_avx2_6x16x2(const WinogradArgs* g) { winograd<Words, true, kTiles>(*g, kFormat); }
void octavo_winograd_s8s8_avx2_6x16x2(const WinogradArgs* g) { winograd<Words, false, kTiles>(*g, kFormat); }
}
