// THE loop of AVX2's int8 brgemm: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j], on instructions that saturate.
//
// vpmaddubsw multiplies u8 by s8 and sums pairs into s16, which |a| <= 128 and any weights never leave: 2 * 128 * 127 and
// 2 * 128 * -128 both fit. So A is copied as magnitudes and signs (0, or -1 in all bits), and the sign goes to the weight:
//   a * w = |a| * (w ^ sign) + |a| * (sign & 1), since w ^ -1 = -w - 1
// The last term does not depend on the column: the copy sums it for each row. u8 is first flipped to s8 (a - 128).
//
// A call copies its rows a strip of K at a time, all taps one after the other, as the panel has them too. The copy serves all 64
// columns of a panel, which the loop takes in blocks; a strip of a block stays in L1 for all groups of rows.
#pragma once

#include "kernels/brgemm.inl.h"
#include "kernels/x86/ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kGroup = 5, kRows = 4 * kGroup;       // rows whose sums fit the registers, and of a call
constexpr int kColumns = 64, kStep = 4 * kColumns;  // of a panel; its bytes for four values of K
constexpr int64_t kStrip = 128;                     // steps of a strip
constexpr ptrdiff_t kPlane = 4 * kStrip + 32;       // of a copied row: magnitudes, then signs, both to whole vectors
constexpr ptrdiff_t kRow = 2 * kPlane;

// Rows of A, one strip of K at a time.
template <bool Flip>
class SignedRows {
 public:
  SignedRows(const BrgemmArgs& g, ptrdiff_t a_offset) : g_(g), a_offset_(a_offset) {}
  int64_t total() const { return g_.batch * ((g_.k + 3) / 4); }
  // The next `steps` of all. Taps of whole vectors are read where they are; others are first brought together.
  OCTAVO_INLINE void fill(int64_t steps) {
    __m256i negative[kRows];
    for (int i = 0; i < g_.m; ++i) {
      negative[i] = _mm256_setzero_si256();
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(rows_ + i * kRow + 4 * steps), zeros());
    }
    for (int64_t at = 0, n; at < steps; at += n) {
      const int64_t left = (g_.k + 3) / 4 - step_, bytes = g_.k - 4 * step_;
      n = left < steps - at ? left : steps - at;
      const char* from = static_cast<const char*>(g_.a[tap_]) + a_offset_ + 4 * step_;
      char* to = rows_ + 4 * at;
      for (int i = 0; i < g_.m; ++i, from += g_.a_stride_bytes, to += kRow) {
        if (g_.k % 32 == 0) {
          negative[i] = _mm256_add_epi64(negative[i], split(from, 4 * n, to));
        } else {
          copy(from, bytes < 4 * n ? bytes : 4 * n, to);
        }
      }
      step_ += n;
      if (n == left) step_ = 0, ++tap_;
    }
    for (int i = 0; i < g_.m; ++i) {
      char* row = rows_ + i * kRow;
      if (g_.k % 32 != 0) negative[i] = split(row, 4 * steps, row);
      const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(negative[i]), _mm256_extracti128_si256(negative[i], 1));
      negative_[i] = _mm_cvtsi128_si32(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two)));
    }
  }
  const char* data() const { return rows_; }
  // The sums of |a| where a < 0.
  const int32_t* negative() const { return negative_; }

 private:
  static OCTAVO_INLINE __m256i zeros() { return _mm256_set1_epi8(Flip ? char(0x80) : 0); }

  // n values, rounded up to whole vectors, to magnitudes and signs. Returns sums of |a| where a < 0.
  static OCTAVO_INLINE __m256i split(const char* p, int64_t n, char* to) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum = zero;
    for (int64_t i = 0; i < n; i += 32) {
      __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i));
      if constexpr (Flip) a = _mm256_xor_si256(a, zeros());
      const __m256i sign = _mm256_cmpgt_epi8(zero, a), magnitude = _mm256_abs_epi8(a);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), magnitude);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i + kPlane), sign);
      sum = _mm256_add_epi64(sum, _mm256_sad_epu8(_mm256_and_si256(sign, magnitude), zero));
    }
    return sum;
  }

  template <class Word>
  static OCTAVO_INLINE void move(const char* p, char* to) {
    Word x;
    std::memcpy(&x, p, sizeof x);
    std::memcpy(to, &x, sizeof x);
  }
  // n >= sizeof(Word) bytes; the last word may overlap the one before.
  template <class Word>
  static OCTAVO_INLINE void words(const char* p, int64_t n, char* to) {
    for (int64_t i = 0; i + int64_t(sizeof(Word)) < n; i += int64_t(sizeof(Word))) move<Word>(p + i, to + i);
    move<Word>(p + n - sizeof(Word), to + n - sizeof(Word));
  }
  // n values of a tap, followed by zeros up to a multiple of four.
  static OCTAVO_INLINE void copy(const char* p, int64_t n, char* to) {
    if (n >= 32) {
      words<__m256i>(p, n, to);
    } else if (n >= 16) {
      words<__m128i>(p, n, to);
    } else if (n >= 8) {
      words<uint64_t>(p, n, to);
    } else if (n >= 4) {
      words<uint32_t>(p, n, to);
    } else {
      for (int64_t i = 0; i < n; ++i) to[i] = p[i];
    }
    if (n % 4) _mm_storeu_si32(to + n, _mm256_castsi256_si128(zeros()));
  }

  const BrgemmArgs& g_;
  const ptrdiff_t a_offset_;
  int64_t tap_ = 0, step_ = 0;
  int32_t negative_[kRows];
  alignas(32) char rows_[kRows * kRow];
};

// The vocabulary of the epilogue, and the products.
struct DotSigned : Ymm {
  static constexpr int a_bytes = 1;
  static OCTAVO_INLINE void now(I& x) { asm volatile("" : "+x"(x)); }
};

// A strip of K for some columns. `sums` holds the sums of the strips before it, if there are any (resume), and takes those of
// this one, unless it is the last.
struct Strip {
  const char* a;
  const int32_t* negative;
  const char* b;
  int64_t steps;
  int32_t* sums;
  bool resume, last;
};

// The most vectors of columns that a block of M rows has accumulators for.
template <int M>
constexpr int kMostVectors = M == 1 ? 8 : M == 2 ? 4 : 2;
constexpr int kOutputVectors = 4;  // that the epilogue takes

template <int M, int NV>
OCTAVO_INLINE void multiply(__m256i (&acc)[M][NV], const char* a, const char* b, int64_t steps) {
  using K = DotSigned;
  // One kind of instruction after the other, where registers are left for it: in other orders additions take the ports of products.
  constexpr int kAtOnce = M > 2 && NV % 2 == 0 ? 2 : 1;
  __m256i ones = K::splat16(1);
  K::keep(ones);
  for (; steps > 0; --steps, a += 4, b += kStep) {
    asm("" : "+r"(a), "+r"(b));
    __m256i w[NV];
    OCTAVO_UNROLL
    for (int v = 0; M > 1 && v < NV; ++v) K::now(w[v] = K::load_b(b + v * K::vector_bytes));  // once for all rows
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      const __m256i magnitude = K::splat_at(a + i * kRow), sign = K::splat_at(a + i * kRow + kPlane);
      OCTAVO_UNROLL
      for (int v = 0; v < NV; v += kAtOnce) {
        __m256i x[kAtOnce];
        OCTAVO_UNROLL
        for (int u = 0; u < kAtOnce; ++u) {
          if constexpr (M == 1) w[v + u] = K::load_b(b + (v + u) * K::vector_bytes);
          K::now(x[u] = _mm256_xor_si256(w[v + u], sign));
        }
        OCTAVO_UNROLL
        for (int u = 0; u < kAtOnce; ++u) K::now(x[u] = _mm256_maddubs_epi16(magnitude, x[u]));
        OCTAVO_UNROLL
        for (int u = 0; u < kAtOnce; ++u) K::now(x[u] = _mm256_madd_epi16(x[u], ones));
        OCTAVO_UNROLL
        for (int u = 0; u < kAtOnce; ++u) K::accumulate(acc[i][v + u], x[u]);
      }
    }
  }
}

// Rows [row, row + M). g: of the columns alone.
template <int M, int NV>
[[gnu::noinline]] void block(const BrgemmArgs& g, const Strip& s, int row) {
  using K = DotSigned;
  const int live = g.n - (NV - 1) * K::lanes;  // columns of the last vector
  const K::Part part(live);
  int32_t* sums = s.sums + row * kColumns;
  __m256i acc[M][NV], seeds[NV];
  if (!s.resume) load_seeds<K>(seeds, g, part, live);
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) {
      const __m256i seed = s.resume ? K::load(sums + i * kColumns + v * K::lanes) : seeds[v];
      acc[i][v] = K::add(seed, K::splat(s.negative[row + i]));
    }
  }
  multiply<M, NV>(acc, s.a + row * kRow, s.b, s.steps);
  if constexpr (NV <= kOutputVectors) {
    if (s.last) return output<K, M, NV>(g, row, part, live, acc);
  }
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) K::store(reinterpret_cast<char*>(sums + i * kColumns + v * K::lanes), acc[i][v]);
  }
}

template <int M, int NV>
OCTAVO_INLINE void any_block(const BrgemmArgs& g, const Strip& s, int row) {
  if constexpr (NV > 1) {
    if (g.n <= (NV - 1) * Ymm::lanes) return any_block<M, NV - 1>(g, s, row);
  }
  block<M, NV>(g, s, row);
}

// The part of a call that computes n columns from `column` on.
class SomeColumns {
 public:
  OCTAVO_INLINE SomeColumns(const BrgemmArgs& g, int column, int n) : epi_(*g.epi), args_(g) {
    advance(epi_.bias, column, 4);
    advance(epi_.scale, column, 4);
    advance(epi_.bias_f32, column, 4);
    advance(epi_.residual, column, bytes_of(epi_.residual_dtype));
    advance(args_.c, column, bytes_of(epi_.out));
    args_.n = n;
    args_.epi = &epi_;
  }
  const BrgemmArgs& args() const { return args_; }

 private:
  template <class T>
  static OCTAVO_INLINE void advance(T*& p, int column, size_t bytes) {
    if (p) p = reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(p) + size_t(column) * bytes);
  }
  static OCTAVO_INLINE size_t bytes_of(DType t) { return t == DType::f32 || t == DType::s32 ? 4 : 1; }
  EpilogueArgs epi_;
  BrgemmArgs args_;
};

// All columns of a call of M rows, or (0) of some groups of about equal heights; NV vectors at a time.
template <int M, int NV>
OCTAVO_INLINE void all_blocks(const BrgemmArgs& g, Strip s) {
  constexpr int kWidth = NV * Ymm::lanes;
  for (int column = 0; column < g.n; column += kWidth, s.b += kWidth * 4, s.sums += kWidth) {
    const SomeColumns some(g, column, g.n - column < kWidth ? g.n - column : kWidth);
    if constexpr (M > 0) {
      any_block<M, NV>(some.args(), s, 0);
    } else {
      for (int row = 0, groups = (g.m + kGroup - 1) / kGroup, rows; row < g.m; row += rows, --groups) {
        rows = (g.m - row + groups - 1) / groups;
        rows == 5   ? any_block<5, NV>(some.args(), s, row)
        : rows == 4 ? any_block<4, NV>(some.args(), s, row)
                    : any_block<3, NV>(some.args(), s, row);
      }
    }
  }
}

template <bool Flip, int M>
[[gnu::noinline]] void rows_of(const BrgemmArgs& g, ptrdiff_t a_offset) {
  constexpr int NV = kMostVectors<M>;
  SignedRows<Flip> rows(g, a_offset);
  alignas(32) int32_t sums[(M ? M : kRows) * kColumns];
  Strip s{rows.data(), rows.negative(), static_cast<const char*>(g.b), 0, sums, false, false};
  // Panels that are not back to back end a strip with each tap.
  const int64_t total = rows.total(), run = g.b_offsets ? total / g.batch : total;
  for (int64_t left = total; left > 0; s.resume = true, s.b += s.steps * kStep) {
    const int64_t in_run = (left - 1) % run + 1;
    if (g.b_offsets && in_run == run) s.b = static_cast<const char*>(g.b) + g.b_offsets[(total - left) / run];
    s.steps = in_run < kStrip ? in_run : kStrip;
    left -= s.steps;
    s.last = left == 0 && NV <= kOutputVectors;
    rows.fill(s.steps);
    all_blocks<M, NV>(g, s);
  }
  if constexpr (NV > kOutputVectors) {
    const int32_t none[M] = {};
    s.negative = none, s.steps = 0, s.last = true;
    all_blocks<M, kOutputVectors>(g, s);
  }
}

// The rows of A begin a_offset bytes behind g.a[t].
template <bool Flip>
OCTAVO_INLINE void brgemm_by_signs(const BrgemmArgs& g, ptrdiff_t a_offset = 0) {
  g.m == 1 ? rows_of<Flip, 1>(g, a_offset) : g.m == 2 ? rows_of<Flip, 2>(g, a_offset) : rows_of<Flip, 0>(g, a_offset);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
