// winograd_{u8s8,s8s8}_avx512vnni_12x32x2: 3x3 convolutions of stride 1 by F(4x4, 3x3): acc = bias + S ((T a T^t) . (G w G^t)) S^t / 900
// A: pixels as they are, widened to words as they are transformed
// B: [36][batch][ceil(k/2)][32][2] s16:  k0, k1 of column 0 | k0, k1 of column 1 | ... | k0, k1 of column 31 | k2, k3 of column 0 | ...
// C: s32, f32, u8, s8, in tiles of 4x4 pixels, 32 columns
// Registers, of 32: 12 x 2 accumulators (16 columns: 24 x 1), 2 of B, 1 of A
// Needs AVX-512 F, BW, DQ, VL, VNNI. vpdpwssd of words, without saturation; all sums are modulo 2^32
// Measured: Zen 4, 2026-11-28, GCC 12, whole convolutions of 64 and 128 channels at 56x56, u8: 149 and 165 % of the peak of vpdpbusd zmm
//   for the products of a direct one, 1.5 and 1.7 times as fast; other shapes in kernels/README.md
#include "kernels/x86/winograd.inl.h"
#include "kernels/x86/zmm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kTiles = 12;
constexpr PackFormat kFormat{32, 2, 2, 0};
static_assert(kTiles * 2 + 2 + 1 <= 32, "accumulators, B, A");

struct Words : Zmm {
  static constexpr int a_bytes = 1;
  static OCTAVO_INLINE void now(I& x) { asm volatile("" : "+v"(x)); }
  // acc[v] += x * w[v], in pairs of words.
  template <int NV>
  static OCTAVO_INLINE void dot(I (&acc)[NV], I x, const I (&w)[NV]) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) acc[v] = _mm512_dpwssd_epi32(acc[v], x, w[v]);
  }
  // 32 bytes, of which `live` are there, to words.
  template <bool Unsigned>
  static OCTAVO_INLINE I widen16(const char* p, int live) {
    const __m256i x = _mm256_maskz_loadu_epi8(__mmask32(0xffffffffu >> (32 - live)), p);
    return Unsigned ? _mm512_cvtepu8_epi16(x) : _mm512_cvtepi8_epi16(x);
  }
  static OCTAVO_INLINE I add16(I x, I y) { return _mm512_add_epi16(x, y); }
  static OCTAVO_INLINE I sub16(I x, I y) { return _mm512_sub_epi16(x, y); }
  template <int N>
  static OCTAVO_INLINE I shl(I x) {
    return _mm512_slli_epi32(x, N);
  }
  template <int N>
  static OCTAVO_INLINE I sar(I x) {
    return _mm512_srai_epi32(x, N);
  }
  static OCTAVO_INLINE I mul_low(I x, I y) { return _mm512_mullo_epi32(x, y); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_winograd_u8s8_avx512vnni_12x32x2(const WinogradArgs* g) { winograd<Words, true, kTiles>(*g, kFormat); }
void octavo_winograd_s8s8_avx512vnni_12x32x2(const WinogradArgs* g) { winograd<Words, false, kTiles>(*g, kFormat); }
}
