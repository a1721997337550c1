// THE loop of AVX2's int8 brgemm: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j], on instructions that saturate.
//
// vpmaddubsw multiplies u8 by s8 and sums pairs into s16, which |a| <= 128 and any weights never leave: 2 * 128 * 127 and
// 2 * 128 * -128 both fit. So A is copied as magnitudes and signs (0, or -1 in all bits), and the sign goes to the weight:
//   a * w = |a| * (w ^ sign) + |a| * (sign & 1), since w ^ -1 = -w - 1
// The last term does not depend on the column: the copy sums it for each row. u8 is first flipped to s8 (a - 128).
//
// A call copies its rows a strip of K at a time, all taps one after the other, as the panel has them too. The copy serves all
// columns of a call, which the loop takes in blocks; a strip of a block stays in L1 for all groups of rows.
//
// Blocks are wide and low: beside the products, the broadcasts of magnitudes and signs bound the loop, two a row (Zen 3, products a
// cycle: 1 vector of columns 17, 2 vectors 22, 3 vectors 24, 4 vectors 25.6), while loads of B are operands of the xor.
#pragma once

#include "kernels/columns.inl.h"
#include "kernels/x86/groups.inl.h"
#include "kernels/x86/ymm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kRows = 28;                           // of a call
constexpr int kColumns = 64, kStep = 4 * kColumns;  // of a panel; its bytes for four values of K
constexpr int kPanels = 4;                          // of a call: one copy of A serves them all
constexpr int kBlock = 4, kWidth = 32;              // vectors of columns of a block, and its columns
constexpr int64_t kStrip = 96;                      // steps of a strip
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
  using Acc = I;
  static constexpr int a_bytes = 1;
  static OCTAVO_INLINE void now(I& x) { asm volatile("" : "+x"(x)); }
  // The 32 bytes at p, and y. A compiler would load them once for all rows, into registers that are taken.
  static OCTAVO_INLINE I xor_at(const char* p, I y) {
    I x;
    asm volatile("vpxor %1, %2, %0" : "=x"(x) : "m"(*reinterpret_cast<const I*>(p)), "x"(y));
    return x;
  }
};

// A strip of K for some columns. `sums` holds those of the strips before it, if there are any (resume), block by block.
struct Strip {
  const char* a;
  const int32_t* negative;
  const char* b;
  int64_t steps;
  int32_t* sums;
  bool resume;
  OCTAVO_INLINE int32_t* sums_of(int row, int v) const {
    return sums + (v / kBlock * kRows + row) * kWidth + v % kBlock * Ymm::lanes;
  }
};

template <int M, int NV>
OCTAVO_INLINE void multiply(__m256i (&acc)[M][NV], const char* a, const char* b, int64_t steps) {
  using K = DotSigned;
  // One kind of instruction after the other: in other orders additions take the ports of products.
  constexpr int kAtOnce = NV < kBlock ? NV : kBlock;
  __m256i ones = K::splat16(1);
  K::keep(ones);
  for (; steps > 0; --steps, a += 4, b += kStep) {
    asm("" : "+r"(a), "+r"(b));
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      const __m256i magnitude = K::splat_at(a + i * kRow), sign = K::splat_at(a + i * kRow + kPlane);
      OCTAVO_UNROLL
      for (int v = 0; v < NV; v += kAtOnce) {
        __m256i x[kAtOnce];
        OCTAVO_UNROLL
        for (int u = 0; u < kAtOnce; ++u) x[u] = K::xor_at(b + (v + u) * K::vector_bytes, sign);
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

// Adds a strip's products of M rows, the first of which is `row`, and the sums before it.
template <int M, int NV>
OCTAVO_INLINE void add_strip(__m256i (&acc)[M][NV], const Strip& s, int row) {
  using K = DotSigned;
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) {
    const __m256i negative = K::splat(s.negative[row + i]);
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) {
      acc[i][v] = K::add(acc[i][v], negative);
      if (s.resume) acc[i][v] = K::add(acc[i][v], K::load(s.sums_of(row + i, v)));
    }
  }
  multiply<M, NV>(acc, s.a + row * kRow, s.b, s.steps);
}

// `groups` groups of M rows from a row on: the sums to memory, where another strip follows.
template <int M, int NV>
[[gnu::noinline]] void keep_sums(const Strip& s, int row, int groups) {
  using K = DotSigned;
  for (; groups > 0; --groups, row += M) {
    __m256i acc[M][NV];
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) acc[i][v] = _mm256_setzero_si256();
    }
    add_strip<M, NV>(acc, s, row);
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) K::store(reinterpret_cast<char*>(s.sums_of(row + i, v)), acc[i][v]);
    }
  }
}

// Rows in groups of M, then what is left in smaller ones. Of the last strip g says where to, otherwise it is null.
template <int M, int NV>
OCTAVO_INLINE void all_rows(const BrgemmArgs* g, const Strip& s, int row, int rows) {
  const int groups = rows / M, rest = rows % M;
  if (groups && g)
    row_groups<DotSigned, M, NV>(*g, row, groups, [&s, row](__m256i (&acc)[M][NV], int i) OCTAVO_LAMBDA {
      add_strip<M, NV>(acc, s, row + i * M);
    });
  if (groups && !g) keep_sums<M, NV>(s, row, groups);
  if constexpr (M > 1) {
    if (rest) all_rows<M / 2, NV>(g, s, row + groups * M, rest);
  }
}

// A block of NV vectors of columns or fewer.
template <int NV>
OCTAVO_INLINE void block(const BrgemmArgs& g, const Strip& s, bool last) {
  if constexpr (NV > 1) {
    if (g.n <= (NV - 1) * Ymm::lanes) return block<NV - 1>(g, s, last);
  }
  all_rows<NV < 3 ? 4 : 2, NV>(last ? &g : nullptr, s, 0, g.m);
}

OCTAVO_INLINE void all_blocks(const BrgemmArgs& g, Strip s, bool last) {
  const char* b = s.b;
  for (int column = 0; column < g.n; column += kWidth, s.sums += kRows * kWidth) {
    s.b = b + column / kColumns * g.b_panel_stride + column % kColumns * 4;
    const SomeColumns some(g, column, g.n - column < kWidth ? g.n - column : kWidth);
    block<kBlock>(some.args(), s, last);
  }
}

// The only row of a call: whole panels, in the order in which they lie.
OCTAVO_INLINE void stream_row(const BrgemmArgs& g, Strip s) {
  for (int column = 0; column < g.n; column += kColumns, s.b += g.b_panel_stride, s.sums += kRows * kColumns)
    keep_sums<1, kColumns / Ymm::lanes>(s, 0, 1);
}

// The rows of A begin a_offset bytes behind g.a[t].
template <bool Flip>
[[gnu::noinline]] void brgemm_by_signs(const BrgemmArgs& g, ptrdiff_t a_offset = 0) {
  SignedRows<Flip> rows(g, a_offset);
  alignas(32) int32_t sums[kRows * kColumns * kPanels];
  Strip s{rows.data(), rows.negative(), static_cast<const char*>(g.b), 0, sums, false};
  // Panels that are not back to back end a strip with each tap. Otherwise strips are of about equal length, in whole vectors of A.
  const int64_t total = rows.total(), run = g.b_offsets ? total / g.batch : total;
  const bool stream = g.m == 1 && g.n > kWidth;  // one row reads B in one piece
  for (int64_t left = total; left > 0; s.resume = true, s.b += s.steps * kStep) {
    const int64_t in_run = (left - 1) % run + 1, strips = (in_run + kStrip - 1) / kStrip;
    if (g.b_offsets && in_run == run) s.b = static_cast<const char*>(g.b) + g.b_offsets[(total - left) / run];
    s.steps = strips == 1 ? in_run : ((in_run + strips - 1) / strips + 7) / 8 * 8;
    left -= s.steps;
    rows.fill(s.steps);
    stream ? stream_row(g, s) : all_blocks(g, s, left == 0);
  }
  if (!stream) return;
  const int32_t none = 0;
  s.negative = &none, s.steps = 0;
  all_blocks(g, s, true);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
