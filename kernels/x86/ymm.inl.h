// 256-bit registers: the vocabulary of the loop and the epilogue templates (AVX2, FMA).
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/unroll.inl.h"
#include "kernels/x86/pieces.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct Ymm {
  using I = __m256i;
  using F = __m256;
  static constexpr int lanes = 8, vector_bytes = 32;
  static constexpr bool saturates = false;  // floats that do not fit, on their way to integers

  // The first n lanes of a vector.
  struct Part {
    int n;
    __m256i mask;
    OCTAVO_INLINE explicit Part(int live)
        : n(live), mask(_mm256_cmpgt_epi32(_mm256_set1_epi32(live), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))) {}
  };

  // The first 1..3 bytes of M rows, each as a zero-extended dword in all lanes. They pass through memory, in a loop that
  // is not unrolled: branches on the number of bytes between the dots would cost more.
  template <int M, class Rows>
  class Dwords {
   public:
    OCTAVO_INLINE Dwords(const Rows& rows, int bytes) {
      for (int i = 0; i < M; ++i) {
        const char* p = rows[i];
        uint32_t x = uint8_t(*p);
        if (bytes & 2) {
          uint16_t pair;
          std::memcpy(&pair, p, sizeof pair);
          x = bytes & 1 ? pair | uint32_t(uint8_t(p[2])) << 16 : pair;
        }
        dwords_[i] = x;
      }
    }
    OCTAVO_INLINE I operator[](int i) const { return _mm256_set1_epi32(int32_t(dwords_[i])); }

   private:
    uint32_t dwords_[M];
  };

  // Puts a value into a register and hides where it came from.
  template <class X>
  static OCTAVO_INLINE void keep(X& x) {
    asm("" : "+v"(x));
  }

  static OCTAVO_INLINE F splat(float x) { return _mm256_set1_ps(x); }
  static OCTAVO_INLINE I splat(int32_t x) { return _mm256_set1_epi32(x); }
  static OCTAVO_INLINE I splat16(int x) { return _mm256_set1_epi16(short(x)); }
  static OCTAVO_INLINE I splat8(int x) { return _mm256_set1_epi8(char(x)); }
  static OCTAVO_INLINE I splat_at(const char* p) {
    int32_t x;
    std::memcpy(&x, p, sizeof x);
    return _mm256_set1_epi32(x);
  }
  static OCTAVO_INLINE I load_b(const char* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
  static OCTAVO_INLINE I load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static OCTAVO_INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
  static OCTAVO_INLINE I load(const int32_t* p, const Part& part) { return _mm256_maskload_epi32(p, part.mask); }
  static OCTAVO_INLINE F load(const float* p, const Part& part) { return _mm256_maskload_ps(p, part.mask); }
  static OCTAVO_INLINE __m128i load8(const char* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static OCTAVO_INLINE __m128i load8(const char* p, const Part& part) { return load_pieces(p, part.n); }
  static OCTAVO_INLINE void store(char* p, I x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  static OCTAVO_INLINE void store(char* p, F x) { _mm256_storeu_ps(reinterpret_cast<float*>(p), x); }
  static OCTAVO_INLINE void store(char* p, I x, const Part& part) {
    _mm256_maskstore_epi32(reinterpret_cast<int*>(p), part.mask, x);
  }
  static OCTAVO_INLINE void store(char* p, F x, const Part& part) {
    _mm256_maskstore_ps(reinterpret_cast<float*>(p), part.mask, x);
  }

  static OCTAVO_INLINE F to_float(I x) { return _mm256_cvtepi32_ps(x); }
  static OCTAVO_INLINE I round(F x) { return _mm256_cvtps_epi32(x); }
  static OCTAVO_INLINE int round(float x) { return _mm_cvtss_si32(_mm_set_ss(x)); }
  static OCTAVO_INLINE I add(I x, I y) { return _mm256_add_epi32(x, y); }
  // acc += x in the same register: GCC would put the sum into that of x, and move it back. So does keep() after add().
  static OCTAVO_INLINE void accumulate(I& acc, I x) { asm volatile("vpaddd %1, %0, %0" : "+x"(acc) : "x"(x)); }
  static OCTAVO_INLINE F add(F x, F y) { return _mm256_add_ps(x, y); }
  static OCTAVO_INLINE I sub(I x, I y) { return _mm256_sub_epi32(x, y); }
  static OCTAVO_INLINE F mul(F x, F y) { return _mm256_mul_ps(x, y); }
  static OCTAVO_INLINE F fma(F x, F y, F z) { return _mm256_fmadd_ps(x, y, z); }
  static OCTAVO_INLINE F max(F x, F y) { return _mm256_max_ps(x, y); }  // x > y ? x : y
  static OCTAVO_INLINE F min(F x, F y) { return _mm256_min_ps(x, y); }  // x < y ? x : y
  // Whether all |x| < y.
  static OCTAVO_INLINE bool below(F x, float y) {
    const F magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    return _mm256_movemask_ps(_mm256_cmp_ps(magnitude, _mm256_set1_ps(y), _CMP_LT_OQ)) == 0xff;
  }

  // 8-bit values, after adding `bump` (0 or 128) modulo 256, as unsigned to 32 bits.
  static OCTAVO_INLINE I widen(__m128i x, int bump) { return _mm256_cvtepu8_epi32(_mm_xor_si128(x, _mm_set1_epi8(char(bump)))); }
  static OCTAVO_INLINE I pack16(I x, I y) { return _mm256_packs_epi32(x, y); }
  static OCTAVO_INLINE I adds16(I x, I y) { return _mm256_adds_epi16(x, y); }
  static OCTAVO_INLINE I min8(I x, I y) { return _mm256_min_epu8(x, y); }
  static OCTAVO_INLINE I add8(I x, I y) { return _mm256_add_epi8(x, y); }
  static OCTAVO_INLINE I flip8(I x, I y) { return _mm256_xor_si256(x, y); }
  // Packs work in 128-bit lanes; the permutation puts the bytes of four packed vectors one after the other.
  static OCTAVO_INLINE I packu8(I x, I y) {
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(x, y), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  // Part j of Rows equal parts of the register: all of it, or its first n bytes.
  template <int Rows>
  static OCTAVO_INLINE void store8(char* p, I x, int j) {
    if constexpr (Rows == 1) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
    } else if constexpr (Rows == 2) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), half(x, j));
    } else if (j % 2) {
      const __m128i part = half(x, j / 2);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_unpackhi_epi64(part, part));
    } else {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), half(x, j / 2));
    }
  }
  template <int Rows>
  static OCTAVO_INLINE void store8(char* p, I x, int j, int n) {
    if constexpr (Rows == 1) {
      if (n & 32) return store8<1>(p, x, 0);
      if (n & 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), half(x, 0));
        p += 16;
      }
      return store_pieces(p, half(x, n & 16 ? 1 : 0), n & 15);
    }
    const __m128i part = half(x, Rows == 2 ? j : j / 2);
    store_pieces(p, Rows == 4 && j % 2 ? _mm_unpackhi_epi64(part, part) : part, n);
  }

 private:
  static OCTAVO_INLINE __m128i half(I x, int j) { return j ? _mm256_extracti128_si256(x, 1) : _mm256_castsi256_si128(x); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
