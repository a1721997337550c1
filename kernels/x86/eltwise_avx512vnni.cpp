// The elementwise routines on 16 lanes; tails are masked.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <xsimd/xsimd.hpp>

#include "octavo/eltwise.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/eltwise_lane.inl.h"
#include "kernels/x86/eltwise_xsimd.inl.h"

struct Vec : XsimdVec<xsimd::avx512bw> {
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F nan_to_zero(F v) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v); }
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

  // Bytes to floats by the exponent of 2^23, between whose neighbours lie integers: 2^23 + b, minus 2^23 + zp. The unpacks stay
  // in their 16-byte lanes, as do the packs that undo them.
  static constexpr int kGroup = 4;
  struct Widen {
    __m512i flip;
    F base;
    Widen(int32_t zp, uint8_t top) : flip(_mm512_set1_epi8(char(top))), base(float(0x800000 + zp)) {}
    OCTAVO_INLINE void operator()(__m512i bytes, F (&v)[4]) const {
      bytes = _mm512_xor_si512(bytes, flip);
      const __m512i zero = _mm512_setzero_si512(), exponent = _mm512_set1_epi16(0x4b00);
      const __m512i low = _mm512_unpacklo_epi8(bytes, zero), high = _mm512_unpackhi_epi8(bytes, zero);
      v[0] = F(_mm512_castsi512_ps(_mm512_unpacklo_epi16(low, exponent))) - base;
      v[1] = F(_mm512_castsi512_ps(_mm512_unpackhi_epi16(low, exponent))) - base;
      v[2] = F(_mm512_castsi512_ps(_mm512_unpacklo_epi16(high, exponent))) - base;
      v[3] = F(_mm512_castsi512_ps(_mm512_unpackhi_epi16(high, exponent))) - base;
    }
    // The floats of p[0..63] in their order.
    OCTAVO_INLINE void in_order(const uint8_t* p, F (&v)[4]) const {
      const __m512i top = _mm512_srli_epi32(flip, 24), exponent = _mm512_set1_epi32(0x4b000000);
      OCTAVO_UNROLL
      for (int k = 0; k < 4; ++k) {
        const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * k)));
        v[k] = F(_mm512_castsi512_ps(_mm512_ternarylogic_epi32(bytes, top, exponent, 0xbe))) - base;  // (bytes ^ top) | exponent
      }
    }
  };
  // All saturates, so that the bounds are applied to bytes. What is above int32 converts to the least int32, as a NaN does.
  struct Narrow {
    __m512i zp, lo, hi, flip;
    Narrow(int32_t z, uint8_t least, uint8_t most, uint8_t top)
        : zp(_mm512_set1_epi16(short(z))), lo(_mm512_set1_epi8(char(least))), hi(_mm512_set1_epi8(char(most))),
          flip(_mm512_set1_epi8(char(top))) {}
    static constexpr float kNear = 0x1p30f;  // what is less converts as it is
    static OCTAVO_INLINE I round(F v, F, F most) { return to_int(min(most, v)); }
    OCTAVO_INLINE __m512i operator()(const I (&v)[4]) const {
      const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), zp), high = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), zp);
      return _mm512_xor_si512(_mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(low, high), lo), hi), flip);
    }
    static OCTAVO_INLINE __m512i in_order(__m512i bytes) {
      return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
    }
  };
  // Sums of bytes in 16 bits, of two by one instruction, in the order of Widen, as are the floats.
  struct Words {
    __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
    OCTAVO_INLINE void add(__m512i a, __m512i b = _mm512_setzero_si512()) {
      asm("" : "+v"(a), "+v"(b));  // loaded once, not for each unpack
      const __m512i ones = _mm512_set1_epi8(1);
      low = _mm512_add_epi16(low, _mm512_maddubs_epi16(_mm512_unpacklo_epi8(a, b), ones));
      high = _mm512_add_epi16(high, _mm512_maddubs_epi16(_mm512_unpackhi_epi8(a, b), ones));
      asm("" : "+v"(low), "+v"(high));  // now, not after those of other registers, for all of which there are too few
    }
    OCTAVO_INLINE void widen(F zero, F (&v)[4]) const {
      const __m512i exponent = _mm512_set1_epi16(0x4b00);
      v[0] = F(_mm512_castsi512_ps(_mm512_unpacklo_epi16(low, exponent))) - zero;
      v[1] = F(_mm512_castsi512_ps(_mm512_unpackhi_epi16(low, exponent))) - zero;
      v[2] = F(_mm512_castsi512_ps(_mm512_unpacklo_epi16(high, exponent))) - zero;
      v[3] = F(_mm512_castsi512_ps(_mm512_unpackhi_epi16(high, exponent))) - zero;
    }
  };

  // Four lanes of words: lines are read and written whole.
  struct WideWords {
    using R = __m512i;
    static constexpr int kLanes = 4;
    static OCTAVO_INLINE R load(const uint32_t* p, ptrdiff_t stride) {
      const auto two = [=](int l) { return XsimdVec::Zip<uint32_t>::load(p + l * stride, stride); };
      return _mm512_inserti64x4(_mm512_castsi256_si512(two(0)), two(2), 1);
    }
    static OCTAVO_INLINE void store(uint32_t* p, R r) { _mm512_storeu_si512(p, r); }
    static OCTAVO_INLINE R low(R a, R b) { return _mm512_unpacklo_epi32(a, b); }
    static OCTAVO_INLINE R high(R a, R b) { return _mm512_unpackhi_epi32(a, b); }
  };
  static WideWords zip(uint32_t);
  static XsimdVec::Zip<uint8_t> zip(uint8_t);
  template <class T>
  using Zip = decltype(zip(T()));

  // As of words, but of thirds of what 16 columns become, in each lane; then the lanes are put in their places.
  using XsimdVec::interleave;
  static OCTAVO_INLINE void interleave(const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* out) {
    const auto load = [](const uint8_t* p, __m128i order) {
      return _mm256_shuffle_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_broadcastsi128_si256(order));
    };
    const __m256i x = load(a, _mm_setr_epi8(0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15, 10, 5)),
                  y = load(b, _mm_setr_epi8(5, 0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15, 10)),
                  z = load(c, _mm_setr_epi8(10, 5, 0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15));
    const auto blend = [](__m256i u, __m256i v, __m256i w) {
      return _mm256_mask_blend_epi8(0x49244924, _mm256_mask_blend_epi8(0x24922492, u, v), w);
    };
    const __m256i part0 = blend(x, y, z), part1 = blend(y, z, x), part2 = blend(z, x, y);
    __m256i* to = reinterpret_cast<__m256i*>(out);
    _mm256_storeu_si256(to, _mm256_permute2x128_si256(part0, part1, 0x20));
    _mm256_storeu_si256(to + 1, _mm256_blend_epi32(part2, part0, 0xf0));
    _mm256_storeu_si256(to + 2, _mm256_permute2x128_si256(part1, part2, 0x31));
  }

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
    static __m512i max_s8(__m512i a, __m512i b) { return _mm512_max_epi8(a, b); }
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
