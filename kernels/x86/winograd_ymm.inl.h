// 256-bit registers of words: the vocabulary of the winograd loops, but for products (AVX2).
#pragma once

#include "kernels/x86/winograd.inl.h"
#include "kernels/x86/ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct WordsYmm : Ymm {
  static constexpr int a_bytes = 1;
  static OCTAVO_INLINE void now(I& x) { asm volatile("" : "+x"(x)); }
  // 16 bytes, of which `live` are there, to words.
  template <bool Unsigned>
  static OCTAVO_INLINE I widen16(const char* p, int live) {
    const __m128i x = live < 16 ? load_pieces(p, live) : _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return Unsigned ? _mm256_cvtepu8_epi16(x) : _mm256_cvtepi8_epi16(x);
  }
  static OCTAVO_INLINE I add16(I x, I y) { return _mm256_add_epi16(x, y); }
  static OCTAVO_INLINE I sub16(I x, I y) { return _mm256_sub_epi16(x, y); }
  template <int N>
  static OCTAVO_INLINE I shl(I x) {
    return _mm256_slli_epi32(x, N);
  }
  template <int N>
  static OCTAVO_INLINE I sar(I x) {
    return _mm256_srai_epi32(x, N);
  }
  static OCTAVO_INLINE I mul_low(I x, I y) { return _mm256_mullo_epi32(x, y); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
