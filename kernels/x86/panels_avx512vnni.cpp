// panels_avx512vnni: a matrix as it lies to brgemm panels of 32 columns of words of four bytes: four s8, or one float
// A: none
// B: rows: 32 bytes of each of four rows at a time; columns: 16 bytes of each of sixteen columns at a time; tails masked
// C: the panels: k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 31 | k4..7 of column 0 | ...; sums of columns
// Registers, of 32: 2 sums, 4 of rows (columns: 8), 2 permutations, ones, and what flips u8 to s8
// Needs AVX-512 F, BW, VL, VNNI. vpdpbusd with ones sums s8 into s32
// Measured: Zen 4, 2026-11-28, GCC 12, from and to L1 and L2: rows 44 to 58 GB/s, columns 34 to 48, the sums too
#include "kernels/x86/zmm.inl.h"
#include "octavo/rowmat.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kColumns = 32, kWord = 4, kHalf = 16;

OCTAVO_INLINE __m512i sum_words(__m512i sum, __m512i words) { return _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), words); }
OCTAVO_INLINE void add_sums(int32_t* sums, __m512i sum, int live) {
  if (live <= 0) return;
  const Zmm::Part part(live < kHalf ? live : kHalf);
  Zmm::store(reinterpret_cast<char*>(sums), Zmm::add(Zmm::load(sums, part), sum), part);
}

// Rows [p, end) of the columns from j on, of which `live` belong to the panel.
template <bool Whole>
OCTAVO_INLINE void interleave(const PanelArgs& g, int64_t p, int64_t end, int64_t j, int live, char* to) {
  const __mmask32 columns = __mmask32(0xffffffffu >> (kColumns - live));
  const auto row = [&](const char* from) OCTAVO_LAMBDA {
    return Whole ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)) : _mm256_maskz_loadu_epi8(columns, from);
  };
  const __m512i order = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
  const __m512i next = _mm512_add_epi32(order, _mm512_set1_epi32(4));
  const __m512i words = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  __m512i low_sum = _mm512_setzero_si512(), high_sum = low_sum;
  const auto put = [&](__m256i r0, __m256i r1, __m256i r2, __m256i r3, int32_t flip) OCTAVO_LAMBDA {
    const __m512i first = _mm512_inserti64x4(_mm512_castsi256_si512(r0), r1, 1);
    const __m512i second = _mm512_inserti64x4(_mm512_castsi256_si512(r2), r3, 1);
    __m512i low = _mm512_shuffle_epi8(_mm512_permutex2var_epi32(first, order, second), words);
    __m512i high = _mm512_shuffle_epi8(_mm512_permutex2var_epi32(first, next, second), words);
    low = _mm512_xor_si512(low, _mm512_maskz_set1_epi32(__mmask16(columns), flip));
    high = _mm512_xor_si512(high, _mm512_maskz_set1_epi32(__mmask16(columns >> kHalf), flip));
    _mm512_store_si512(to, low);
    _mm512_store_si512(to + 64, high);
    to += kColumns * kWord;
    low_sum = sum_words(low_sum, low), high_sum = sum_words(high_sum, high);
  };
  const int32_t flip = g.flip ? int32_t(0x80808080) : 0;
  const ptrdiff_t s = g.b_stride_bytes;
  const char* b = static_cast<const char*>(g.b) + p * s + j;
  for (; p + kWord <= end; p += kWord, b += kWord * s) put(row(b), row(b + s), row(b + 2 * s), row(b + 3 * s), flip);
  if (p < end) {
    const __m256i none = _mm256_setzero_si256();
    const int rest = int(end - p);
    const int32_t flip_rest = int32_t(uint32_t(flip) >> (8 * (kWord - rest)));
    put(row(b), rest > 1 ? row(b + s) : none, rest > 2 ? row(b + 2 * s) : none, none, flip_rest);
  }
  if (!g.sums) return;
  add_sums(g.sums + j, low_sum, live);
  add_sums(g.sums + j + kHalf, high_sum, live - kHalf);
}

// Rows of floats, whose words are one value.
void copy_rows(const PanelArgs& g) {
  for (int64_t p = 0; p < g.k; ++p) {
    const float* b = reinterpret_cast<const float*>(static_cast<const char*>(g.b) + p * g.b_stride_bytes);
    char* to = static_cast<char*>(g.panels) + p * kColumns * kWord;
    for (int64_t j = 0; j < g.n; j += kColumns, to += g.panel_stride) {
      const int left = g.n - j < kColumns ? int(g.n - j) : kColumns;
      const uint32_t live = 0xffffffffu >> (kColumns - left);
      _mm512_store_ps(to, _mm512_maskz_loadu_ps(__mmask16(live), b + j));
      _mm512_store_ps(to + 64, _mm512_maskz_loadu_ps(__mmask16(live >> kHalf), b + j + kHalf));
    }
  }
}

// Some rows go to all panels before the next ones do: their lines are still in L1 where two panels share them.
void rows(const PanelArgs* g) {
  if (g->element_bytes == kWord) return copy_rows(*g);
  constexpr int64_t kRows = 128;
  for (int64_t p = 0; p < g->k; p += kRows) {
    const int64_t end = p + kRows < g->k ? p + kRows : g->k;
    char* to = static_cast<char*>(g->panels) + p * kColumns;
    for (int64_t j = 0; j < g->n; j += kColumns, to += g->panel_stride) {
      const int64_t left = g->n - j;
      left >= kColumns ? interleave<true>(*g, p, end, j, kColumns, to) : interleave<false>(*g, p, end, j, int(left), to);
    }
  }
}

// The four words at byte p of columns [j, j + 16), of which `live` are there.
template <bool Whole>
OCTAVO_INLINE void load_words(__m512i (&x)[kWord], const char* b, ptrdiff_t stride, int live, __mmask16 bytes) {
  const auto load = [&](int c) OCTAVO_LAMBDA {
    if constexpr (Whole) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + c * stride));
    return c < live ? _mm_maskz_loadu_epi8(bytes, b + c * stride) : _mm_setzero_si128();
  };
  __m512i r[kWord];
  OCTAVO_UNROLL
  for (int i = 0; i < kWord; ++i) {
    r[i] = _mm512_castsi128_si512(load(i));
    r[i] = _mm512_inserti32x4(r[i], load(kWord + i), 1);
    r[i] = _mm512_inserti32x4(r[i], load(2 * kWord + i), 2);
    r[i] = _mm512_inserti32x4(r[i], load(3 * kWord + i), 3);
  }
  const __m512i low01 = _mm512_unpacklo_epi32(r[0], r[1]), high01 = _mm512_unpackhi_epi32(r[0], r[1]);
  const __m512i low23 = _mm512_unpacklo_epi32(r[2], r[3]), high23 = _mm512_unpackhi_epi32(r[2], r[3]);
  x[0] = _mm512_unpacklo_epi64(low01, low23), x[1] = _mm512_unpackhi_epi64(low01, low23);
  x[2] = _mm512_unpacklo_epi64(high01, high23), x[3] = _mm512_unpackhi_epi64(high01, high23);
}

// Half a panel: columns [j, j + 16), of which `live` are there; the others are zeros.
void collect(const PanelArgs& g, int64_t j, int live, char* to) {
  constexpr int kBytes = kWord * kWord;
  const char* b = static_cast<const char*>(g.b) + j * g.b_stride_bytes;
  const int64_t bytes = g.k * g.element_bytes;
  const __mmask16 columns = __mmask16(0xffffu >> (kHalf - live));
  __m512i sum = _mm512_setzero_si512(), flip = _mm512_maskz_set1_epi32(columns, g.flip ? int32_t(0x80808080) : 0);
  const auto put = [&](__m512i words) OCTAVO_LAMBDA {
    words = _mm512_xor_si512(words, flip);
    _mm512_store_si512(to, words);
    to += kColumns * kWord;
    sum = sum_words(sum, words);
  };
  __m512i x[kWord];
  int64_t p = 0;
  if (live == kHalf) {
    for (; p + kBytes <= bytes; p += kBytes, b += kBytes) {
      load_words<true>(x, b, g.b_stride_bytes, live, 0);
      OCTAVO_UNROLL
      for (int i = 0; i < kWord; ++i) put(x[i]);
    }
  }
  for (; p < bytes; p += kBytes, b += kBytes) {
    const int rest = bytes - p < kBytes ? int(bytes - p) : kBytes;
    load_words<false>(x, b, g.b_stride_bytes, live, __mmask16(0xffffu >> (kBytes - rest)));
    OCTAVO_UNROLL
    for (int i = 0; i < kWord; ++i) {
      const int left = rest - i * kWord;
      if (left <= 0) break;
      if (left < kWord) flip = _mm512_srlv_epi32(flip, _mm512_set1_epi32(8 * (kWord - left)));
      put(x[i]);
    }
  }
  if (g.sums) add_sums(g.sums + j, sum, live);
}

void columns(const PanelArgs* g) {
  char* to = static_cast<char*>(g->panels);
  for (int64_t j = 0; j < g->n; j += kColumns, to += g->panel_stride)
    for (int64_t half = 0; half < kColumns; half += kHalf) {
      const int64_t left = g->n - j - half;
      collect(*g, j + half, left < 0 ? 0 : left < kHalf ? int(left) : kHalf, to + half * kWord);
    }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

extern "C" {
extern const octavo::PanelKernels octavo_panels_avx512vnni;
constinit const octavo::PanelKernels octavo_panels_avx512vnni = {
    "panels_avx512vnni", octavo::Isa::avx512vnni, 32, 4, octavo::OCTAVO_ISA::rows, octavo::OCTAVO_ISA::columns,
};
}
