// Convolutions of few channels a group: acc[i][j] = bias[j] + sum_t sum_p A_t[i][(j / group_n) * k + p] * B_t[p][j]
//
// Where a group has as many columns as values (4, 8 or 16), 16 columns take 16 bytes of a row of A, one load: each vector of four
// columns is multiplied by the lanes that its group has there. Other columns (fewer than 16, or of groups of fewer values than
// columns) go four at a time: they are of one group.
//
// What is multiplied is a struct K, as in brgemm.inl.h, with
//   rows, step             rows of A at a time; values of K that a product takes from a lane
//   A, a(p, bytes)         the values of 16 bytes at p or of fewer, followed by zeros
//   dot<Lane>(acc, w, a)   acc plus the products of w, four columns of the panel, with a lane
//   b_bytes                of an element of the panel
#pragma once

#include "kernels/arm/q.inl.h"
#include "kernels/brgemm.inl.h"
#include "kernels/columns.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kPanel = 32, kBlock = 16;

OCTAVO_INLINE uint8x16_t load_up_to_16(const char* p, int bytes) {
  return bytes == 16 ? vld1q_u8(reinterpret_cast<const uint8_t*>(p)) : load_bytes(p, bytes);
}

// 16 columns of groups of N columns and N values.
template <class K, int N>
struct Block {
  static constexpr int vectors = kBlock / Q::lanes;
  template <int M>
  static OCTAVO_INLINE void multiply(int32x4_t (&acc)[M][vectors], const char* a, ptrdiff_t stride, const char* b, int) {
    typename K::A x[M];
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) x[i] = K::a(a + i * stride, kBlock);
    steps<M>(acc, x, b);
  }

 private:
  template <int M, int Step = 0>
  static OCTAVO_INLINE void steps(int32x4_t (&acc)[M][vectors], const typename K::A (&x)[M], const char* b) {
    if constexpr (Step < N / K::step) {
      vector<M, Step>(acc, x, b);
      steps<M, Step + 1>(acc, x, b + kPanel * K::kr * K::b_bytes);
    }
  }
  template <int M, int Step, int V = 0>
  static OCTAVO_INLINE void vector(int32x4_t (&acc)[M][vectors], const typename K::A (&x)[M], const char* b) {
    if constexpr (V < vectors) {
      constexpr int kFirst = V * Q::lanes / N * N / K::step;  // lane of its group's first values
      asm volatile("" : : : "memory");                        // GCC would load all of B first, and spill
      const typename K::B w = K::load_b(b + V * Q::lanes * K::kr * K::b_bytes);
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i) acc[i][V] = K::template dot<kFirst + Step>(acc[i][V], w, x[i]);
      vector<M, Step, V + 1>(acc, x, b);
    }
  }
};

// Four columns of one group.
template <class K>
struct Piece {
  static constexpr int vectors = 1;
  template <int M>
  static OCTAVO_INLINE void multiply(int32x4_t (&acc)[M][vectors], const char* a, ptrdiff_t stride, const char* b, int k) {
    for (; k > 0; k -= kBlock, a += kBlock, b += kBlock * kPanel * K::b_bytes) {
      const int here = k < kBlock ? k : kBlock;
      typename K::A x[M];
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i) x[i] = K::a(a + i * stride, here);
      steps<M>(acc, x, b, here);
    }
  }

 private:
  template <int M, int Step = 0>
  static OCTAVO_INLINE void steps(int32x4_t (&acc)[M][vectors], const typename K::A (&x)[M], const char* b, int k) {
    if constexpr (Step < kBlock / K::step) {
      if (Step * K::step >= k) return;
      const typename K::B w = K::load_b(b);
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i) acc[i][0] = K::template dot<Step>(acc[i][0], w, x[i]);
      steps<M, Step + 1>(acc, x, b + kPanel * K::kr * K::b_bytes, k);
    }
  }
};

// M rows from `row` on, all taps.
template <class K, class Columns, int M>
[[gnu::noinline]] void group_tile(const BrgemmArgs& g, ptrdiff_t a_offset, ptrdiff_t b_offset, int row) {
  constexpr int NV = Columns::vectors;
  const Q::Part part(Q::lanes);
  int32x4_t seeds[NV], acc[M][NV];
  load_seeds<K>(seeds, g, part, Q::lanes);
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) K::keep(acc[i][v] = seeds[v]);
  }
  a_offset += row * g.a_stride_bytes;
  const char* b = static_cast<const char*>(g.b) + b_offset;
  for (int64_t t = 0; t < g.batch;) {
    if (g.b_offsets) b = static_cast<const char*>(g.b) + g.b_offsets[t] + b_offset;
    const int64_t end = g.b_offsets ? t + 1 : g.batch;  // of the taps whose panels are back to back
    do {
      Columns::template multiply<M>(acc, static_cast<const char*>(g.a[t]) + a_offset, g.a_stride_bytes, b, int(g.k));
      b += g.k * kPanel * K::b_bytes;
    } while (++t < end);
  }
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) K::keep(acc[i][v]);  // the epilogue's branches each get the sums where they are
  }
  with_epilogue<K, NV, true>(g, part, [&]<class Out>(const Out& epilogue) OCTAVO_LAMBDA {
    const char* residual = nullptr;
    if constexpr (Out::residual) residual = static_cast<const char*>(g.epi->residual) + row * g.epi->residual_stride_bytes;
    epilogue(acc, static_cast<char*>(g.c) + row * g.c_stride_bytes, residual);
  });
}

// Rows from `row` on, M at a time, what is left over by two and by one.
template <class K, class Columns, int M = K::rows>
OCTAVO_INLINE void all_rows(const BrgemmArgs& g, ptrdiff_t a_offset, ptrdiff_t b_offset, int row = 0) {
  for (; row + M <= g.m; row += M) group_tile<K, Columns, M>(g, a_offset, b_offset, row);
  if constexpr (M > 1) all_rows<K, Columns, (M > 2 ? 2 : 1)>(g, a_offset, b_offset, row);
}

template <class K>
OCTAVO_INLINE void brgemm_grouped(const BrgemmArgs& g) {
  for (int column = 0, n; column < g.n; column += n) {
    const bool block = g.k == g.group_n && g.k <= kBlock && g.n - column >= kBlock;
    n = block ? kBlock : Q::lanes;
    const SomeColumns some(g, column, n);
    const ptrdiff_t a_offset = column / g.group_n * g.k, b_offset = column * K::kr * K::b_bytes;
    !block           ? all_rows<K, Piece<K>>(some.args(), a_offset, b_offset)
    : g.group_n == 4 ? all_rows<K, Block<K, 4>>(some.args(), a_offset, b_offset)
    : g.group_n == 8 ? all_rows<K, Block<K, 8>>(some.args(), a_offset, b_offset)
                     : all_rows<K, Block<K, 16>>(some.args(), a_offset, b_offset);
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
