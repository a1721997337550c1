// Parts of 128-bit registers to and from memory.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/unroll.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// Copies of n < 16 bytes between memory and the low end of a register, in pieces: AVX2 has no masks for bytes.
OCTAVO_INLINE __m128i load_pieces(const char* p, int n) {
  uint64_t low = 0, high = 0;
  if (n & 8) {
    std::memcpy(&low, p, 8);
    p += 8;
  }
  uint64_t rest = 0;
  int shift = 0;
  if (n & 4) {
    uint32_t x;
    std::memcpy(&x, p, 4);
    rest = x;
    shift = 32;
    p += 4;
  }
  if (n & 2) {
    uint16_t x;
    std::memcpy(&x, p, 2);
    rest |= uint64_t(x) << shift;
    shift += 16;
    p += 2;
  }
  if (n & 1) rest |= uint64_t(uint8_t(*p)) << shift;
  (n & 8 ? high : low) = rest;
  return _mm_set_epi64x(int64_t(high), int64_t(low));
}

OCTAVO_INLINE void store_pieces(char* p, __m128i x, int n) {
  if (n & 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), x);
    x = _mm_unpackhi_epi64(x, x);
    p += 8;
  }
  uint64_t rest = uint64_t(_mm_cvtsi128_si64(x));
  if (n & 4) {
    std::memcpy(p, &rest, 4);
    rest >>= 32;
    p += 4;
  }
  if (n & 2) {
    std::memcpy(p, &rest, 2);
    rest >>= 16;
    p += 2;
  }
  if (n & 1) *p = char(rest);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
