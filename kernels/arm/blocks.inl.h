// THE loop of kernels that first copy A: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
//
// A call copies its rows of A, a piece of K at a time, into the order in which the multiplications want them: zero-padded, all
// taps one after the other, as the panel has them too. The loop over steps knows neither taps nor tails. The copy serves all
// columns of a panel, which are kColumns = 64 for that: the loop takes them in blocks of as many as NV registers hold, whatever
// their length is. So the panel is the same for every length. A call has any number of rows, kBlockRows of them at a time, for
// which it prepares the constants of the columns once.
// What comes next is copied beside what is multiplied now, a little at a time (Ahead): a core does not look far enough ahead to
// find a multiplication beside a whole copy.
//
// A kernel is a struct K that inherits a register vocabulary and says how to multiply:
//   integer, rows      whether sums are s32 (or f32); rows of the tile in an accumulator (BlockEpilogue)
//   step_bytes         bytes of the panel that a step takes
//   Copy               kStepBytes of a row that a step takes; the copy of kMost steps has kBytes, steps are kStep apart in it and
//                      pairs of rows kPair; pair(row, next, bytes, copy, pair, at) writes a pair, from step `at` of the copy on
//   multiply<Groups, NV>(acc, strip)
#pragma once

#include <cstring>

#include "kernels/arm/block_epilogue.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kBlockRows = 6, kColumns = 64;

// Rows of a call, so many groups (none: it has no more), and `steps` steps of their K from step `at` on, all taps counted.
struct Piece {
  int row = 0, groups = 0;
  int64_t at = 0, steps = 0;
};

// A piece from a block of columns on. `sums` holds the sums of the pieces before it, if there are any (resume), and takes those
// of this one, unless it is the last. seed, scale: those of the call's constants there.
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

// The pieces of a call in order. Tiles have about the same height: a low one waits for its products.
template <class K>
class Pieces {
 public:
  OCTAVO_INLINE explicit Pieces(const BrgemmArgs& g)
      : g_(g), tap_steps_((g.k * kElementBytes + K::Copy::kStepBytes - 1) / K::Copy::kStepBytes), all_(g.batch * tap_steps_) {}
  OCTAVO_INLINE Piece first() const { return of_rows_from(0); }
  OCTAVO_INLINE Piece after(const Piece& p) const {
    if (last(p)) return of_rows_from(p.row + rows(p));
    return {p.row, p.groups, p.at + p.steps, steps_from(p.at + p.steps)};
  }
  OCTAVO_INLINE bool last(const Piece& p) const { return p.at + p.steps == all_; }
  OCTAVO_INLINE int rows(const Piece& p) const {
    return p.groups * K::rows < g_.m - p.row ? p.groups * K::rows : g_.m - p.row;
  }
  OCTAVO_INLINE ptrdiff_t stride() const { return g_.a_stride_bytes; }
  OCTAVO_INLINE const char* panel(const Piece& p) const {
    const char* b = static_cast<const char*>(g_.b);
    if (!g_.b_offsets) return b + p.at * K::step_bytes;
    return b + g_.b_offsets[tap_of(p.at)] + (p.at - tap_of(p.at) * tap_steps_) * K::step_bytes;
  }
  // What of a piece lies in one tap, from step `step` of the piece on: the first row, and how many bytes of each.
  struct Rows {
    const char* first;
    int64_t bytes, steps;
  };
  OCTAVO_INLINE Rows rows_of_tap(const Piece& p, int64_t step) const {
    const int64_t tap = tap_of(p.at + step), from = p.at + step - tap * tap_steps_, left = tap_steps_ - from, most = p.steps - step;
    const int64_t done = from * K::Copy::kStepBytes;
    const char* first = static_cast<const char*>(g_.a[tap]) + p.row * g_.a_stride_bytes + done;
    if (left > most) return {first, most * K::Copy::kStepBytes, most};
    return {first, g_.k * kElementBytes - done, left};
  }
  // Pairs of rows; to an odd last one belongs itself.
  [[gnu::noinline]] void copy_pairs(const Piece& p, int first, int end, char* copy) const {
    for (int64_t at = 0; at < p.steps;) {
      const Rows tap = rows_of_tap(p, at);
      for (int pair = first; pair < end; ++pair) {
        const char* row = tap.first + 2 * pair * stride();
        K::Copy::pair(row, 2 * pair + 1 < rows(p) ? row + stride() : row, tap.bytes, copy, pair, at);
      }
      at += tap.steps;
    }
  }

 private:
  static constexpr int kElementBytes = K::integer ? 1 : 4;
  OCTAVO_INLINE int64_t tap_of(int64_t at) const { return at ? at / tap_steps_ : 0; }
  OCTAVO_INLINE Piece of_rows_from(int row) const {
    const int rows = g_.m - row, groups = (rows + K::rows - 1) / K::rows, tiles = (rows + kBlockRows - 1) / kBlockRows;
    return {row, tiles ? (groups + tiles - 1) / tiles : 0, 0, steps_from(0)};
  }
  // Panels that are not back to back end a piece with each tap.
  OCTAVO_INLINE int64_t steps_from(int64_t at) const {
    const int64_t steps = g_.b_offsets ? tap_steps_ - (at - tap_of(at) * tap_steps_) : all_ - at;
    return steps < K::Copy::kMost ? steps : K::Copy::kMost;
  }

  const BrgemmArgs& g_;
  const int64_t tap_steps_, all_;
};

// Copies a piece. One of a single tap is copied beside the multiplications of some blocks, kSteps of a pair of rows after as many
// steps of theirs.
template <class K>
class Ahead {
 public:
  static constexpr bool nothing = false;
  OCTAVO_INLINE Ahead(const Pieces<K>& pieces, const Piece& piece, char* copy, int blocks)
      : pieces_(pieces), piece_(piece), copy_(copy), rows_(piece.groups ? pieces.rows(piece) : 0) {
    if (rows_ == 0) return;
    const auto tap = pieces.rows_of_tap(piece, 0);
    row_ = from_ = tap.first;
    bytes_ = left_ = tap.bytes;
    to_ = copy;
    if (tap.steps == piece.steps) share_ = blocks >= 3 ? 1 : blocks == 2 ? 2 : 3;
  }
  // Steps to multiply before the next call.
  OCTAVO_INLINE int64_t steps() const { return share_ ? kSteps : INT64_MAX; }
  OCTAVO_INLINE void operator()() {
    for (int i = 0; i < share_ && done_ < rows_; ++i) {
      const char* next = done_ + 1 < rows_ ? from_ + pieces_.stride() : from_;
      Copy::pair(from_, next, left_ < kBytes ? left_ : kBytes, to_, 0, 0);
      from_ += kBytes;
      to_ += kSteps * Copy::kStep;
      left_ -= kBytes;
      if (left_ > 0) continue;
      done_ += 2;
      from_ = row_ += 2 * pieces_.stride();
      to_ = copy_ + done_ / 2 * Copy::kPair;
      left_ = bytes_;
    }
  }
  OCTAVO_INLINE void rest() {
    if (done_ < rows_) pieces_.copy_pairs(piece_, done_ / 2, (rows_ + 1) / 2, copy_);
  }

 private:
  using Copy = typename K::Copy;
  static constexpr int64_t kBytes = 64, kSteps = kBytes / Copy::kStepBytes;
  const Pieces<K>& pieces_;
  const Piece piece_;
  char* const copy_;
  const int rows_;
  int done_ = 0, share_ = 0;
  const char *row_ = nullptr, *from_ = nullptr;  // rows done_ and done_ + 1: where they start, and what is next of them
  char* to_ = nullptr;
  int64_t bytes_ = 0, left_ = 0;
};
// In its place where nothing is.
struct Nothing {
  static constexpr bool nothing = true;
};

// A block of `columns` columns, which Groups * NV registers hold. `strip` becomes that of the columns behind it. beside: what
// to do after some steps, in general registers alone.
template <class K, int Groups, int NV, class Beside>
OCTAVO_INLINE void block(const Tile& tile, const Small8& small8, Strip& strip, int column, int columns, Beside& beside) {
  using Acc = typename K::Acc;
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

    if constexpr (Beside::nothing) {
      K::template multiply<Groups, NV>(acc, strip);
    } else {
      Strip part = strip;
      const int64_t most = beside.steps();
      for (int64_t left = strip.steps; left > 0; left -= part.steps) {
        part.steps = left < most ? left : most;
        K::template multiply<Groups, NV>(acc, part);
        part.a += part.steps * K::Copy::kStep;
        part.b += part.steps * K::step_bytes;
        beside();
      }
    }

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

// The most columns of a block: eight (of two rows) or four (of one row) registers.
template <class K>
OCTAVO_INLINE int block_columns() {
  return 4 * K::lanes();
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

template <class K, int Groups, int NV>
[[gnu::noinline]] void one_block(const Tile& tile, const Small8& small8, Strip strip, int column, int columns) {
  Nothing nothing;
  block<K, Groups, NV>(tile, small8, strip, column, columns, nothing);
}

// The last columns of a call, n of them, which fill no whole block.
template <class K, int Groups>
OCTAVO_INLINE void some_columns(const Tile& tile, const Small8& small8, const Strip& strip, int column, int n) {
  const int width = block_columns<K>();
  n > width / 2   ? one_block<K, Groups, 4 * K::rows>(tile, small8, strip, column, n)
  : n > width / 4 ? one_block<K, Groups, 2 * K::rows>(tile, small8, strip, column, n)
                  : one_block<K, Groups, K::rows>(tile, small8, strip, column, n);
}
template <class K, int Groups>
[[gnu::noinline]] void last_block(const Tile& tile, const Small8& small8, Strip strip, int column, int n) {
  const int width = block_columns<K>();
  if (K::predicated || n == width / 2 || n == width / 4) return some_columns<K, Groups>(tile, small8, strip, column, n);
  PaddedColumns padded(tile, column, n);
  some_columns<K, Groups>(padded.tile(), small8, strip, 0, n);
  if (strip.last) padded.copy_back();
}

template <class K>
struct Call {
  const BrgemmArgs& g;
  const Constants<K>& constants;
  const Pieces<K> pieces;
  Piece piece;  // the next
  char* copy;   // of it
  char* other;  // of the one after it
  char* sums;
};

// Pieces as long as they have so many groups, in one loop: to enter a function waits for stores.
template <class K, int Groups>
[[gnu::noinline]] void tiles_of(Call<K>& call) {
  const BrgemmArgs& g = call.g;
  const Pieces<K>& pieces = call.pieces;
  const Small8& small8 = call.constants.small8;
  const int n = g.n, width = block_columns<K>();
  char *copy = call.copy, *other = call.other;
  Piece piece = call.piece;
  do {
    const Piece next = pieces.after(piece);
    Ahead<K> ahead(pieces, next, other, (n + width - 1) / width);
    const Tile tile{g, piece.row, pieces.rows(piece)};
    Strip strip{copy, pieces.panel(piece), piece.steps, piece.at > 0, pieces.last(piece),
                call.sums, call.constants.seed, call.constants.scale};
    int column = 0;
    for (; n - column >= width; column += width) block<K, Groups, 4 * K::rows>(tile, small8, strip, column, width, ahead);
    if (column < n) last_block<K, Groups>(tile, small8, strip, column, n - column);
    ahead.rest();
    piece = next;
    char* done = copy;
    copy = other, other = done;
  } while (piece.groups == Groups);
  call.copy = copy, call.other = other;
  call.piece = piece;
}

// Pieces of `groups` groups, which are Groups or fewer.
template <class K, int Groups = kBlockRows / K::rows>
OCTAVO_INLINE void tiles_of_groups(Call<K>& call) {
  if constexpr (Groups > 1) {
    if (call.piece.groups < Groups) return tiles_of_groups<K, Groups - 1>(call);
  }
  tiles_of<K, Groups>(call);
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

template <class K>
OCTAVO_INLINE void block_brgemm(const BrgemmArgs& g) {
  Constants<K> constants(g);
  if constexpr (K::integer) prepare<K>(g, constants);
  alignas(64) char copies[2][K::Copy::kBytes], sums[kBlockRows * kColumns * 4];
  const Pieces<K> pieces(g);
  Call<K> call{g, constants, pieces, pieces.first(), copies[0], copies[1], sums};
  Ahead<K>(pieces, call.piece, call.copy, 1).rest();
  while (call.piece.groups) tiles_of_groups<K>(call);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
