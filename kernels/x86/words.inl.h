// The loop of AVX2's int8 brgemm for short sums, by vpmaddwd on words, which is exact:
// acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
//
// Words multiply nearly as fast as magnitudes and signs do (signs.inl.h; Zen 3, from L1: 22 and 25 products a cycle), but are twice
// as large, which short sums leave room for in L1. What they save is the work around the products: a row of A is only
// widened, and its sum needs no correction. B is widened once for a call, the rows of which are many; the constants of the epilogue
// are loaded once for a strip of rows.
#pragma once

#include "kernels/x86/groups.inl.h"
#include "kernels/x86/signs.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kWordGroup = 6;                            // rows of two vectors that fit the registers; twice as many of one
constexpr int64_t kWordSteps = 64, kWordPanel = 16384;   // of four values of K, and bytes of B; what is larger goes by signs,
constexpr int64_t kWideSteps = 12;                       //   as does what is longer than this for more than two vectors of columns
constexpr int kStripRows = 48;                           // of A that are widened at a time, half as many where sums are long
constexpr ptrdiff_t kWordRow = 2 * 4 * kWordSteps + 32;  // bytes; no multiple of 64, so that rows do not compete for a bank

// u8 less 128, or s8.
template <bool Flip>
OCTAVO_INLINE __m256i words_of(__m128i x) {
  return Flip ? _mm256_sub_epi16(_mm256_cvtepu8_epi16(x), _mm256_set1_epi16(128)) : _mm256_cvtepi8_epi16(x);
}
template <bool Flip>
OCTAVO_INLINE void widen_sixteen(const char* p, char* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words_of<Flip>(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

// n bytes of A to words. Zeros, which meet zeros of B, follow up to a multiple of four; up to 8 words more may be overwritten.
template <bool Flip>
OCTAVO_INLINE void widen_row(const char* p, int64_t n, char* to) {
  const auto eight = [&](int64_t i) OCTAVO_LAMBDA {
    const __m256i x = words_of<Flip>(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + i)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * i), _mm256_castsi256_si128(x));
  };
  if (n >= 16) {
    for (int64_t i = 0; i + 16 <= n; i += 16) widen_sixteen<Flip>(p + i, to + 2 * i);
    if (n % 16) widen_sixteen<Flip>(p + n - 16, to + 2 * (n - 16));
  } else if (n >= 8) {
    eight(0);
    if (n > 8) eight(n - 8);
  } else {
    const __m256i x = words_of<Flip>(load_pieces(p, int(n)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(x));
  }
  if (n % 4) _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 2 * n), _mm_setzero_si128());
}

// NV vectors of columns of B, from a column on, as they are multiplied: words of k0 and k1 of all of them, then of k2 and k3.
template <int NV>
OCTAVO_INLINE char* widen_columns(const BrgemmArgs& g, int column, char* to) {
  const __m128i middle = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
  const __m256i swap = _mm256_broadcastsi128_si256(middle);
  const int64_t steps = (g.k + 3) / 4;
  const char* b = static_cast<const char*>(g.b) + column * 4;
  for (int64_t t = 0; t < g.batch; ++t) {
    if (g.b_offsets) b = static_cast<const char*>(g.b) + g.b_offsets[t] + column * 4;
    for (int64_t s = 0; s < steps; ++s, b += kStep, to += 2 * NV * Ymm::vector_bytes) {
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) {
        const __m256i x = _mm256_shuffle_epi8(Ymm::load_b(b + v * Ymm::vector_bytes), swap);
        Ymm::store(to + v * Ymm::vector_bytes, _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
        Ymm::store(to + (NV + v) * Ymm::vector_bytes, _mm256_srai_epi16(x, 8));
      }
    }
  }
  return to;
}

// M rows by `pairs` pairs of values of K.
template <int M, int NV>
OCTAVO_INLINE void multiply_words(__m256i (&acc)[M][NV], const char* a, const char* b, int64_t pairs) {
  using K = DotSigned;
  for (; pairs > 0; --pairs, a += 4, b += NV * K::vector_bytes) {
    asm("" : "+r"(a), "+r"(b));
    __m256i w[NV];
    OCTAVO_UNROLL
    for (int v = 0; M > 1 && v < NV; ++v) K::now(w[v] = K::load_b(b + v * K::vector_bytes));  // once for all rows
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      const __m256i x = K::splat_at(a + i * kWordRow);
      __m256i y[NV];
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) {
        if constexpr (M == 1) w[v] = K::load_b(b + v * K::vector_bytes);
        K::now(y[v] = _mm256_madd_epi16(x, w[v]));
      }
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) K::accumulate(acc[i][v], y[v]);
    }
  }
}

// Some widened rows and columns.
struct Words {
  const char* a;
  const char* b;
  int64_t pairs;
};

// `groups` groups of M rows from a row on, the first of which is row `at` of w.
template <int M, int NV>
OCTAVO_INLINE void word_groups(const BrgemmArgs& g, const Words& w, int at, int row, int groups) {
  row_groups<DotSigned, M, NV>(g, row, groups, [&w, at](__m256i (&acc)[M][NV], int i) OCTAVO_LAMBDA {
    multiply_words<M, NV>(acc, w.a + (at + i * M) * kWordRow, w.b, w.pairs);
  });
}

// Groups, groups of a third as many rows (rows of small images leave over some), then one by one.
template <int NV>
OCTAVO_INLINE void word_rows(const BrgemmArgs& g, const Words& w, int row, int rows) {
  constexpr int M = kWordGroup * 2 / NV, kThird = M / 3;
  const int groups = rows / M, thirds = rows % M / kThird, rest = rows % kThird, done = rows - rest;
  if (groups) word_groups<M, NV>(g, w, 0, row, groups);
  if (thirds) word_groups<kThird, NV>(g, w, groups * M, row + groups * M, thirds);
  if (rest) word_groups<1, NV>(g, w, done, row + done, rest);
}

// Sums that are too long for it, as tiles.
template <bool Flip>
[[gnu::noinline]] void tiles_by_signs(const BrgemmArgs& g) {
  EpilogueArgs epi = *g.epi;
  BrgemmArgs tile = g;
  tile.epi = &epi;
  for (int row = 0, tiles = (g.m + kRows - 1) / kRows; row < g.m; row += tile.m, --tiles) {
    tile.m = (g.m - row + tiles - 1) / tiles;
    tile.c = static_cast<char*>(g.c) + row * g.c_stride_bytes;
    if (epi.residual) epi.residual = static_cast<const char*>(g.epi->residual) + row * epi.residual_stride_bytes;
    brgemm_by_signs<Flip>(tile, row * g.a_stride_bytes);
  }
}

// `rows` rows of a tap from a row on. Short ones that lie back to back, or overlap, are read with what follows them, as far as there
// are rows.
template <bool Flip>
OCTAVO_INLINE void widen_tap(const BrgemmArgs& g, int64_t tap, int row, int rows, char* to) {
  const char* from = static_cast<const char*>(g.a[tap]) + row * g.a_stride_bytes;
  const bool dense = g.k < 16 && g.a_stride_bytes > 0 && g.a_stride_bytes <= g.k;
  const int64_t wide = dense ? g.m - row - (16 - g.k + g.a_stride_bytes - 1) / g.a_stride_bytes : 0;
  int i = 0;
  for (; i < rows && i < wide; ++i, from += g.a_stride_bytes, to += kWordRow) widen_sixteen<Flip>(from, to);
  for (; i < rows; ++i, from += g.a_stride_bytes, to += kWordRow) widen_row<Flip>(from, g.k, to);
}

// A panel whose sums are short enough.
template <bool Flip>
OCTAVO_INLINE void panel_by_words(const BrgemmArgs& g, int64_t steps_of_tap) {
  const int64_t steps = g.batch * steps_of_tap;
  alignas(64) char a[kStripRows * kWordRow];
  alignas(64) char b[kWordPanel];
  constexpr int kTwo = 2 * Ymm::lanes;
  char* to = b;
  for (int column = 0; column < g.n; column += kTwo)
    to = g.n - column > Ymm::lanes ? widen_columns<2>(g, column, to) : widen_columns<1>(g, column, to);
  const int most = steps > kWordSteps / 2 ? kStripRows / 2 : kStripRows;
  for (int row = 0, rows; row < g.m; row += rows) {
    rows = g.m - row < most ? g.m - row : most;
    for (int64_t t = 0; t < g.batch; ++t) widen_tap<Flip>(g, t, row, rows, a + t * steps_of_tap * 8);
    Words w{a, b, 2 * steps};
    for (int column = 0; column < g.n; column += kTwo) {
      const int n = g.n - column < kTwo ? g.n - column : kTwo;
      const SomeColumns some(g, column, n);
      n > Ymm::lanes ? word_rows<2>(some.args(), w, row, rows) : word_rows<1>(some.args(), w, row, rows);
      w.b += w.pairs * Ymm::vector_bytes * (n > Ymm::lanes ? 2 : 1);
    }
  }
}

template <bool Flip>
OCTAVO_INLINE void brgemm_by_words(const BrgemmArgs& g) {
  const int64_t steps_of_tap = (g.k + 3) / 4, steps = g.batch * steps_of_tap;
  const int n = g.n < kColumns ? g.n : kColumns, vectors = (n + Ymm::lanes - 1) / Ymm::lanes;
  if (steps > (vectors > 2 ? kWideSteps : kWordSteps) || 2 * steps * vectors * Ymm::vector_bytes > kWordPanel)
    return tiles_by_signs<Flip>(g);
  for (int column = 0; column < g.n; column += kColumns) {
    const SomeColumns some(g, column, g.n - column < kColumns ? g.n - column : kColumns);
    BrgemmArgs panel = some.args();
    panel.b = static_cast<const char*>(g.b) + column / kColumns * g.b_panel_stride;
    panel_by_words<Flip>(panel, steps_of_tap);
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
