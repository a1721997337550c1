// winograd_{u8s8,s8s8}_avxvnni_6x16x2: 3x3 convolutions of stride 1 by F(4x4, 3x3): acc = bias + S ((T a T^t) . (G w G^t)) S^t / 900
// A: pixels as they are, widened to words as they are transformed
// B: [36][batch][ceil(k/2)][16][2] s16:  k0, k1 of column 0 | k0, k1 of column 1 | ... | k0, k1 of column 15 | k2, k3 of column 0 | ...
// C: s32, f32, u8, s8, in tiles of 4x4 pixels, 16 columns
// Registers, of 16: 6 x 2 accumulators (8 columns: 12 x 1), 2 of B, 1 of A
// Needs AVX-VNNI, AVX2, FMA. vpdpwssd of words, without saturation; all sums are modulo 2^32
// Measured: no time yet; instructions, in an emulator (kernels/README.md)
#include "kernels/x86/winograd_ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kTiles = 6;
constexpr PackFormat kFormat{16, 2, 2, 0};
static_assert(kTiles * 2 + 2 + 1 <= 16, "accumulators, B, A");

struct Words : WordsYmm {
  // acc[v] += x * w[v], in pairs of words.
  template <int NV>
  static OCTAVO_INLINE void dot(I (&acc)[NV], I x, const I (&w)[NV]) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) acc[v] = _mm256_dpwssd_avx_epi32(acc[v], x, w[v]);
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_winograd_u8s8_avxvnni_6x16x2(const WinogradArgs* g) { winograd<Words, true, kTiles>(*g, kFormat); }
void octavo_winograd_s8s8_avxvnni_6x16x2(const WinogradArgs* g) { winograd<Words, false, kTiles>(*g, kFormat); }
}
