// THE loop of kernels that first copy A: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
//
// A call copies its rows of A, a strip of K at a time, into the order in which the multiplications want them: zero-padded, all
// taps one after the other, as the panel has them too. The loop over steps knows neither taps nor tails. The copy serves all
// columns of a panel, which are kColumns = 64 for that: the loop takes them in blocks of as many as NV registers hold, whatever
// their length is. So the panel is the same for every length. A call has any number of rows, kBlockRows of them at a time, for
// which it prepares the constants of the columns once.
//
// A kernel is a struct K that inherits a register vocabulary and says how to multiply:
//   integer, rows          whether sums are s32 (or f32); rows of the tile in an accumulator (BlockEpilogue)
//   step_bytes             bytes of the panel that a step takes
//   Copy<Groups>           the copy: Copy(tile); total() steps of the call; kMost steps of a strip; fill(steps), the next; data()
//   multiply<Groups, NV>(acc, strip)
#pragma once

#include <cstring>

#include "kernels/arm/block_epilogue.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kBlockRows = 6, kColumns = 64;

// A strip of K from a block of columns on. `sums` holds the sums of the strips before it, if there are any (resume), and takes
// those of this one, unless it is the last. seed, scale: those of the call's constants there.
struct Strip {
  const char* a;
  const char* b;
  int64_t steps;
  bool resume, last;
  char* sums;
  const int32_t* seed;
  const float* scale;
};

template <class K>
using Constants = CallConstants<K::rows * kColumns>;

// `blocks` blocks of `columns` columns each, which Groups * NV registers hold.
template <class K, int Groups, int NV>
[[gnu::noinline]] void some_blocks(const Tile& tile, const Small8& small8, Strip& strip, int column, int columns, int blocks) {
  using Acc = typename K::Acc;
  for (; blocks > 0; --blocks, column += columns) {
    with_registers<Acc, Groups * NV>(K::zero(), [&](const Registers<Acc, Groups * NV>& acc) OCTAVO_LAMBDA {
      auto* sums = reinterpret_cast<typename K::Element*>(strip.sums);
      const int n = K::predicated ? columns : NV * K::lanes() / K::rows;
      if (strip.resume) {
        each<Groups * NV>([&]<int i>(Int<i>) OCTAVO_LAMBDA { set<i>(acc, K::load(sums, i)); });
      } else if constexpr (K::integer) {
        each<Groups>([&]<int i>(Int<i>) OCTAVO_LAMBDA {
          const int32_t* seed = strip.seed;
          asm volatile("" : "+r"(seed));  // loaded again for each group: moves take the pipes that multiply
          each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA { set<i * NV + v>(acc, K::load(seed, v)); });
        });
      }

      K::template multiply<Groups, NV>(acc, strip);

      if (!strip.last) {
        each<Groups * NV>([&]<int i>(Int<i>) OCTAVO_LAMBDA { K::store(sums, i, get<i>(acc)); });
      } else {
        BlockEpilogue<K, Groups, NV, K::rows>(tile, column, n, strip.scale, small8)(acc);
      }
    });
    strip.b += NV * K::lanes() / K::rows * (K::step_bytes / kColumns);
    strip.sums += Groups * NV * K::lanes() * 4;
    strip.seed += NV * K::lanes();
    strip.scale += NV * K::lanes();
  }
}

// The most columns of a block: eight (of two rows) or four (of one row) registers.
template <class K>
OCTAVO_INLINE int block_columns() {
  return 4 * K::lanes();
}

template <class K, int Groups>
OCTAVO_INLINE void any_block(const Tile& tile, const Small8& small8, Strip& strip, int column, int n) {
  const int width = block_columns<K>();
  n > width / 2   ? some_blocks<K, Groups, 4 * K::rows>(tile, small8, strip, column, n, 1)
  : n > width / 4 ? some_blocks<K, Groups, 2 * K::rows>(tile, small8, strip, column, n, 1)
                  : some_blocks<K, Groups, K::rows>(tile, small8, strip, column, n, 1);
}

// Some last columns of a call with room behind them, for registers that cannot be loaded and stored in part.
class PaddedColumns {
 public:
  PaddedColumns(const Tile& tile, int column, int n) : from_(tile), column_(column), n_(n), epi_(*tile.g.epi), args_(tile.g) {
    pad(epi_.scale, scale_);
    pad(epi_.bias_f32, bias_f32_);
    if (epi_.residual) {
      const int bytes = epi_.residual_dtype == DType::f32 ? 4 : 1;
      const char* from = static_cast<const char*>(epi_.residual) + tile.row * epi_.residual_stride_bytes + column * bytes;
      for (int i = 0; i < tile.rows; ++i) std::memcpy(residual_[i], from + i * epi_.residual_stride_bytes, size_t(n * bytes));
      epi_.residual = residual_;
      epi_.residual_stride_bytes = sizeof residual_[0];
    }
    args_.c = c_;
    args_.c_stride_bytes = sizeof c_[0];
    args_.epi = &epi_;
  }
  Tile tile() const { return {args_, 0, from_.rows}; }
  void copy_back() const {
    const int bytes = epi_.out == DType::f32 || epi_.out == DType::s32 ? 4 : 1;
    char* to = static_cast<char*>(from_.g.c) + from_.row * from_.g.c_stride_bytes + column_ * bytes;
    for (int i = 0; i < from_.rows; ++i) std::memcpy(to + i * from_.g.c_stride_bytes, c_[i], size_t(n_ * bytes));
  }

 private:
  static constexpr int kPadded = 16;
  template <class T>
  void pad(const T*& p, T (&copy)[kPadded]) const {
    if (!p) return;
    std::memcpy(copy, p + column_, size_t(n_) * sizeof(T));
    p = copy;
  }

  const Tile& from_;
  const int column_, n_;
  EpilogueArgs epi_;
  BrgemmArgs args_;
  float scale_[kPadded] = {}, bias_f32_[kPadded] = {};
  char residual_[kBlockRows][kPadded * 4] = {}, c_[kBlockRows][kPadded * 4];
};

template <class K, int Groups>
[[gnu::noinline]] void all_blocks(const Tile& tile, const Constants<K>& constants) {
  using Copy = typename K::template Copy<Groups>;
  const BrgemmArgs& g = tile.g;
  const Small8& small8 = constants.small8;
  Copy copy(tile);
  alignas(64) char sums[Groups * K::rows * kColumns * 4];
  const char* b = static_cast<const char*>(g.b);
  const int width = block_columns<K>(), whole = g.n / width, column = whole * width, rest = g.n - column;
  bool resume = false;
  // Panels that are not back to back end a strip with each tap.
  const int64_t total = copy.total(), run = g.b_offsets ? total / g.batch : total;
  for (int64_t left = total; left > 0; resume = true) {
    const int64_t in_run = (left - 1) % run + 1, steps = in_run < Copy::kMost ? in_run : Copy::kMost;
    if (g.b_offsets && in_run == run) b = static_cast<const char*>(g.b) + g.b_offsets[(total - left) / run];
    left -= steps;
    copy.fill(steps);
    Strip strip{copy.data(), b, steps, resume, left == 0, sums, constants.seed, constants.scale};
    if (whole) some_blocks<K, Groups, 4 * K::rows>(tile, small8, strip, 0, width, whole);
    if (K::predicated || rest == width / 2 || rest == width / 4) {
      if (rest) any_block<K, Groups>(tile, small8, strip, column, rest);
    } else if (rest) {
      PaddedColumns padded(tile, column, rest);
      any_block<K, Groups>(padded.tile(), small8, strip, 0, rest);
      if (strip.last) padded.copy_back();
    }
    b += steps * K::step_bytes;
  }
}

template <class K>
OCTAVO_INLINE void prepare(const BrgemmArgs& g, Constants<K>& to) {
  const EpilogueArgs& e = *g.epi;
  const typename K::Acc magic = K::splat(to.small8.use ? kMagicBits : 0);
  for (int v = 0, at = 0; v * K::lanes() < g.n; ++v, at += K::rows) {
    typename K::Acc seed = magic;
    if (e.bias) seed = K::add(seed, K::load(e.bias, v, g.n));
    each<K::rows>([&]<int i>(Int<i>) OCTAVO_LAMBDA {
      K::store(to.seed, at + i, K::template columns<K::rows, i>(seed));
      if (e.scale) K::store(to.scale, at + i, K::template columns<K::rows, i>(K::load(e.scale, v, g.n)));
    });
  }
}

// A tile of `groups` groups, which are Groups or fewer.
template <class K, int Groups = kBlockRows / K::rows>
OCTAVO_INLINE void block_tile(const Tile& tile, const Constants<K>& constants, int groups) {
  if constexpr (Groups > 1) {
    if (groups < Groups) return block_tile<K, Groups - 1>(tile, constants, groups);
  }
  all_blocks<K, Groups>(tile, constants);
}

// Tiles of about the same height: a low one waits for its products.
template <class K>
OCTAVO_INLINE void block_brgemm(const BrgemmArgs& g) {
  Constants<K> constants(g);
  if constexpr (K::integer) prepare<K>(g, constants);
  int groups = (g.m + K::rows - 1) / K::rows;
  for (int row = 0, tiles = (g.m + kBlockRows - 1) / kBlockRows; tiles > 0; --tiles) {
    const int next = (groups + tiles - 1) / tiles, rows = next * K::rows;
    block_tile<K>({g, row, row + rows < g.m ? rows : g.m - row}, constants, next);
    row += rows;
    groups -= next;
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
