// What AVX-512 VBMI does better than the elementwise routines of AVX-512 VNNI: any function of a byte, by a table in registers.
// vpermi2b looks up seven bits in two registers; the eighth chooses between two such halves.
// Measured: Zen 4, 32 KB of bytes: as fast as memcpy; November 2026
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "octavo/eltwise.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct Table {
  __m512i part[4];
  explicit Table(const uint8_t* table) {
    for (int i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512(table + 64 * i);
  }
  __m512i operator[](__m512i index) const {
    const __m512i low = _mm512_permutex2var_epi8(part[0], index, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], index, part[3]);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(index), high);
  }
};

void lut(const void* in, void* out, size_t n, const uint8_t* table) {
  const Table t(table);
  const uint8_t* p = static_cast<const uint8_t*>(in);
  uint8_t* q = static_cast<uint8_t*>(out);
  size_t i = 0;
  for (; i + 64 <= n; i += 64) _mm512_storeu_si512(q + i, t[_mm512_loadu_si512(p + i)]);
  if (i == n) return;
  const __mmask64 rest = (__mmask64(1) << (n - i)) - 1;
  _mm512_mask_storeu_epi8(q + i, rest, t[_mm512_maskz_loadu_epi8(rest, p + i)]);
}

// The results for all 256 bytes, then a look-up.
void requantize(const QOperand& a, const QResult& r, size_t n) {
  const int flip = a.dtype == DType::s8 ? 128 : 0;
  const __m512i zp = _mm512_set1_epi32(a.zp + flip), out_zp = _mm512_set1_epi32(r.zp);
  const __m512 m = _mm512_set1_ps(a.m), lo = _mm512_set1_ps(r.lo), hi = _mm512_set1_ps(r.hi);
  alignas(64) uint8_t table[256];
  for (int q = 0; q < 256; q += 16) {
    const __m512i bytes =
        _mm512_add_epi32(_mm512_set1_epi32(q), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(bytes, zp)), m);
    const __m512i x = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(v, lo), hi)), out_zp);
    _mm_store_si128(reinterpret_cast<__m128i*>(table + (q ^ flip)), _mm512_cvtepi32_epi8(x));
  }
  lut(a.data, r.data, n, table);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
extern "C" {
void octavo_lut_avx512vbmi(const void* in, void* out, size_t n, const uint8_t* table) { OCTAVO_ISA::lut(in, out, n, table); }
void octavo_requantize_avx512vbmi(const QOperand& a, const QResult& r, size_t n) { OCTAVO_ISA::requantize(a, r, n); }
}
