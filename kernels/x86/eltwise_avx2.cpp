// The elementwise routines on 8 lanes. Tails: vmaskmov for floats, pieces for bytes.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <xsimd/xsimd.hpp>

#include "kernels/x86/pieces.inl.h"
#include "octavo/eltwise.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/eltwise_lane.inl.h"
#include "kernels/x86/eltwise_xsimd.inl.h"

struct Vec : XsimdVec<xsimd::fma3<xsimd::avx2>> {
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F nan_to_zero(F v) { return _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q)); }
  struct First {
    __m256i mask;
    size_t n;
  };
  static First first(size_t n) {
    return {_mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)), n};
  }

  using XsimdVec::load, XsimdVec::store, XsimdVec::load_s32;
  static F load(const float* p, First l) { return _mm256_maskload_ps(p, l.mask); }
  static F load(const float* p, First l, float fill) {
    return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, l.mask), _mm256_castsi256_ps(l.mask));
  }
  static void store(float* p, F v, First l) { _mm256_maskstore_ps(p, l.mask, v); }
  static I load_s32(const int32_t* p, First l) { return _mm256_maskload_epi32(p, l.mask); }
  static I load_u8(const uint8_t* p, All) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
  static I load_u8(const uint8_t* p, First l) {
    return _mm256_cvtepu8_epi32(load_pieces(reinterpret_cast<const char*>(p), int(l.n)));
  }
  static void store_u8(uint8_t* p, I v, All) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), narrow(v));
  }
  static void store_u8(uint8_t* p, I v, First l) { store_pieces(reinterpret_cast<char*>(p), narrow(v), int(l.n)); }
  static __m128i narrow(I v) {
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return _mm_packus_epi16(words, words);
  }

  // Bytes to floats by the exponent of 2^23, between whose neighbours lie integers: 2^23 + b, minus 2^23 + zp. The unpacks stay
  // in their 16-byte lanes, as do the packs that undo them.
  static constexpr int kGroup = 4;
  struct Widen {
    __m256i flip, exponent;  // exponent: with the flip of an only byte
    F base;
    Widen(int32_t zp, uint8_t top)
        : flip(_mm256_set1_epi8(char(top))), exponent(_mm256_set1_epi32(0x4b000000 | top)), base(float(0x800000 + zp)) {}
    OCTAVO_INLINE void operator()(__m256i bytes, F (&v)[4]) const {
      bytes = _mm256_xor_si256(bytes, flip);
      const __m256i zero = _mm256_setzero_si256(), exponent = _mm256_set1_epi16(0x4b00);
      const __m256i low = _mm256_unpacklo_epi8(bytes, zero), high = _mm256_unpackhi_epi8(bytes, zero);
      v[0] = F(_mm256_castsi256_ps(_mm256_unpacklo_epi16(low, exponent))) - base;
      v[1] = F(_mm256_castsi256_ps(_mm256_unpackhi_epi16(low, exponent))) - base;
      v[2] = F(_mm256_castsi256_ps(_mm256_unpacklo_epi16(high, exponent))) - base;
      v[3] = F(_mm256_castsi256_ps(_mm256_unpackhi_epi16(high, exponent))) - base;
    }
    // The floats of p[0..31] in their order: 16 bytes in both lanes, of which each takes its four.
    OCTAVO_INLINE void in_order(const uint8_t* p, F (&v)[4]) const {
      const __m256i first = _mm256_setr_epi32(~0xff | 0, ~0xff | 1, ~0xff | 2, ~0xff | 3, ~0xff | 4, ~0xff | 5, ~0xff | 6, ~0xff | 7);
      const __m256i second = _mm256_add_epi8(first, _mm256_set1_epi32(8));
      OCTAVO_UNROLL
      for (int k = 0; k < 4; k += 2) {
        const __m256i bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8 * k)));
        v[k] = F(_mm256_castsi256_ps(_mm256_xor_si256(_mm256_shuffle_epi8(bytes, first), exponent))) - base;
        v[k + 1] = F(_mm256_castsi256_ps(_mm256_xor_si256(_mm256_shuffle_epi8(bytes, second), exponent))) - base;
      }
    }
  };
  // All saturates, so that the bounds are applied to bytes. What is above int32 converts to the least int32, as a NaN does.
  struct Narrow {
    __m256i zp, lo, hi, flip;
    Narrow(int32_t z, uint8_t least, uint8_t most, uint8_t top)
        : zp(_mm256_set1_epi16(short(z))), lo(_mm256_set1_epi8(char(least))), hi(_mm256_set1_epi8(char(most))),
          flip(_mm256_set1_epi8(char(top))) {}
    static constexpr float kNear = 0x1p30f;  // what is less converts as it is
    static OCTAVO_INLINE I round(F v, F, F most) { return to_int(min(most, v)); }
    OCTAVO_INLINE __m256i operator()(const I (&v)[4]) const {
      const __m256i low = _mm256_adds_epi16(_mm256_packs_epi32(v[0], v[1]), zp), high = _mm256_adds_epi16(_mm256_packs_epi32(v[2], v[3]), zp);
      return _mm256_xor_si256(_mm256_min_epu8(_mm256_max_epu8(_mm256_packus_epi16(low, high), lo), hi), flip);
    }
    static OCTAVO_INLINE __m256i in_order(__m256i bytes) {
      return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
  };
  // Sums of bytes in 16 bits, of two by one instruction, in the order of Widen, as are the floats.
  struct Words {
    __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
    OCTAVO_INLINE void add(__m256i a, __m256i b = _mm256_setzero_si256()) {
      asm("" : "+x"(a), "+x"(b));  // loaded once, not for each unpack
      const __m256i ones = _mm256_set1_epi8(1);
      low = _mm256_add_epi16(low, _mm256_maddubs_epi16(_mm256_unpacklo_epi8(a, b), ones));
      high = _mm256_add_epi16(high, _mm256_maddubs_epi16(_mm256_unpackhi_epi8(a, b), ones));
      asm("" : "+x"(low), "+x"(high));  // now, not after those of other registers, for all of which there are too few
    }
    OCTAVO_INLINE void widen(F zero, F (&v)[4]) const {
      const __m256i exponent = _mm256_set1_epi16(0x4b00);
      v[0] = F(_mm256_castsi256_ps(_mm256_unpacklo_epi16(low, exponent))) - zero;
      v[1] = F(_mm256_castsi256_ps(_mm256_unpackhi_epi16(low, exponent))) - zero;
      v[2] = F(_mm256_castsi256_ps(_mm256_unpacklo_epi16(high, exponent))) - zero;
      v[3] = F(_mm256_castsi256_ps(_mm256_unpackhi_epi16(high, exponent))) - zero;
    }
  };

  // Of 32 bytes of each of three rows the register r has thirds 2r and 2r + 1 of what 16 columns become in its lanes: the columns
  // come from memory in the lanes that need them, and vpshufb leaves zeros for the other rows (vpblendvb is slower).
  struct Thirds {
    alignas(32) uint8_t from[3][3][32];  // of register and row
    constexpr Thirds() : from() {
      for (int r = 0; r < 3; ++r)
        for (int row = 0; row < 3; ++row)
          for (int i = 0; i < 32; ++i) {
            const int at = (2 * r + i / 16) % 3 * 16 + i % 16;
            from[r][row][i] = uint8_t(at % 3 == row ? at / 3 : 0x80);
          }
    }
  };
  using XsimdVec::interleave;
  static OCTAVO_INLINE void interleave(const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* out) {
    static constexpr Thirds thirds;
    const auto low = [](const uint8_t* p) {
      return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    };
    const auto both = [](const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); };
    const auto third = [&](int r, __m256i x, __m256i y, __m256i z) {
      const auto take = [&](__m256i v, int row) { return _mm256_shuffle_epi8(v, both(thirds.from[r][row])); };
      const __m256i all = _mm256_or_si256(_mm256_or_si256(take(x, 0), take(y, 1)), take(z, 2));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32 * r), all);
    };
    third(0, low(a), low(b), low(c));
    third(1, both(a), both(b), both(c));
    third(2, low(a + 16), low(b + 16), low(c + 16));
  }

  struct Bytes {
    static constexpr int N = 32;
    using All = XsimdVec::All;
    struct First {
      size_t n;
    };
    static First first(size_t n) { return {n}; }
    static __m256i load(const uint8_t* p, All) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static __m256i load(const uint8_t* p, First l) {
      const char* from = reinterpret_cast<const char*>(p);
      if (l.n < 16) return _mm256_zextsi128_si256(load_pieces(from, int(l.n)));
      const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      return _mm256_inserti128_si256(_mm256_castsi128_si256(low), load_pieces(from + 16, int(l.n) - 16), 1);
    }
    static void store(uint8_t* p, __m256i v, All) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
    static void store(uint8_t* p, __m256i v, First l) {
      char* to = reinterpret_cast<char*>(p);
      if (l.n < 16) return store_pieces(to, _mm256_castsi256_si128(v), int(l.n));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
      store_pieces(to + 16, _mm256_extracti128_si256(v, 1), int(l.n) - 16);
    }
    static __m256i max(__m256i a, __m256i b) { return _mm256_max_epu8(a, b); }
    static __m256i max_s8(__m256i a, __m256i b) { return _mm256_max_epi8(a, b); }
    static __m256i flip(__m256i a, uint8_t mask) { return _mm256_xor_si256(a, _mm256_set1_epi8(char(mask))); }
    // vpshufb looks up the low four bits in one 16-byte slice; the high four choose among the sixteen answers as a tree
    // (vpblendvb takes its choice from the top bit).
    static __m256i lookup(const uint8_t* table, __m256i i) {
      const __m256i low = _mm256_and_si256(i, _mm256_set1_epi8(15));
      const __m256i bit4 = _mm256_slli_epi16(i, 3), bit5 = _mm256_slli_epi16(i, 2), bit6 = _mm256_slli_epi16(i, 1);
      const auto look = [=](int k) {
        const __m128i slice = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * k));
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(slice), low);
      };
      const auto quad = [=](int k) {
        return _mm256_blendv_epi8(_mm256_blendv_epi8(look(k), look(k + 1), bit4),
                                  _mm256_blendv_epi8(look(k + 2), look(k + 3), bit4), bit5);
      };
      return _mm256_blendv_epi8(_mm256_blendv_epi8(quad(0), quad(4), bit6), _mm256_blendv_epi8(quad(8), quad(12), bit6), i);
    }
  };
};

#include "kernels/eltwise.inl.h"

}  // namespace
}  // namespace octavo::OCTAVO_ISA

extern "C" {
extern const octavo::EltwiseKernels octavo_eltwise_avx2;
constinit const octavo::EltwiseKernels octavo_eltwise_avx2 =
    octavo::OCTAVO_ISA::eltwise_table<octavo::OCTAVO_ISA::Vec>("eltwise_avx2", octavo::Isa::avx2);
}
