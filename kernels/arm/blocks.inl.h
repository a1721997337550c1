// THE loop of kernels that first copy A: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
//
// A call copies its rows of A, a strip of K at a time, into the order in which the multiplications want them: zero-padded, all
// taps one after the other, as the panel has them too. The loop over steps knows neither taps nor tails. The copy serves all
// columns of a panel, which are kColumns = 64 for that: the loop takes them in blocks of as many as NV registers hold, whatever
// their length is. So the panel is the same for every length.
//
// A kernel is a struct K that inherits a register vocabulary and says how to multiply:
//   integer, rows          whether sums are s32 (or f32); rows of the tile in an accumulator (BlockEpilogue)
//   step_bytes             bytes of the panel that a step takes
//   Copy<Groups>           the copy: Copy(args); total() steps of the call; kMost steps of a strip; fill(steps), the next; data()
//   multiply<Groups, NV>(acc, strip)
#pragma once

#include <cstring>

#include "kernels/arm/block_epilogue.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kBlockRows = 6, kColumns = 64;

// A strip of K for one block of columns. `sums` holds the sums of the strips before it, if there are any (resume), and takes
// those of this one, unless it is the last.
struct Strip {
  const char* a;
  const char* b;
  int64_t steps;
  bool resume, last;
  char* sums;
};

template <class K, int Groups, int NV>
[[gnu::noinline]] void block(const BrgemmArgs& g, const Strip& strip, int column, int columns) {
  using Acc = typename K::Acc;
  with_registers<Acc, Groups * NV>(K::zero(), [&](const Registers<Acc, Groups * NV>& acc) OCTAVO_LAMBDA {
    auto* sums = reinterpret_cast<typename K::Element*>(strip.sums);
    const int whole = Groups * NV * K::lanes();
    if constexpr (!K::predicated) columns = NV * K::lanes() / K::rows;
    if (strip.resume) {
      each<Groups * NV>([&]<int i>(Int<i>) OCTAVO_LAMBDA { set<i>(acc, K::load(sums, i, whole)); });
    } else if constexpr (K::integer) {
      if (g.epi->bias) {
        const int32_t* bias = g.epi->bias + column;
        each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
          const Acc seed = K::template columns<K::rows, v>(K::load(bias, v / K::rows, columns));
          each<Groups>([&]<int i>(Int<i>) OCTAVO_LAMBDA { set<i * NV + v>(acc, seed); });
        });
      }
    }

    K::template multiply<Groups, NV>(acc, strip);

    if (!strip.last) {
      each<Groups * NV>([&]<int i>(Int<i>) OCTAVO_LAMBDA { K::store(sums, i, whole, get<i>(acc)); });
    } else {
      BlockEpilogue<K, Groups, NV, K::rows>(g, column, columns)(acc);
    }
  });
}

// The most columns of a block: eight (of two rows) or four (of one row) registers.
template <class K>
OCTAVO_INLINE int block_columns() {
  return 4 * K::lanes();
}

template <class K, int Groups>
OCTAVO_INLINE void any_block(const BrgemmArgs& g, const Strip& strip, int column, int n) {
  const int width = block_columns<K>();
  n > width / 2   ? block<K, Groups, 4 * K::rows>(g, strip, column, n)
  : n > width / 4 ? block<K, Groups, 2 * K::rows>(g, strip, column, n)
                  : block<K, Groups, K::rows>(g, strip, column, n);
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
  static constexpr int kPadded = 16;
  template <class T>
  void pad(const T*& p, T (&copy)[kPadded]) const {
    if (!p) return;
    std::memcpy(copy, p + column_, size_t(n_) * sizeof(T));
    p = copy;
  }

  const BrgemmArgs& from_;
  const int column_, n_;
  EpilogueArgs epi_;
  BrgemmArgs args_;
  int32_t bias_[kPadded] = {};
  float scale_[kPadded] = {}, bias_f32_[kPadded] = {};
  char residual_[kBlockRows][kPadded * 4] = {}, c_[kBlockRows][kPadded * 4];
};

template <class K, int Groups>
[[gnu::noinline]] void all_blocks(const BrgemmArgs& g) {
  using Copy = typename K::template Copy<Groups>;
  Copy copy(g);
  alignas(64) char sums[Groups * K::rows * kColumns * 4];
  const char* b = static_cast<const char*>(g.b);
  const int width = block_columns<K>();
  bool resume = false;
  // Panels that are not back to back end a strip with each tap.
  const int64_t total = copy.total(), run = g.b_offsets ? total / g.batch : total;
  for (int64_t left = total; left > 0; resume = true) {
    const int64_t in_run = (left - 1) % run + 1, steps = in_run < Copy::kMost ? in_run : Copy::kMost;
    if (g.b_offsets && in_run == run) b = static_cast<const char*>(g.b) + g.b_offsets[(total - left) / run];
    left -= steps;
    copy.fill(steps);
    Strip strip{copy.data(), b, steps, resume, left == 0, sums};
    for (int column = 0, n; column < g.n; column += n) {
      n = g.n - column;
      if (n > width) n = width;
      if (K::predicated || n == width || n == width / 2 || n == width / 4) {
        any_block<K, Groups>(g, strip, column, n);
      } else {
        PaddedColumns padded(g, column, n);
        any_block<K, Groups>(padded.args(), strip, 0, n);
        if (strip.last) padded.copy_back();
      }
      strip.b += width * (K::step_bytes / kColumns);
      strip.sums += Groups * K::rows * width * 4;
    }
    b += steps * K::step_bytes;
  }
}

// Full tiles are the common case, so the most groups come first.
template <class K, int Groups = kBlockRows / K::rows>
OCTAVO_INLINE void block_brgemm(const BrgemmArgs& g) {
  if constexpr (Groups > 1) {
    if (g.m <= (Groups - 1) * K::rows) return block_brgemm<K, Groups - 1>(g);
  }
  all_blocks<K, Groups>(g);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
