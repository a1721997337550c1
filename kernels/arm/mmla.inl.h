// THE loop of the matrix instructions SMMLA and USMMLA: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
//
// In each 128 bits they add the products of 2 rows x 8 values with 2 columns x 8 values to a 2x2 block of sums. Two rows of A
// must stand together for that; doing so in the loop would cost one shuffle for eight products on the pipes that multiply. So a
// call first copies its rows in pairs, a strip of K at a time, with loads and stores of general registers alone:
//     copy  [steps][pairs][2][8]:  k0..7 of row 0 | k0..7 of row 1 | k0..7 of row 2 | ... | k8..15 of row 0 | ...
// zero-padded, all taps one after the other, as the panel has them too: the loop over steps knows neither taps nor tails.
// The copy serves all the columns of a panel, which are nr = 64 for that: the loop takes them in blocks of NV registers.
//
// K: the register vocabulary, and load_a (16 bytes to each 128 bits), load_b, mmla.
#pragma once

#include <cstring>

#include "kernels/arm/block_epilogue.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kMmlaRows = 6, kMmlaColumns = 64, kMmlaDepth = 8;
constexpr int64_t kStripSteps = 256;  // 12 KiB of A at most

// The next steps of K, in pairs of rows.
template <int Pairs>
class PairedRows {
 public:
  explicit PairedRows(const BrgemmArgs& g) : g_(g) {}
  const char* copy() const { return copy_; }
  // Copies the next `steps` steps.
  void fill(int64_t steps) {
    char* to = copy_;
    while (steps > 0) {
      int64_t whole = (g_.k - done_) / kMmlaDepth;
      if (whole > steps) whole = steps;
      const char* a = static_cast<const char*>(g_.a[tap_]) + done_;
      const int tail = whole < steps && g_.k - done_ > whole * kMmlaDepth ? int((g_.k - done_) % kMmlaDepth) : 0;
      for (int i = 0; i < 2 * Pairs; ++i) {
        const char* row = a + (i < g_.m ? i : i - 1) * g_.a_stride_bytes;
        copy_row(row, whole, tail, to + i * kMmlaDepth);
      }
      const int64_t copied = whole + (tail != 0);
      to += copied * kStep;
      steps -= copied;
      done_ += copied * kMmlaDepth;
      if (done_ >= g_.k) {
        done_ = 0;
        ++tap_;
      }
    }
  }

 private:
  static constexpr int kStep = 2 * Pairs * kMmlaDepth;
  static OCTAVO_INLINE void copy_row(const char* row, int64_t whole, int tail, char* to) {
    for (; whole > 0; --whole, row += kMmlaDepth, to += kStep) std::memcpy(to, row, kMmlaDepth);
    if (!tail) return;
    uint64_t last = 0;
    for (int i = tail; i-- > 0;) last = last << 8 | uint8_t(row[i]);
    std::memcpy(to, &last, sizeof last);
  }

  const BrgemmArgs& g_;
  int64_t tap_ = 0, done_ = 0;
  alignas(64) char copy_[kStripSteps * kStep];
};

// A strip of K for one block of columns. `sums` holds the sums of the strips before it, if there are any (resume), and takes
// those of this one, unless it is the last.
struct Strip {
  const char* a;
  const char* b;
  int64_t steps;
  bool resume, last;
  char* sums;
};

template <class K, int Pairs, int NV>
[[gnu::noinline]] void block(const BrgemmArgs& g, const Strip& strip, int column, int columns) {
  using Acc = typename K::Acc;
  with_registers<Acc, Pairs * NV>(K::zero(), [&](const Registers<Acc, Pairs * NV>& acc) OCTAVO_LAMBDA {
    int32_t* sums = reinterpret_cast<int32_t*>(strip.sums);
    const int whole = Pairs * NV * K::lanes();
    if constexpr (!K::predicated) columns = NV * K::lanes() / 2;
    if (strip.resume) {
      each<Pairs * NV>([&]<int i>(Int<i>) OCTAVO_LAMBDA { set<i>(acc, K::load(sums, i, whole)); });
    } else if (g.epi->bias) {
      const int32_t* bias = g.epi->bias + column;
      each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
        const Acc seed = K::template columns<2, v>(K::load(bias, v / 2, columns));
        each<Pairs>([&]<int p>(Int<p>) OCTAVO_LAMBDA { set<p * NV + v>(acc, seed); });
      });
    }

    const char* a = strip.a;
    const char* b = strip.b;
    for (int64_t steps = strip.steps; steps > 0; --steps) {
      with_registers<typename K::A, Pairs>(K::load_a(a), [&](const Registers<typename K::A, Pairs>& x) OCTAVO_LAMBDA {
        each<Pairs>([&]<int p>(Int<p>) OCTAVO_LAMBDA { x.template at<p>() = K::load_a(a + 16 * p); });
        each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
          const typename K::B w = K::template load_b<v>(b);
          each<Pairs>([&]<int p>(Int<p>) OCTAVO_LAMBDA {
            acc.template at<p * NV + v>() = K::mmla(acc.template at<p * NV + v>(), x.template at<p>(), w);
          });
          if constexpr (v % 2) asm volatile("" : : : "memory");  // GCC would load all of B first, and spill accumulators
        });
      });
      a += 16 * Pairs;
      b += kMmlaColumns * kMmlaDepth;
    }

    if (!strip.last) {
      each<Pairs * NV>([&]<int i>(Int<i>) OCTAVO_LAMBDA { K::store(sums, i, whole, get<i>(acc)); });
    } else {
      BlockEpilogue<K, Pairs, NV, 2>(g, column, columns)(acc);
    }
  });
}

template <class K, int Pairs>
OCTAVO_INLINE void blocks(const BrgemmArgs& g, const Strip& strip, int column, int n) {
  const int width = 4 * K::lanes();  // columns of eight registers
  n > width / 2   ? block<K, Pairs, 8>(g, strip, column, n)
  : n > width / 4 ? block<K, Pairs, 4>(g, strip, column, n)
                  : block<K, Pairs, 2>(g, strip, column, n);
}

// Some last columns of a call with room behind them, for registers that cannot be loaded and stored in part.
class PaddedColumns {
 public:
  PaddedColumns(const BrgemmArgs& g, int column, int n) : from_(g), column_(column), n_(n), epi_(*g.epi), args_(g) {
    pad(epi_.bias, bias_);
    pad(epi_.scale, scale_);
    pad(epi_.bias_f32, bias_f32_);
    if (epi_.residual) {
      const int bytes = epi_.residual_dtype == DType::f32 ? 4 : 1;
      const char* from = static_cast<const char*>(epi_.residual) + column * bytes;
      for (int i = 0; i < g.m; ++i) std::memcpy(residual_[i], from + i * epi_.residual_stride_bytes, size_t(n * bytes));
      epi_.residual = residual_;
      epi_.residual_stride_bytes = sizeof residual_[0];
    }
    args_.c = c_;
    args_.c_stride_bytes = sizeof c_[0];
    args_.epi = &epi_;
  }
  const BrgemmArgs& args() const { return args_; }
  void copy_back() const {
    const int bytes = epi_.out == DType::f32 || epi_.out == DType::s32 ? 4 : 1;
    char* to = static_cast<char*>(from_.c) + column_ * bytes;
    for (int i = 0; i < from_.m; ++i) std::memcpy(to + i * from_.c_stride_bytes, c_[i], size_t(n_ * bytes));
  }

 private:
  static constexpr int kColumns = 16;
  template <class T>
  void pad(const T*& p, T (&copy)[kColumns]) const {
    if (!p) return;
    std::memcpy(copy, p + column_, size_t(n_) * sizeof(T));
    p = copy;
  }

  const BrgemmArgs& from_;
  const int column_, n_;
  EpilogueArgs epi_;
  BrgemmArgs args_;
  int32_t bias_[kColumns] = {};
  float scale_[kColumns] = {}, bias_f32_[kColumns] = {};
  char residual_[kMmlaRows][kColumns * 4] = {}, c_[kMmlaRows][kColumns * 4];
};

template <class K, int Pairs>
[[gnu::noinline]] void paired(const BrgemmArgs& g) {
  PairedRows<Pairs> rows(g);
  alignas(64) char sums[Pairs * kMmlaColumns / 2 * 16];
  const char* b = static_cast<const char*>(g.b);
  const int width = 4 * K::lanes();  // columns of eight registers
  bool resume = false;
  for (int64_t left = g.batch * ((g.k + kMmlaDepth - 1) / kMmlaDepth); left > 0; resume = true) {
    const int64_t steps = left < kStripSteps ? left : kStripSteps;
    left -= steps;
    rows.fill(steps);
    Strip strip{rows.copy(), b, steps, resume, left == 0, sums};
    for (int column = 0, n; column < g.n; column += n) {
      n = g.n - column;
      if (n > width) n = width;
      if (K::predicated || n == width || n == width / 2 || n == width / 4 || !strip.last) {
        blocks<K, Pairs>(g, strip, column, n);
      } else {
        PaddedColumns padded(g, column, n);
        blocks<K, Pairs>(padded.args(), strip, 0, n);
        padded.copy_back();
      }
      strip.b += width * kMmlaDepth;
      strip.sums += Pairs * width / 2 * 16;
    }
    b += steps * kMmlaColumns * kMmlaDepth;
  }
}

template <class K>
OCTAVO_INLINE void mmla_brgemm(const BrgemmArgs& g) {
  static_assert(kMmlaRows == 6);
  g.m > 4 ? paired<K, 3>(g) : g.m > 2 ? paired<K, 2>(g) : paired<K, 1>(g);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
