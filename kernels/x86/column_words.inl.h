// What AVX2's int8 brgemm multiplies one column of C with (one_column.inl.h): sixteen bytes of a row of A become words, which
// vpmaddwd multiplies by words of B, exactly.
#pragma once

#include <cstring>

#include "kernels/x86/one_column.inl.h"
#include "kernels/x86/rows.inl.h"
#include "kernels/x86/signs.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kColumnRows = 8;                   // rows whose sums are a vector
constexpr int kColumnStep = 16;                  // values of K of a vector of words
constexpr int64_t kColumnVectors = 256;          // of B's words, of all taps: 8 KiB

OCTAVO_INLINE int64_t column_vectors(const BrgemmArgs& g) { return (g.k + kColumnStep - 1) / kColumnStep; }

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
class WordColumn {
 public:
  using K = DotSigned;
  static constexpr int vectors = 4;  // at a time
  // A row of fewer values than a vector would be read by pieces.
  static bool takes(const BrgemmArgs& g) { return g.k >= kColumnStep && g.batch * column_vectors(g) <= kColumnVectors; }
  explicit OCTAVO_INLINE WordColumn(const BrgemmArgs& g) : b_(g) {}
  uint32_t seed() const { return Flip ? 0u - 128u * b_.sum() : 0u; }
  __m256i sums(const BrgemmArgs& g, int64_t row) const { return column_sums<Flip>(g, b_.data(), row); }

 private:
  ColumnWords b_;
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
