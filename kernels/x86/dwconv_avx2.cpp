// dwconv_{u8s8,s8s8}_avx2_2x32x2, dwconv_f32f32_avx2_7x8x1      acc[x][c] = bias[c] + sum of taps; see octavo/ukernel.h
// A: u8, s8 (flipped to u8) or f32 pixels, channels contiguous
// B: int8: blocks of 32 channels, [kw][kh/2][32][2] s16, in unpack_order:  y0 y1 of c0 | c1 c2 c3 | c16..c19 | c4..c7 | ...
//    f32: blocks of 8 channels, [taps][8]
// C: any type; bytes leave unpacking's order by packing
// Registers (int8 3x3, two pixels): 2 accumulators, a column, its weights, a product, up to 6 of results;
//    f32: 7 accumulators, up to 7 weights, a pixel
// Needs AVX2, FMA. Exact: bytes widened to words, vpmaddwd of words below 2^8 cannot overflow int32
// Measured: Zen 4, 64 channels, 3x3 stride 1: int8 33 % of the vpmaddwd peak (GCC 12), float 67 %; November 2026
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/unroll.inl.h"
#include "kernels/x86/pieces.inl.h"
#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/dwconv_f32.inl.h"
#include "kernels/x86/dwconv_int8.inl.h"
#include "kernels/x86/dwconv_vectors.inl.h"

template <class Base>
struct Widening : Base {
  using T = typename Base::T;
  static constexpr int kGroup = 2, kPixels = 2, kThreeByThree = 0;
  static T dot(T acc, T a, T w) { return Base::add32(acc, Base::madd16(a, w)); }
};

struct Ps {
  using F = __m256;
  static constexpr int N = 8;
  static __m256i mask(int n) { return Ymm::mask(n); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load(const float* p, int n) { return _mm256_maskload_ps(p, mask(n)); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void store(float* p, F v, int n) { _mm256_maskstore_ps(p, mask(n), v); }
  static F set(float v) { return _mm256_set1_ps(v); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static void keep(F& x) { __asm__("" : "+x"(x)); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_dwconv_u8s8_avx2_2x32x2(const DwconvArgs* g) { dwconv_blocks_of_32<Widening<Ymm>, Widening<Xmm>, false>(*g); }
void octavo_dwconv_s8s8_avx2_2x32x2(const DwconvArgs* g) { dwconv_blocks_of_32<Widening<Ymm>, Widening<Xmm>, true>(*g); }
void octavo_dwconv_f32f32_avx2_7x8x1(const DwconvArgs* g) { dwconv_f32<Ps>(*g); }
}
