// AVX2's int8 brgemm of one column: acc[i] = bias + sum_t sum_p A_t[i][p] * B_t[p]
//
// Vectors of columns would multiply eight for one. Here vectors run along K instead: sixteen bytes of a row of A become words, which
// vpmaddwd multiplies by words of B, exactly; eight rows' sums then stand in one vector. Where C is dense too, what are rows to the
// caller are columns to the epilogue.
#pragma once

#include <cstring>

#include "kernels/x86/groups.inl.h"
#include "kernels/x86/rows.inl.h"
#include "kernels/x86/signs.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kColumnRows = 8, kColumnBlock = 4;                // rows whose sums are a vector, and vectors of sums at a time
constexpr int kColumnStep = 16;                                 // values of K of a vector of words
constexpr int64_t kColumnVectors = 256;                         // of B's words, of all taps: 8 KiB
constexpr int kEpilogueRows = kColumnRows * kColumnBlock;

OCTAVO_INLINE int64_t column_vectors(const BrgemmArgs& g) { return (g.k + kColumnStep - 1) / kColumnStep; }

// A row of fewer values than a vector would be read by pieces.
inline bool is_one_column(const BrgemmArgs& g) {
  const auto dense = [](ptrdiff_t stride, DType t) { return stride == (t == DType::f32 || t == DType::s32 ? 4 : 1); };
  return g.n == 1 && g.k >= kColumnStep && g.batch * column_vectors(g) <= kColumnVectors && dense(g.c_stride_bytes, g.epi->out) &&
         (!g.epi->residual || dense(g.epi->residual_stride_bytes, g.epi->residual_dtype));
}

// B as words, and their sum. The last vector of a tap ends where the tap does: what the one before has too is zero in it.
class ColumnWords {
 public:
  explicit OCTAVO_INLINE ColumnWords(const BrgemmArgs& g) {
    const int64_t steps = (g.k + 3) / 4, rest = g.k % kColumnStep, whole = g.k / kColumnStep;
    const __m256i place = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m256i repeated = _mm256_cmpgt_epi16(_mm256_set1_epi16(short(kColumnStep - rest)), place);
    const char* b = static_cast<const char*>(g.b);
    __m256i* to = words_;
    static_assert(kColumnVectors * 128 <= 32768, "sums of words");
    __m256i sum = _mm256_setzero_si256();
    const auto put = [&](__m256i w) OCTAVO_LAMBDA {
      *to++ = w;
      sum = _mm256_add_epi16(sum, w);
    };
    for (int64_t t = 0; t < g.batch; ++t) {
      if (g.b_offsets) b = static_cast<const char*>(g.b) + g.b_offsets[t];
      char bytes[kColumnStep * kColumnVectors];
      for (int64_t s = 0; s < steps; ++s, b += kStep) std::memcpy(bytes + 4 * s, b, 4);
      const auto words = [&](int64_t k) { return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + k))); };
      for (int64_t v = 0; v < whole; ++v) put(words(v * kColumnStep));
      if (rest) put(_mm256_andnot_si256(repeated, words(g.k - kColumnStep)));
    }
    sum = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
    const __m128i two = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    const __m128i one = _mm_add_epi32(two, _mm_unpackhi_epi64(two, two));
    sum_ = uint32_t(_mm_cvtsi128_si32(one)) + uint32_t(_mm_extract_epi32(one, 1));
  }
  const __m256i* data() const { return words_; }
  uint32_t sum() const { return sum_; }

 private:
  __m256i words_[kColumnVectors];
  uint32_t sum_;
};

// Partial sums of M rows.
template <bool Unsigned, int M>
OCTAVO_INLINE void multiply_column(__m256i (&acc)[M], const BrgemmArgs& g, const __m256i* b, int64_t row) {
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) acc[i] = _mm256_setzero_si256();
  const int64_t whole = g.k / kColumnStep, rest = g.k % kColumnStep;
  typename StridedRows<M>::Scratch scratch;
  for (int64_t t = 0; t < g.batch; ++t) {
    StridedRows<M> rows(static_cast<const char*>(g.a[t]) + row * g.a_stride_bytes, g.a_stride_bytes, g.k, scratch);
    const auto step = [&]() OCTAVO_LAMBDA {
      const __m256i w = *b++;
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i) {
        const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
        acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(Unsigned ? _mm256_cvtepu8_epi16(x) : _mm256_cvtepi8_epi16(x), w));
      }
    };
    for (int64_t v = whole; v > 0; --v, rows.advance(kColumnStep)) step();
    if (rest) rows.advance(rest - kColumnStep), step();
  }
}

// The sums of eight rows, or of the last few. A function of its own: there its loop has all registers for addresses.
template <bool Unsigned>
[[gnu::noinline]] __m256i column_sums(const BrgemmArgs& g, const __m256i* b, int64_t row) {
  if (g.m - row < kColumnRows) {
    int32_t sums[kColumnRows] = {};
    for (int i = 0; row + i < g.m; ++i) {
      __m256i acc[1];
      multiply_column<Unsigned, 1>(acc, g, b, row + i);
      const __m128i two = _mm_add_epi32(_mm256_castsi256_si128(acc[0]), _mm256_extracti128_si256(acc[0], 1));
      const __m128i one = _mm_hadd_epi32(two, two);
      sums[i] = _mm_cvtsi128_si32(_mm_hadd_epi32(one, one));
    }
    return Ymm::load(sums);
  }
  __m256i acc[kColumnRows];
  multiply_column<Unsigned, kColumnRows>(acc, g, b, row);
  const auto four = [&](int i) OCTAVO_LAMBDA {
    return _mm256_hadd_epi32(_mm256_hadd_epi32(acc[i], acc[i + 1]), _mm256_hadd_epi32(acc[i + 2], acc[i + 3]));
  };
  const __m256i low = four(0), high = four(4);
  return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

// Flip: A is u8, and the bias that of A - 128, which is left to its sum with B.
template <bool Flip>
[[gnu::noinline]] void brgemm_column(const BrgemmArgs& g) {
  const ColumnWords b(g);
  const EpilogueArgs& e = *g.epi;
  alignas(32) int32_t bias[kEpilogueRows];
  alignas(32) float scale[kEpilogueRows], bias_f32[kEpilogueRows];
  const int32_t seed = int32_t((e.bias ? uint32_t(*e.bias) : 0u) - (Flip ? 128u * b.sum() : 0u));
  for (int i = 0; i < kEpilogueRows; ++i) {
    bias[i] = seed;
    scale[i] = e.scale ? *e.scale : 0;
    bias_f32[i] = e.bias_f32 ? *e.bias_f32 : 0;
  }
  EpilogueArgs epi = e;
  epi.bias = bias;
  if (e.scale) epi.scale = scale;
  if (e.bias_f32) epi.bias_f32 = bias_f32;
  epi.residual_stride_bytes *= kEpilogueRows;
  BrgemmArgs out = g;
  out.epi = &epi, out.n = kEpilogueRows, out.c_stride_bytes *= kEpilogueRows;
  const int groups = g.m / kEpilogueRows, done = groups * kEpilogueRows;
  if (groups)
    row_groups<DotSigned, 1, kColumnBlock>(out, 0, groups, [&](__m256i (&acc)[1][kColumnBlock], int i) OCTAVO_LAMBDA {
      OCTAVO_UNROLL
      for (int v = 0; v < kColumnBlock; ++v) {
        const __m256i sums = column_sums<Flip>(g, b.data(), i * kEpilogueRows + v * kColumnRows);
        Ymm::keep(acc[0][v] = _mm256_add_epi32(acc[0][v], sums));
      }
    });
  for (int row = done, n; row < g.m; row += n) {
    n = g.m - row < kColumnRows ? g.m - row : kColumnRows;
    const ptrdiff_t at = row;
    out.n = n;
    out.c = static_cast<char*>(g.c) + at * g.c_stride_bytes;
    if (e.residual) epi.residual = static_cast<const char*>(e.residual) + at * e.residual_stride_bytes;
    row_groups<DotSigned, 1, 1>(out, 0, 1, [&](__m256i (&acc)[1][1], int) OCTAVO_LAMBDA {
      acc[0][0] = _mm256_add_epi32(acc[0][0], column_sums<Flip>(g, b.data(), at));
    });
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
