// K of brgemm.inl.h without a dot product: SMULL gives 16-bit products of bytes, SADALP adds pairs of them into s32. Lanes are K,
// not columns: an accumulator for each row and column, whose lanes are summed at the end.
//
// The order of instructions is fixed here, for cores that work in order (Cortex-A53, A55). Rows of A stay in registers for all four
// columns of a step, and while its last products are made those of the next step take their places, so that nothing waits for a
// load, and bytes are flipped all at once.
#pragma once

#include "kernels/arm/q.inl.h"
#include "kernels/brgemm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// Flip: u8 as s8: xor 0x80 takes 128 from each value (PackFormat::a_offset). Behind the end of a row too, where B is zero.
template <int MR, bool Flip>
struct Widening : Q {
  struct Acc {
    int32x4_t column[4];
  };
  template <int M>
  using Rows = PointerRows<M>;
  static constexpr int mr = MR, nv = 1, kr = 16, vector_bytes = 64, a_bytes = 1;
  static constexpr int64_t k_block = INT64_MAX;
  static constexpr int splits(int) { return 1; }

  static OCTAVO_INLINE Acc zero() {
    const int32x4_t z = splat(0);
    return {{z, z, z, z}};
  }
  static OCTAVO_INLINE I finish(const Acc& acc) {
    return vpaddq_s32(vpaddq_s32(acc.column[0], acc.column[1]), vpaddq_s32(acc.column[2], acc.column[3]));
  }

  // k values of one tap.
  template <int M>
  static OCTAVO_INLINE void multiply(Acc (&acc)[M][1], PointerRows<M>& rows, const char* b, int64_t k) {
    Operands<M> o;
    const int64_t steps = k / kr;
    if (steps > 0) {
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i) o.x[i] = load16(rows[i], 0);
      o.load_first(b);
      // Counted from the last step on: 0 ends the loop without a comparison.
      ptrdiff_t at = (1 - ptrdiff_t(steps)) * kr;
      rows.advance(-at);
      while (at) step<M, true>(acc, o, b, rows, at);
      step<M, false>(acc, o, b, rows, at);
      rows.advance(kr);
    }
    const int rest = int(k % kr);
    if (!rest) return;
    const RowEnds<M> ends(rows, rest);
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) o.x[i] = vreinterpretq_s8_u8(ends[i]);
    o.load_first(b);
    ptrdiff_t at = 0;
    step<M, false>(acc, o, b, rows, at);
  }

 private:
  template <class X>
  static OCTAVO_INLINE void now(X& x) {
    asm volatile("" : "+w"(x));
  }
  static OCTAVO_INLINE int8x16_t load16(const char* p, ptrdiff_t offset) {
    int8x16_t x = vld1q_s8(reinterpret_cast<const int8_t*>(p + offset));
    now(x);
    return x;
  }
  template <class X>
  static OCTAVO_INLINE void advance(X& x, ptrdiff_t bytes) {
    x += bytes;
    asm volatile("" : "+r"(x));
  }

  // What is multiplied next: rows of A, and as many columns as give four products between which none waits for another. Where the
  // columns after them lie is in registers: llvm-mca's Cortex-A55 lets loads with constant offsets wait.
  template <int M>
  struct Operands {
    static constexpr int columns = M >= 4 ? 1 : M > 1 ? 2 : 4;
    int8x16_t x[M], w[columns], signs;
    ptrdiff_t next[4];
    OCTAVO_INLINE Operands() {
      if constexpr (Flip) signs = vdupq_n_s8(-128);
#if !defined(__clang__)
      if constexpr (Flip) now(signs);  // GCC would move accumulators to make it again
#endif
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) {
        next[j] = 16 * (columns + j);
        asm("" : "+r"(next[j]));
      }
    }
    OCTAVO_INLINE void load_first(const char* b) {
      OCTAVO_UNROLL
      for (int j = 0; j < columns; ++j) w[j] = load16(b, 16 * j);
    }
  };

  // A step, with the panel at b. More: the operands become those of the next step, rows[i] + at of A.
  template <int M, bool More>
  static OCTAVO_INLINE void step(Acc (&acc)[M][1], Operands<M>& o, const char*& b, const PointerRows<M>& rows,
                                 ptrdiff_t& at) {
    constexpr int C = Operands<M>::columns;
    if constexpr (Flip) {
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i) now(o.x[i] = veorq_s8(o.x[i], o.signs));
    }
    if (More) advance(at, kr);
    OCTAVO_UNROLL
    for (int column = 0; column < 4; column += C) {
      const bool last = column + C == 4;
      const auto nothing = [](int) {};
      add_products<M, C, false>(acc, o, column, nothing, nothing);
      // What was multiplied for the last time makes room.
      add_products<M, C, true>(
          acc, o, column,
          [&](int n) OCTAVO_LAMBDA {
            if ((More || !last) && n % M == M - 1) o.w[n / M] = load16(b, o.next[column + n / M]);
          },
          [&](int n) OCTAVO_LAMBDA {
            if (More && last && n / M == C - 1) o.x[n % M] = load16(rows[n % M], at);
          });
    }
    advance(b, vector_bytes);
  }

  // Products of the low or the high halves, four at a time, and behind them their sums. multiplied(n), added(n): what follows
  // product n, of row n % M, and its sum.
  template <int M, int C, bool High, class Multiplied, class Added>
  static OCTAVO_INLINE void add_products(Acc (&acc)[M][1], const Operands<M>& o, int column, const Multiplied& multiplied,
                                         const Added& added) {
    constexpr int kAll = M * C, kAhead = kAll < 4 ? kAll : 4;
    int16x8_t p[kAhead];
    const auto multiply = [&](int n) OCTAVO_LAMBDA {
      const int8x16_t a = o.x[n % M], b = o.w[n / M];
      int16x8_t& product = p[n % kAhead];
      product = High ? vmull_high_s8(a, b) : vmull_s8(vget_low_s8(a), vget_low_s8(b));
      asm volatile("" : : "w"(product), "w"(a), "w"(b));  // GCC would take a register of these, and copy out of it
      multiplied(n);
    };
    OCTAVO_UNROLL
    for (int n = 0; n < kAhead; ++n) multiply(n);
    OCTAVO_UNROLL
    for (int n = 0; n < kAll; ++n) {
      int32x4_t& sum = acc[n % M][0].column[column + n / M];
      now(sum = vpadalq_s16(sum, p[n % kAhead]));
      added(n);
      if (n + kAhead < kAll) multiply(n + kAhead);
    }
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
