// 512-bit registers: the vocabulary of the loop and the epilogue templates (AVX-512 F, BW, DQ, VL).
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/unroll.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct Zmm {
  using I = __m512i;
  using F = __m512;
  static constexpr int lanes = 16, vector_bytes = 64;
  static constexpr bool saturates = false;  // floats that do not fit, on their way to integers

  // The first n lanes of a vector.
  struct Part {
    __mmask16 mask;
    OCTAVO_INLINE explicit Part(int n) : mask(__mmask16((1u << n) - 1)) {}
  };

  // The first 1..3 bytes of M rows, each as a zero-extended dword in all lanes.
  template <int M, class Rows>
  class Dwords {
   public:
    OCTAVO_INLINE Dwords(const Rows& rows, int bytes) : rows_(rows), mask_(__mmask16((1u << bytes) - 1)) {}
    OCTAVO_INLINE I operator[](int i) const { return _mm512_broadcastd_epi32(_mm_maskz_loadu_epi8(mask_, rows_[i])); }

   private:
    const Rows& rows_;
    __mmask16 mask_;
  };

  // Puts a value into a register and hides where it came from.
  template <class X>
  static OCTAVO_INLINE void keep(X& x) {
    asm("" : "+v"(x));
  }

  static OCTAVO_INLINE F splat(float x) { return _mm512_set1_ps(x); }
  static OCTAVO_INLINE I splat(int32_t x) { return _mm512_set1_epi32(x); }
  static OCTAVO_INLINE I splat16(int x) { return _mm512_set1_epi16(short(x)); }
  static OCTAVO_INLINE I splat8(int x) { return _mm512_set1_epi8(char(x)); }
  static OCTAVO_INLINE I splat_at(const char* p) {
    int32_t x;
    std::memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
  }
  static OCTAVO_INLINE I load_b(const char* p) { return _mm512_load_si512(p); }
  static OCTAVO_INLINE I load(const int32_t* p) { return _mm512_loadu_si512(p); }
  static OCTAVO_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
  static OCTAVO_INLINE I load(const int32_t* p, Part part) { return _mm512_maskz_loadu_epi32(part.mask, p); }
  static OCTAVO_INLINE F load(const float* p, Part part) { return _mm512_maskz_loadu_ps(part.mask, p); }
  static OCTAVO_INLINE __m128i load8(const char* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static OCTAVO_INLINE __m128i load8(const char* p, Part part) { return _mm_maskz_loadu_epi8(part.mask, p); }
  static OCTAVO_INLINE void store(char* p, I x) { _mm512_storeu_si512(p, x); }
  static OCTAVO_INLINE void store(char* p, F x) { _mm512_storeu_ps(p, x); }
  static OCTAVO_INLINE void store(char* p, I x, Part part) { _mm512_mask_storeu_epi32(p, part.mask, x); }
  static OCTAVO_INLINE void store(char* p, F x, Part part) { _mm512_mask_storeu_ps(p, part.mask, x); }

  static OCTAVO_INLINE F to_float(I x) { return _mm512_cvtepi32_ps(x); }
  static OCTAVO_INLINE I round(F x) { return _mm512_cvtps_epi32(x); }
  static OCTAVO_INLINE int round(float x) { return _mm_cvtss_si32(_mm_set_ss(x)); }
  static OCTAVO_INLINE I add(I x, I y) { return _mm512_add_epi32(x, y); }
  static OCTAVO_INLINE F add(F x, F y) { return _mm512_add_ps(x, y); }
  static OCTAVO_INLINE I sub(I x, I y) { return _mm512_sub_epi32(x, y); }
  static OCTAVO_INLINE F mul(F x, F y) { return _mm512_mul_ps(x, y); }
  static OCTAVO_INLINE F fma(F x, F y, F z) { return _mm512_fmadd_ps(x, y, z); }
  static OCTAVO_INLINE F max(F x, F y) { return _mm512_max_ps(x, y); }  // x > y ? x : y
  static OCTAVO_INLINE F min(F x, F y) { return _mm512_min_ps(x, y); }  // x < y ? x : y
  // Whether all |x| < y.
  static OCTAVO_INLINE bool below(F x, float y) {
    return _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(y), _CMP_LT_OQ) == 0xffff;
  }

  // 8-bit values, after adding `bump` (0 or 128) modulo 256, as unsigned to 32 bits.
  static OCTAVO_INLINE I widen(__m128i x, int bump) { return _mm512_cvtepu8_epi32(_mm_xor_si128(x, _mm_set1_epi8(char(bump)))); }
  static OCTAVO_INLINE I pack16(I x, I y) { return _mm512_packs_epi32(x, y); }
  static OCTAVO_INLINE I adds16(I x, I y) { return _mm512_adds_epi16(x, y); }
  static OCTAVO_INLINE I min8(I x, I y) { return _mm512_min_epu8(x, y); }
  static OCTAVO_INLINE I add8(I x, I y) { return _mm512_add_epi8(x, y); }
  static OCTAVO_INLINE I flip8(I x, I y) { return _mm512_xor_si512(x, y); }
  // Packs work in 128-bit lanes; the permutation puts the bytes of four packed vectors one after the other.
  static OCTAVO_INLINE I packu8(I x, I y) {
    const I order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(x, y));
  }
  // Part j of Rows equal parts of the register: all of it, or its first n bytes.
  template <int Rows>
  static OCTAVO_INLINE void store8(char* p, I x, int j) {
    if constexpr (Rows == 2) {
      const __m256i half = j ? _mm512_extracti64x4_epi64(x, 1) : _mm512_castsi512_si256(x);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), half);
    } else {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), quarter(x, j));
    }
  }
  template <int Rows>
  static OCTAVO_INLINE void store8(char* p, I x, int j, int n) {
    const __mmask32 mask = __mmask32(0xffffffffu >> (32 - n));
    if constexpr (Rows == 2) {
      _mm256_mask_storeu_epi8(p, mask, j ? _mm512_extracti64x4_epi64(x, 1) : _mm512_castsi512_si256(x));
    } else {
      _mm_mask_storeu_epi8(p, __mmask16(mask), quarter(x, j));
    }
  }

 private:
  static OCTAVO_INLINE __m128i quarter(I x, int j) {
    switch (j) {
      case 1:
        return _mm512_extracti32x4_epi32(x, 1);
      case 2:
        return _mm512_extracti32x4_epi32(x, 2);
      case 3:
        return _mm512_extracti32x4_epi32(x, 3);
      default:
        return _mm512_castsi512_si128(x);
    }
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
