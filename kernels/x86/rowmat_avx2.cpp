// rowmat_avx2: sums[j] = sum_p a[p] * b[p][j], B as it lies in memory
// A: s16; rows: a pair of values in all columns; columns: sixteen values, as they are
// B: u8 or s8; rows: two rows widened to s16 and interleaved, columns 0..3 and 8..11 | 4..7 and 12..15; columns: sixteen values widened
// C: s32 sums
// Registers, of 16: rows: 8 accumulators, a pair of A, 2 rows of B, 2 of pairs; columns: 4 accumulators, A, B
// Needs AVX2. vpmaddwd sums two s16*s16 into s32: 2 * 255 * 255 is far from its range; sums wrap modulo 2^32
// Measured: Zen 3, 2026-11-27, GCC 12, a shared machine: 32 matrices of 64 KB each, once each, 31 GB/s by columns, 28 by rows
#include "kernels/x86/ymm.inl.h"
#include "octavo/rowmat.h"

namespace octavo::OCTAVO_ISA {
namespace {

template <bool Signed>
OCTAVO_INLINE __m256i widen(__m128i x) {
  return Signed ? _mm256_cvtepi8_epi16(x) : _mm256_cvtepu8_epi16(x);
}
OCTAVO_INLINE __m128i load16(const char* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

// The sums of `Units` times 16 columns; of the last unit `live` of them, which are all unless Part.
template <bool Signed, int Units, bool Part>
OCTAVO_INLINE void sum_columns(const RowMatrixArgs& g, int64_t j, int live) {
  __m256i acc[Units][2];
  OCTAVO_UNROLL
  for (int u = 0; u < Units; ++u) acc[u][0] = acc[u][1] = _mm256_setzero_si256();
  const auto load = [&](const char* p) OCTAVO_LAMBDA { return widen<Signed>(Part ? load_pieces(p, live) : load16(p)); };
  const auto add = [&](int64_t p, const char* row, const char* next) OCTAVO_LAMBDA {
    int32_t both;
    std::memcpy(&both, g.a + p, sizeof both);  // the value behind the last one is 0
    const __m256i pair = _mm256_set1_epi32(both);
    OCTAVO_UNROLL
    for (int u = 0; u < Units; ++u) {
      const __m256i x = load(row + 16 * u), y = load(next + 16 * u);
      acc[u][0] = _mm256_add_epi32(acc[u][0], _mm256_madd_epi16(_mm256_unpacklo_epi16(x, y), pair));
      acc[u][1] = _mm256_add_epi32(acc[u][1], _mm256_madd_epi16(_mm256_unpackhi_epi16(x, y), pair));
    }
  };
  const char* row = static_cast<const char*>(g.b) + j;
  int64_t p = 0;
  for (; p + 2 <= g.k; p += 2, row += 2 * g.b_stride_bytes) add(p, row, row + g.b_stride_bytes);
  if (p < g.k) add(p, row, row);
  OCTAVO_UNROLL
  for (int u = 0; u < Units; ++u) {
    const __m256i low = _mm256_permute2x128_si256(acc[u][0], acc[u][1], 0x20), high = _mm256_permute2x128_si256(acc[u][0], acc[u][1], 0x31);
    int32_t* to = g.sums + j + 16 * u;
    if constexpr (Part) {
      alignas(32) int32_t all[16];
      _mm256_store_si256(reinterpret_cast<__m256i*>(all), low);
      _mm256_store_si256(reinterpret_cast<__m256i*>(all + 8), high);
      std::memcpy(to, all, size_t(live) * sizeof *all);
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), low);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8), high);
    }
  }
}

template <bool Signed>
void rows(const RowMatrixArgs* g) {
  int64_t j = 0;
  for (; j + 64 <= g->n; j += 64) sum_columns<Signed, 4, false>(*g, j, 16);
  for (; j + 16 <= g->n; j += 16) sum_columns<Signed, 1, false>(*g, j, 16);
  if (j < g->n) sum_columns<Signed, 1, true>(*g, j, int(g->n - j));
}

// The sums of `Columns` columns.
template <bool Signed, int Columns>
OCTAVO_INLINE void sum_dots(const RowMatrixArgs& g, int64_t j) {
  const char* b = static_cast<const char*>(g.b) + j * g.b_stride_bytes;
  __m256i acc[Columns];
  OCTAVO_UNROLL
  for (int c = 0; c < Columns; ++c) acc[c] = _mm256_setzero_si256();
  const auto add = [&](int64_t p, const auto& load) OCTAVO_LAMBDA {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(g.a + p));
    const char* column = b + p;
    OCTAVO_UNROLL
    for (int c = 0; c < Columns; ++c, column += g.b_stride_bytes)
      acc[c] = _mm256_add_epi32(acc[c], _mm256_madd_epi16(a, widen<Signed>(load(column))));
  };
  int64_t p = 0;
  for (; p + 16 <= g.k; p += 16) add(p, [](const char* from) OCTAVO_LAMBDA { return load16(from); });
  if (p < g.k) add(p, [&](const char* from) OCTAVO_LAMBDA { return load_pieces(from, int(g.k - p)); });
  if constexpr (Columns == 4) {
    const __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(acc[0], acc[1]), _mm256_hadd_epi32(acc[2], acc[3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(g.sums + j),
                     _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1)));
  } else {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(acc[0]), _mm256_extracti128_si256(acc[0], 1));
    sum = _mm_hadd_epi32(sum, sum);
    g.sums[j] = _mm_cvtsi128_si32(_mm_hadd_epi32(sum, sum));
  }
}

template <bool Signed>
void columns(const RowMatrixArgs* g) {
  int64_t j = 0;
  for (; j + 4 <= g->n; j += 4) sum_dots<Signed, 4>(*g, j);
  for (; j < g->n; ++j) sum_dots<Signed, 1>(*g, j);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA

extern "C" {
extern const octavo::RowMatrixKernels octavo_rowmat_avx2;
constinit const octavo::RowMatrixKernels octavo_rowmat_avx2 = {
    "rowmat_avx2",
    octavo::Isa::avx2,
    octavo::OCTAVO_ISA::rows<false>,
    octavo::OCTAVO_ISA::rows<true>,
    octavo::OCTAVO_ISA::columns<false>,
    octavo::OCTAVO_ISA::columns<true>,
};
}
