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
constexpr ptrdiff_t kPlane = 4 * kStrip + 16;       // of a copied row: magnitudes, then signs; a tap's last piece may be longer
constexpr ptrdiff_t kRow = 2 * kPlane;

// Rows of A, one strip of K at a time.
template <bool Flip>
class SignedRows {
 public:

  explicit SignedRows(const BrgemmArgs& g) : g_(g) {}
  int64_t total() const { return g_.batch * ((g_.k + 3) / 4); }
  // The next `steps` of all.
  OCTAVO_INLINE void fill(int64_t steps) {
    __m256i negative[kRows];
    for (int i = 0; i < g_.m; ++i) negative[i] = _mm256_setzero_si256();
    for (int64_t at = 0, n; at < steps; at += n) {
      const int64_t left = (g_.k + 3) / 4 - step_, bytes = g_.k - 4 * step_;
      n = left < steps - at ? left : steps - at;
      const char* from = static_cast<const char*>(g_.a[tap_]) + 4 * step_;
      for (int i = 0; i < g_.m; ++i)
        negative[i] = _mm256_add_epi64(
            negative[i], copy(from + i * g_.a_stride_bytes, bytes < 4 * n ? bytes : 4 * n, rows_ + i * kRow + 4 * at));
      step_ += n;
      if (n == left) step_ = 0, ++tap_;
    }
    for (int i = 0; i < g_.m; ++i) {
      const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(negative[i]), _mm256_extracti128_si256(negative[i], 1));
      negative_[i] = _mm_cvtsi128_si32(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two)));
    }
  }
  const char* data() const { return rows_; }
  // The sums of |a| where a < 0.
  const int32_t* negative() const { return negative_; }

 private:
  // From byte n on, a vector of -1: at 32 - n, one with zeros in its first n bytes.
  alignas(64) static constexpr signed char kFrom[64] = {0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
                                                        0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
                                                        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                                        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

  static OCTAVO_INLINE __m128i from(int64_t n) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(kFrom + 32 - n)); }
  static OCTAVO_INLINE __m128i flip(__m128i x) { return Flip ? _mm_xor_si128(x, _mm_set1_epi8(char(0x80))) : x; }

  // Returns the sums of |a| where a < 0, but for those of `hidden` bytes.
  static OCTAVO_INLINE __m256i put16(__m128i a, __m128i hidden, char* to) {
    const __m128i sign = _mm_cmpgt_epi8(_mm_setzero_si128(), a), magnitude = _mm_abs_epi8(a);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), magnitude);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + kPlane), sign);
    const __m128i negative = _mm_andnot_si128(hidden, _mm_and_si128(sign, magnitude));
    return _mm256_zextsi128_si256(_mm_sad_epu8(negative, _mm_setzero_si128()));
  }

  // n values of a row, followed by zeros up to a multiple of four.
  static OCTAVO_INLINE __m256i copy(const char* p, int64_t n, char* to) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum = zero;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
      __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i));
      if constexpr (Flip) a = _mm256_xor_si256(a, _mm256_set1_epi8(char(0x80)));
      const __m256i sign = _mm256_cmpgt_epi8(zero, a), magnitude = _mm256_abs_epi8(a);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), magnitude);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i + kPlane), sign);
      sum = _mm256_add_epi64(sum, _mm256_sad_epu8(_mm256_and_si256(sign, magnitude), zero));
    }
    if (n - i >= 16) {
      const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i));
      sum = _mm256_add_epi64(sum, put16(flip(a), _mm_setzero_si128(), to + i));
      i += 16;
    }
    if (i == n) return sum;
    if (n < 16) {
      const __m128i a = _mm_andnot_si128(from(n), flip(load_bytes(p, int(n))));
      return _mm256_add_epi64(sum, put16(a, _mm_setzero_si128(), to));
    }
    // The last 16 values once more: those already here count no second time.
    std::memset(to + n, 0, 4);
    std::memset(to + n + kPlane, 0, 4);
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + n - 16));
    const __m128i again = _mm_xor_si128(from(16 - (n - i)), _mm_set1_epi8(-1));
    return _mm256_add_epi64(sum, put16(flip(a), again, to + n - 16));
  }

  const BrgemmArgs& g_;
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
  __m256i ones = K::splat16(1);
  K::keep(ones);
  for (; steps > 0; --steps, a += 4, b += kStep) {
    asm("" : "+r"(a), "+r"(b));
    __m256i w[NV];
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) {
      w[v] = K::load_b(b + v * K::vector_bytes);
      if constexpr (M > 1) K::keep(w[v]);  // one load for all rows, not an operand in memory for each
    }
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      const __m256i magnitude = K::splat_at(a + i * kRow), sign = K::splat_at(a + i * kRow + kPlane);
      __m256i x[NV];
      // One kind of instruction after the other: in other orders additions take the ports of products.
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) K::now(x[v] = _mm256_xor_si256(w[v], sign));
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) K::now(x[v] = _mm256_maddubs_epi16(magnitude, x[v]));
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) K::now(x[v] = _mm256_madd_epi16(x[v], ones));
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) K::accumulate(acc[i][v], x[v]);
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
[[gnu::noinline]] void rows_of(const BrgemmArgs& g) {
  constexpr int NV = kMostVectors<M>;
  SignedRows<Flip> rows(g);
  alignas(32) int32_t sums[(M ? M : kRows) * kColumns];
  Strip s{rows.data(), rows.negative(), static_cast<const char*>(g.b), 0, sums, false, false};
  for (int64_t left = rows.total(); left > 0; s.resume = true, s.b += s.steps * kStep) {
    s.steps = left < kStrip ? left : kStrip;
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

template <bool Flip>
OCTAVO_INLINE void brgemm_by_signs(const BrgemmArgs& g) {
  g.m == 1 ? rows_of<Flip, 1>(g) : g.m == 2 ? rows_of<Flip, 2>(g) : rows_of<Flip, 0>(g);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
