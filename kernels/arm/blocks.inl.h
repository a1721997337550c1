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
//                      pairs of rows kPair; pair<Beside>(row, next, bytes, copy, pair, at) writes a pair, from step `at` of the
//                      copy on, beside multiplications (Ahead) or alone, the former kAheadBytes at a time
//   multiply<Groups, NV>(acc, a, b, steps)   a and b advance
#pragma once

#include <cstring>

#include "kernels/arm/block_epilogue.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kBlockRows = 6, kColumns = 64;

// Rows of a call, so many groups (none: it has no more), and `steps` steps of their K from step `at` on, all taps counted, which
// have their part of the panel. last: no piece of the same rows is behind it.
struct Piece {
  int row = 0, rows = 0, groups = 0;
  bool last = true;
  int64_t at = 0, steps = 0;
  const char* panel = nullptr;
};

// A piece, copied, from a block of columns on. `sums` holds the sums of the pieces before it, if there are any, and takes those of
// this one, unless it is the last. constant: which of the call's constants is the first there.
struct Strip {
  const Piece& piece;
  const char* a;
  const char* b;
  char* sums;
  int64_t constant;
};

template <class K>
using Constants = CallConstants<K::rows * kColumns>;

// The pieces of a call in order. Tiles have about the same height: a low one waits for its products.
template <class K>
class Pieces {
 public:
  OCTAVO_INLINE explicit Pieces(const BrgemmArgs& g)
      : g_(g), tap_steps_((g.k * kElementBytes + K::Copy::kStepBytes - 1) / K::Copy::kStepBytes), all_(g.batch * tap_steps_) {
    const int groups = (g.m + K::rows - 1) / K::rows, tiles = (g.m + kBlockRows - 1) / kBlockRows;
    low_ = tiles ? groups / tiles : 0;
    low_from_ = (groups - low_ * tiles) * (low_ + 1) * K::rows;
  }
  OCTAVO_INLINE Piece first() const { return of_rows_from(0); }
  OCTAVO_INLINE Piece after(const Piece& p) const {
    return p.last ? of_rows_from(p.row + p.rows) : piece(p.row, p.rows, p.groups, p.at + p.steps);
  }
  OCTAVO_INLINE ptrdiff_t stride() const { return g_.a_stride_bytes; }
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
        K::Copy::template pair<false>(row, 2 * pair + 1 < p.rows ? row + stride() : row, tap.bytes, copy, pair, at);
      }
      at += tap.steps;
    }
  }

 private:
  static constexpr int kElementBytes = K::integer ? 1 : 4;
  OCTAVO_INLINE int64_t tap_of(int64_t at) const { return at ? at / tap_steps_ : 0; }
  OCTAVO_INLINE Piece of_rows_from(int row) const {
    if (row >= g_.m) return {};
    const int groups = row < low_from_ ? low_ + 1 : low_, rows = groups * K::rows, left = g_.m - row;
    return piece(row, rows < left ? rows : left, groups, 0);
  }
  // Panels that are not back to back end a piece with each tap.
  OCTAVO_INLINE Piece piece(int row, int rows, int groups, int64_t at) const {
    const char* panel = static_cast<const char*>(g_.b) + at * K::step_bytes;
    int64_t steps = all_ - at;
    if (g_.b_offsets) {
      const int64_t tap = tap_of(at), done = at - tap * tap_steps_;
      panel = static_cast<const char*>(g_.b) + g_.b_offsets[tap] + done * K::step_bytes;
      steps = tap_steps_ - done;
    }
    if (steps > K::Copy::kMost) steps = K::Copy::kMost;
    return {row, rows, groups, at + steps == all_, at, steps, panel};
  }

  const BrgemmArgs& g_;
  const int64_t tap_steps_, all_;
  int low_, low_from_;  // groups of a low tile, and the first row of those: tiles before it have one more
};

// Finds the piece behind another, and copies it: one of a single tap beside the multiplications of some blocks, kBytes of a pair of
// rows for as many steps of theirs.
template <class K>
class Ahead {
 public:
  static constexpr bool nothing = false;
  OCTAVO_INLINE Ahead(const Pieces<K>& pieces, const Piece& piece, Piece& next, char* copy, int blocks)
      : pieces_(pieces), piece_(piece), next_(next), copy_(copy), blocks_(blocks) {}
  // Steps to multiply before the next call; before the first of a block half of them, so that there are others on both sides.
  OCTAVO_INLINE int64_t steps() const { return share_ ? kSteps : INT64_MAX; }
  OCTAVO_INLINE int64_t first_steps() const { return share_ ? kSteps / 2 : INT64_MAX; }
  OCTAVO_INLINE void operator()() {
    if (share_ < 0) {
      find();
      if (share_ < 2) return;
    }
    const char* from = from_;  // stores of bytes might change members
    char* to = to_;
    int64_t left = left_;
    for (int i = share_; i > 0; --i) {
      const char* next = from + apart_;
      if (left >= kBytes) {
        Copy::template pair<true>(from, next, kBytes, to, 0, 0);
      } else {
        Copy::template pair<true>(from, next, left, to, 0, 0);
      }
      from += kBytes;
      to += kSteps * Copy::kStep;
      left -= kBytes;
      asm("" : "+r"(from));  // GCC would add to `from` and `to` in a vector
      if (left > 0) continue;
      if (++pair_ == pairs_) {
        share_ = 0;
        return;
      }
      from = row_ += 2 * pieces_.stride();
      apart_ = apart();
      to = copy_ + pair_ * Copy::kPair;
      left = bytes_;
    }
    from_ = from;
    to_ = to;
    left_ = left;
  }
  // All that is left.
  OCTAVO_INLINE void rest() {
    if (share_ < 0) find();
    if (pair_ < pairs_) pieces_.copy_pairs(next_, pair_, pairs_, copy_);
  }

 private:
  using Copy = typename K::Copy;
  static constexpr int64_t kBytes = Copy::kAheadBytes, kSteps = kBytes / Copy::kStepBytes;
  OCTAVO_INLINE void find() {
    next_ = pieces_.after(piece_);
    share_ = 0;
    pairs_ = (next_.rows + 1) / 2;
    if (pairs_ == 0) return;
    const auto tap = pieces_.rows_of_tap(next_, 0);
    if (tap.steps != next_.steps) return;
    share_ = blocks_ >= 4 ? 1 : blocks_ >= 2 ? 2 : 3;
    row_ = from_ = tap.first;
    bytes_ = left_ = tap.bytes;
    apart_ = apart();
    to_ = copy_;
  }
  OCTAVO_INLINE ptrdiff_t apart() const { return 2 * pair_ + 1 < next_.rows ? pieces_.stride() : 0; }

  const Pieces<K>& pieces_;
  const Piece& piece_;
  Piece& next_;
  char* const copy_;
  const int blocks_;
  int share_ = -1;  // how much of kBytes at a time; -1: the piece is not yet found; 0: nothing is left to do beside
  int pair_ = 0, pairs_ = 0;
  const char* from_;  // what is next of the first row of pair_, `left_` bytes, of the second so far behind it, and of the copy
  ptrdiff_t apart_;
  char* to_;
  int64_t left_, bytes_;
  const char* row_;
};
// In its place where nothing is.
struct Nothing {
  static constexpr bool nothing = true;
};

// A block of `columns` columns, which Groups * NV registers hold. `strip` becomes that of the columns behind it. beside: what
// to do after some steps, in general registers alone.
template <class K, int Groups, int NV, class Beside>
OCTAVO_INLINE void block(const Tile& tile, const Constants<K>& constants, Strip& strip, int column, int columns, Beside& beside) {
  using Acc = typename K::Acc;
  with_registers<Acc, Groups * NV>(K::zero(), [&](const Registers<Acc, Groups * NV>& acc) OCTAVO_LAMBDA {
    auto* sums = reinterpret_cast<typename K::Element*>(strip.sums);
    const int n = K::predicated ? columns : NV * K::lanes() / K::rows;
    if (strip.piece.at > 0) {
      each<Groups * NV>([&]<int i>(Int<i>) OCTAVO_LAMBDA { set<i>(acc, K::load(sums, i)); });
    } else if constexpr (K::integer) {
      each<Groups>([&]<int i>(Int<i>) OCTAVO_LAMBDA {
        asm volatile("" : : : "memory");  // loaded again for each group: moves take the pipes that multiply
        const int32_t* seed = constants.seed + strip.constant;
        each<NV / 2>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
          set<i * NV + 2 * v>(acc, K::load(seed, 2 * v), K::load(seed, 2 * v + 1));
        });
        if constexpr (NV % 2) set<i * NV + NV - 1>(acc, K::load(seed, NV - 1));
      });
    }

    const char* a = strip.a;
    const char* b = strip.b;
    if constexpr (Beside::nothing) {
      K::template multiply<Groups, NV>(acc, a, b, strip.piece.steps);
    } else {
      int64_t left = strip.piece.steps, most = beside.first_steps();
      do {
        const int64_t steps = left < most ? left : most;
        K::template multiply<Groups, NV>(acc, a, b, steps);
        left -= steps;
        if (left > 0 || steps == strip.piece.steps) beside();
        most = beside.steps();
      } while (left > 0);
    }

    if (!strip.piece.last) {
      each<Groups * NV>([&]<int i>(Int<i>) OCTAVO_LAMBDA { K::store(sums, i, get<i>(acc)); });
    } else {
      BlockEpilogue<K, Groups, NV, K::rows>(tile, column, n, constants.scale + strip.constant, constants.small8)(acc);
    }
  });
  strip.b += NV * K::lanes() / K::rows * (K::step_bytes / kColumns);
  strip.sums += Groups * NV * K::lanes() * 4;
  strip.constant += NV * K::lanes();
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
[[gnu::noinline]] void one_block(const Tile& tile, const Constants<K>& constants, Strip strip, int column, int columns) {
  Nothing nothing;
  block<K, Groups, NV>(tile, constants, strip, column, columns, nothing);
}

// The last columns of a call, n of them, which fill no whole block.
template <class K, int Groups>
OCTAVO_INLINE void some_columns(const Tile& tile, const Constants<K>& constants, const Strip& strip, int column, int n) {
  const int width = block_columns<K>();
  n > width / 2   ? one_block<K, Groups, 4 * K::rows>(tile, constants, strip, column, n)
  : n > width / 4 ? one_block<K, Groups, 2 * K::rows>(tile, constants, strip, column, n)
                  : one_block<K, Groups, K::rows>(tile, constants, strip, column, n);
}
template <class K, int Groups>
[[gnu::noinline]] void last_block(const Tile& tile, const Constants<K>& constants, Strip strip, int column, int n) {
  const int width = block_columns<K>();
  if (K::predicated || n == width / 2 || n == width / 4) return some_columns<K, Groups>(tile, constants, strip, column, n);
  PaddedColumns padded(tile, column, n);
  some_columns<K, Groups>(padded.tile(), constants, strip, 0, n);
  if (strip.piece.last) padded.copy_back();
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
  asm volatile("" : : : "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15");  // saved here, not for each piece
  const BrgemmArgs& g = call.g;
  const Pieces<K>& pieces = call.pieces;
  const Constants<K>& constants = call.constants;
  const int n = g.n, width = block_columns<K>();
  char *copy = call.copy, *other = call.other;
  Piece two[2] = {call.piece}, *piece = two, *next = two + 1;
  do {
    Ahead<K> ahead(pieces, *piece, *next, other, n / width);
    const Tile tile{g, piece->row, piece->rows};
    Strip strip{*piece, copy, piece->panel, call.sums, 0};
    int column = 0;
    for (; n - column >= width; column += width) block<K, Groups, 4 * K::rows>(tile, constants, strip, column, width, ahead);
    if (column < n) last_block<K, Groups>(tile, constants, strip, column, n - column);
    ahead.rest();
    Piece* done = piece;
    piece = next, next = done;
    char* multiplied = copy;
    copy = other, other = multiplied;
  } while (piece->groups == Groups);
  call.copy = copy, call.other = other;
  call.piece = *piece;
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
  const int32_t* const bias = g.epi->bias;
  const float* const scale = g.epi->scale;
  const int n = g.n;
  const typename K::Acc magic = K::splat(to.small8.use ? kMagicBits : 0);
  for (int v = 0, at = 0; v * K::lanes() < n; ++v, at += K::rows) {
    const typename K::Acc seed = bias ? K::add(magic, K::load(bias, v, n)) : magic;
    each<K::rows>([&]<int i>(Int<i>) OCTAVO_LAMBDA {
      K::store(to.seed, at + i, K::template columns<K::rows, i>(seed));
      if (scale) K::store(to.scale, at + i, K::template columns<K::rows, i>(K::load(scale, v, n)));
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
  pieces.copy_pairs(call.piece, 0, (call.piece.rows + 1) / 2, call.copy);
  while (call.piece.groups) tiles_of_groups<K>(call);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
