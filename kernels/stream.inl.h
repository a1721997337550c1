// The loop for short sums, where registers allow: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j] in groups of a few rows.
// The epilogue of a group stands behind the products of the next one, which do not wait for it: short sums spend as long in the
// epilogue as in products, and a core looks ahead only so far. The constants of the epilogue are loaded once for a call.
#pragma once

#include "kernels/brgemm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// `groups` groups of M rows from a row on. multiply(acc, g, a_offset): as multiply_taps(). The epilogue is for_group<K>().
template <class K, int M, int NV, class Multiply>
[[gnu::noinline]] void stream(const BrgemmArgs& g, int row, int groups, const Multiply& multiply) {
  using Acc = typename K::Acc;
  const int live = g.n - (NV - 1) * K::lanes;  // columns of the last vector
  const typename K::Part part(live);
  Acc seeds[NV];
  load_seeds<K>(seeds, g, part, live);
  const auto run = [&]<class Out>(const Out& epilogue) OCTAVO_LAMBDA {
    Acc done[M][NV];
    ptrdiff_t a_offset = row * g.a_stride_bytes;
    const auto next = [&](Acc (&acc)[1][M][NV]) OCTAVO_LAMBDA {
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i) {
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) acc[0][i][v] = seeds[v];
      }
      multiply(acc, g, a_offset);
      a_offset += M * g.a_stride_bytes;
    };
    const auto keep = [&](const Acc (&acc)[1][M][NV]) OCTAVO_LAMBDA {
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i) {
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) {
          done[i][v] = acc[0][i][v];
          K::keep(done[i][v]);
        }
      }
    };
    char* c = static_cast<char*>(g.c) + row * g.c_stride_bytes;
    const char* residual = nullptr;
    if constexpr (Out::residual) residual = static_cast<const char*>(g.epi->residual) + row * g.epi->residual_stride_bytes;
    const auto finish = [&]() OCTAVO_LAMBDA {
      for_group<K>(epilogue)(done, c, residual);
    };
    {
      Acc acc[1][M][NV];
      next(acc);
      keep(acc);
    }
    for (int left = groups - 1; left > 0; --left) {
      Acc acc[1][M][NV];
      next(acc);
      finish();
      c += M * g.c_stride_bytes;
      if constexpr (Out::residual) residual += M * g.epi->residual_stride_bytes;
      keep(acc);
    }
    finish();
  };
  live == K::lanes ? with_epilogue<K, NV, true>(g, part, run) : with_epilogue<K, NV, false>(g, part, run);
}

// A tile of `rows` <= M rows.
template <class K, int M, int NV>
OCTAVO_INLINE void tile_of(const BrgemmArgs& g, int row, int rows) {
  if constexpr (M > 1) {
    if (rows < M) return tile_of<K, M - 1, NV>(g, row, rows);
  }
  tile<K, M, NV>(g, row);
}

// No more columns of the last vector are there than half a register holds: its products take half as long on cores that multiply as
// many bits a cycle in registers of either size.
template <class K>
struct HalfLast : K {
  using Acc = typename K::Acc;
  using B = typename K::B;
  static OCTAVO_INLINE Acc dot_last(Acc acc, B a, B b) { return K::dot_half(acc, a, b); }
};

// Groups of M rows, by S, and the rows that are left over as one tile, or as two where one would be too low to hide a latency.
template <class K, int M, int NV, class S = K>
OCTAVO_INLINE void stream_rows(const BrgemmArgs& g) {
  int rest = g.m % M, groups = g.m / M;
  if (groups && rest && rest * NV * 2 < M) --groups, rest += M;
  const auto multiply = [](typename K::Acc (&acc)[1][M][NV], const BrgemmArgs& args, ptrdiff_t a_offset) OCTAVO_LAMBDA {
    multiply_taps<S, M, NV, 1>(acc, args, a_offset);
  };
  if (groups) stream<K, M, NV>(g, 0, groups, multiply);
  int row = groups * M;
  if (rest > M) {
    tile_of<K, M, NV>(g, row, rest / 2);
    row += rest / 2;
    rest -= rest / 2;
  }
  if (rest) tile_of<K, M, NV>(g, row, rest);
}

// Any number of rows. M: rows in a group of two vectors; a group of one has twice as many. H: K, with values of A in lower halves
// only.
template <class K, int M, class H>
OCTAVO_INLINE void brgemm_stream(const BrgemmArgs& g) {
  static_assert(K::nv == 2);
  const bool two = g.n > K::lanes, half = (two ? g.n - K::lanes : g.n) <= K::lanes / 2;
  if (half) {
    two ? stream_rows<K, M, 2, HalfLast<K>>(g) : stream_rows<K, 2 * M, 1, HalfLast<H>>(g);
  } else {
    two ? stream_rows<K, M, 2>(g) : stream_rows<K, 2 * M, 1>(g);
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
