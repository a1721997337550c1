// The elementwise routines on 16 lanes; tails are masked.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <xsimd/xsimd.hpp>

#include "octavo/eltwise.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/x86/eltwise_xsimd.inl.h"

struct Vec : XsimdVec<xsimd::avx512bw> {
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  struct First {
    __mmask16 mask;
  };
  static First first(size_t n) { return {__mmask16((1u << n) - 1)}; }

  using XsimdVec::load, XsimdVec::store, XsimdVec::load_s32;
  static F load(const float* p, First l) { return _mm512_maskz_loadu_ps(l.mask, p); }
  static F load(const float* p, First l, float fill) { return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), l.mask, p); }
  static void store(float* p, F v, First l) { _mm512_mask_storeu_ps(p, l.mask, v); }
  static I load_s32(const int32_t* p, First l) { return _mm512_maskz_loadu_epi32(l.mask, p); }
  static I load_u8(const uint8_t* p, All) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static I load_u8(const uint8_t* p, First l) { return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(l.mask, p)); }
  static void store_u8(uint8_t* p, I v, All) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v)); }
  static void store_u8(uint8_t* p, I v, First l) { _mm_mask_storeu_epi8(p, l.mask, _mm512_cvtepi32_epi8(v)); }

  struct Bytes {
    static constexpr int N = 64;
    using All = XsimdVec::All;
    struct First {
      __mmask64 mask;
    };
    static First first(size_t n) { return {(__mmask64(1) << n) - 1}; }
    static __m512i load(const uint8_t* p, All) { return _mm512_loadu_si512(p); }
    static __m512i load(const uint8_t* p, First l) { return _mm512_maskz_loadu_epi8(l.mask, p); }
    static void store(uint8_t* p, __m512i v, All) { _mm512_storeu_si512(p, v); }
    static void store(uint8_t* p, __m512i v, First l) { _mm512_mask_storeu_epi8(p, l.mask, v); }
    static __m512i max(__m512i a, __m512i b) { return _mm512_max_epu8(a, b); }
    static __m512i flip(__m512i a, uint8_t mask) { return _mm512_xor_si512(a, _mm512_set1_epi8(char(mask))); }
    // vpshufb looks up the low four bits in one 16-byte slice; the high four choose among the sixteen answers as a tree.
    static __m512i lookup(const uint8_t* table, __m512i i) {
      const __m512i low = _mm512_and_si512(i, _mm512_set1_epi8(15));
      const auto slice = [=](int k) {
        return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * k)));
      };
      const __mmask64 bit4 = _mm512_test_epi8_mask(i, _mm512_set1_epi8(16));
      const __mmask64 bit5 = _mm512_test_epi8_mask(i, _mm512_set1_epi8(32));
      const __mmask64 bit6 = _mm512_test_epi8_mask(i, _mm512_set1_epi8(64));
      const __mmask64 bit7 = _mm512_movepi8_mask(i);
      __m512i v[8];
      for (int k = 0; k < 8; ++k)
        v[k] = _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(slice(2 * k), low), bit4, slice(2 * k + 1), low);
      for (int k = 0; k < 4; ++k) v[k] = _mm512_mask_blend_epi8(bit5, v[2 * k], v[2 * k + 1]);
      for (int k = 0; k < 2; ++k) v[k] = _mm512_mask_blend_epi8(bit6, v[2 * k], v[2 * k + 1]);
      return _mm512_mask_blend_epi8(bit7, v[0], v[1]);
    }
  };
};

#include "kernels/eltwise.inl.h"

}  // namespace
}  // namespace octavo::OCTAVO_ISA

extern "C" {
extern const octavo::EltwiseKernels octavo_eltwise_avx512vnni;
constinit const octavo::EltwiseKernels octavo_eltwise_avx512vnni = octavo::OCTAVO_ISA::eltwise_table<octavo::OCTAVO_ISA::Vec>(
    "eltwise_avx512vnni", octavo::Isa(uint32_t(octavo::Isa::avx2) | uint32_t(octavo::Isa::avx512vnni)));
}
