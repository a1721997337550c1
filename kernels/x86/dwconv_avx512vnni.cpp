// dwconv_{u8s8,s8s8}_avx512vnni_4x64x4, dwconv_f32f32_avx512vnni_7x16x1      acc[x][c] = bias[c] + sum of taps
// A: u8, s8 (flipped to u8) or f32 pixels, channels contiguous
// B: int8: blocks of 64 channels, [kw][kh/4][64][4] s8, in unpack_order:  y0..y3 of c0 | c1 c2 c3 | c16..c19 | c32..c35 | ...
//    f32: blocks of 16 channels, [taps][16]
// C: any type; bytes leave unpacking's order by packing
// Registers (int8 3x3, 2 rows x 2 pixels): 16 of interleaved columns, 4 accumulators, 2 weights, up to 8 of results;
//    (5x5 of stride 2): 12 accumulators, 4 of a column, up to 8 of results;  f32: 7 accumulators, up to 7 weights, a pixel
// Needs AVX-512 F, BW, VL, VNNI. Exact: vpdpbusd adds four products of u8 and s8 to int32 without saturation
// Measured: Zen 4, 64 channels, 3x3: stride 1 39 % of peak (23 cycles for 64 outputs; multiplying and scaling alone take 16),
//    stride 2 31 % (29 cycles); GCC 12 and Clang 19, November 2026. Whole layers, u8, 2026-11-28, GCC 12: 5x5 of stride 2, 256
//    channels at 28x28 24 %. Float: 3x3 of 64 channels 89 %, 5x5 94 %; whole layers, which skip padding but count it: 3x3 of 192 at 28x28
//    74 %, 5x5 of 120 at 28x28 90 %, and 7x7 of 96 at 56x56 101 %
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

struct Zmm {
  using T = __m512i;
  using F = __m512;
  static constexpr int kChannels = 64;

  static __mmask64 bytes(int n) { return ~__mmask64(0) >> (64 - n); }
  static T load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, T v) { _mm512_storeu_si512(p, v); }
  static T load(const void* p, int n) { return _mm512_maskz_loadu_epi8(bytes(n), p); }
  static void store(void* p, T v, int n) { _mm512_mask_storeu_epi8(p, bytes(n), v); }
  static __mmask16 words(int n) { return n < 16 ? __mmask16((1 << n) - 1) : __mmask16(0xffff); }
  static T load_words(const void* p, int n) { return _mm512_maskz_loadu_epi32(words(n), p); }
  static void store_words(void* p, T v, int n) { _mm512_mask_storeu_epi32(p, words(n), v); }

  static T zero() { return _mm512_setzero_si512(); }
  static T set_s8(int v) { return _mm512_set1_epi8(char(v)); }
  static T set_s16(int v) { return _mm512_set1_epi16(short(v)); }
  static T set_s32(int v) { return _mm512_set1_epi32(v); }
  static F set_f32(float v) { return _mm512_set1_ps(v); }
  static T bitxor(T a, T b) { return _mm512_xor_si512(a, b); }
  static T bitor_(T a, T b) { return _mm512_or_si512(a, b); }
  template <int k>
  static T shift_left(T a) {
    return _mm512_slli_epi32(a, k);
  }
  template <int k>
  static T shift_right(T a) {
    return _mm512_srli_epi32(a, k);
  }
  static T unpacklo8(T a, T b) { return _mm512_unpacklo_epi8(a, b); }
  static T unpackhi8(T a, T b) { return _mm512_unpackhi_epi8(a, b); }
  static T unpacklo16(T a, T b) { return _mm512_unpacklo_epi16(a, b); }
  static T unpackhi16(T a, T b) { return _mm512_unpackhi_epi16(a, b); }
  static T packs32(T a, T b) { return _mm512_packs_epi32(a, b); }
  static T packus16(T a, T b) { return _mm512_packus_epi16(a, b); }
  static T adds16(T a, T b) { return _mm512_adds_epi16(a, b); }
  static T min8(T a, T b) { return _mm512_min_epu8(a, b); }
  static T add8(T a, T b) { return _mm512_add_epi8(a, b); }
  static T sub32(T a, T b) { return _mm512_sub_epi32(a, b); }
  static F to_f32(T a) { return _mm512_cvtepi32_ps(a); }
  static T to_s32(F a) { return _mm512_cvtps_epi32(a); }
  static int to_s32(float a) { return Xmm::to_s32(a); }
  static F as_f32(T a) { return _mm512_castsi512_ps(a); }
  static T as_s32(F a) { return _mm512_castps_si512(a); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }

  static void keep(T& x) { __asm__ volatile("" : "+v"(x)); }  // in a register, here
  static bool below_one(F a) { return _mm512_cmp_ps_mask(_mm512_abs_ps(a), _mm512_set1_ps(1), _CMP_LT_OQ) == 0xffff; }

  static void from_quarters(const T (&q)[4], T (&natural)[4]) {  // transposes 4 x 4 lanes; its own inverse
    const T a = _mm512_shuffle_i32x4(q[0], q[1], 0x44), b = _mm512_shuffle_i32x4(q[0], q[1], 0xee);
    const T c = _mm512_shuffle_i32x4(q[2], q[3], 0x44), d = _mm512_shuffle_i32x4(q[2], q[3], 0xee);
    natural[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    natural[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    natural[2] = _mm512_shuffle_i32x4(b, d, 0x88);
    natural[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
  static void load_quarters(const void* p, int n, T (&q)[4]) {
    T natural[4];
    for (int i = 0; i < 4; ++i)
      natural[i] = p && n > 16 * i ? load_words(static_cast<const int*>(p) + 16 * i, n - 16 * i) : zero();
    from_quarters(natural, q);
  }
};

struct Vnni64 : Zmm {
  static constexpr int kGroup = 4, kPixels = 4, kThreeByThree = 2;
  static T dot(T acc, T a, T w) { return _mm512_dpbusd_epi32(acc, a, w); }
};
struct Vnni32 : Ymm {
  static constexpr int kGroup = 4, kPixels = 4, kThreeByThree = 2;
  static T dot(T acc, T a, T w) { return _mm256_dpbusd_epi32(acc, a, w); }
};
struct Vnni16 : Xmm {
  static constexpr int kGroup = 4, kPixels = 4, kThreeByThree = 2;
  static T dot(T acc, T a, T w) { return _mm_dpbusd_epi32(acc, a, w); }
};
// As AVX-VNNI has them: code for 16 registers.
struct Narrow32 : Vnni32 {
  static constexpr int kPixels = 2, kThreeByThree = 1;
};
struct Narrow16 : Vnni16 {
  static constexpr int kPixels = 2, kThreeByThree = 1;
};
// Tails by mask.
struct Masked32 : Vnni32 {
  using Ymm::load, Ymm::store;
  static T load(const void* p, int n) { return _mm256_maskz_loadu_epi8(~__mmask32(0) >> (32 - n), p); }
  static void store(void* p, T v, int n) { _mm256_mask_storeu_epi8(p, ~__mmask32(0) >> (32 - n), v); }
};
struct Masked16 : Vnni16 {
  using Xmm::load, Xmm::store;
  static T load(const void* p, int n) { return _mm_maskz_loadu_epi8(__mmask16(0xffff >> (16 - n)), p); }
  static void store(void* p, T v, int n) { _mm_mask_storeu_epi8(p, __mmask16(0xffff >> (16 - n)), v); }
};

template <bool kFlip>
void dwconv_int8(const DwconvArgs& g) {
  const ptrdiff_t block = Window(g, 4).bytes(64);
  const char* w = static_cast<const char*>(g.w);
  for (int64_t c = 0; c < g.channels; c += 64, w += block) {
    const int n = g.channels - c < 64 ? int(g.channels - c) : 64;
    if (n > 32) {
      n == 64 ? channels_of<Vnni64, 64, false, kFlip>(g, w, c, n) : channels_of<Vnni64, 64, true, kFlip>(g, w, c, n);
    } else if (n > 16) {
      n == 32 ? channels_of<Vnni32, 64, false, kFlip>(g, w, c, n) : channels_of<Masked32, 64, true, kFlip>(g, w, c, n);
    } else {
      n == 16 ? channels_of<Vnni16, 64, false, kFlip>(g, w, c, n) : channels_of<Masked16, 64, true, kFlip>(g, w, c, n);
    }
  }
}

struct Ps {
  using F = __m512;
  static constexpr int N = 16;
  static __mmask16 mask(int n) { return __mmask16((1 << n) - 1); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load(const float* p, int n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, F v, int n) { _mm512_mask_storeu_ps(p, mask(n), v); }
  static F set(float v) { return _mm512_set1_ps(v); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static void keep(F& x) { __asm__("" : "+v"(x)); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_dwconv_u8s8_avx512vnni_4x64x4(const DwconvArgs* g) { dwconv_int8<false>(*g); }
void octavo_dwconv_s8s8_avx512vnni_4x64x4(const DwconvArgs* g) { dwconv_int8<true>(*g); }
void octavo_dwconv_u8s8_avx512vnni_2x32x4(const DwconvArgs* g) { dwconv_blocks_of_32<Narrow32, Narrow16, false>(*g); }
void octavo_dwconv_s8s8_avx512vnni_2x32x4(const DwconvArgs* g) { dwconv_blocks_of_32<Narrow32, Narrow16, true>(*g); }
void octavo_dwconv_f32f32_avx512vnni_7x16x1(const DwconvArgs* g) { dwconv_f32<Ps>(*g); }
}
