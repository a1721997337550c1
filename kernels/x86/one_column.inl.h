// int8 brgemm of one column of C that is dense: acc[i] = bias + sum_t sum_p A_t[i][p] * B_t[p]
//
// Vectors of columns would multiply eight or sixteen for one. Here vectors run along K instead; the sums of as many rows as a
// vector has lanes then stand in one, and what are rows to the caller are columns to the epilogue.
#pragma once

#include "kernels/x86/groups.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// Column: K, the vocabulary; takes(g), whether its room is enough; made of the B of a call; seed(), what comes to the bias;
// sums(g, row), those of K::lanes rows or of the last few; vectors of them at a time.
template <class Column>
inline bool is_one_column(const BrgemmArgs& g) {
  const auto dense = [](ptrdiff_t stride, DType t) { return stride == (t == DType::f32 || t == DType::s32 ? 4 : 1); };
  return g.n == 1 && Column::takes(g) && dense(g.c_stride_bytes, g.epi->out) &&
         (!g.epi->residual || dense(g.epi->residual_stride_bytes, g.epi->residual_dtype));
}

template <class Column>
[[gnu::noinline]] void brgemm_column(const BrgemmArgs& g) {
  using K = typename Column::K;
  constexpr int kRows = K::lanes, kVectors = Column::vectors, kBlock = kRows * kVectors;
  const Column b(g);
  const EpilogueArgs& e = *g.epi;
  alignas(64) int32_t bias[kBlock];
  alignas(64) float scale[kBlock], bias_f32[kBlock];
  const int32_t seed = int32_t((e.bias ? uint32_t(*e.bias) : 0u) + b.seed());
  for (int i = 0; i < kBlock; ++i) {
    bias[i] = seed;
    scale[i] = e.scale ? *e.scale : 0;
    bias_f32[i] = e.bias_f32 ? *e.bias_f32 : 0;
  }
  EpilogueArgs epi = e;
  epi.bias = bias;
  if (e.scale) epi.scale = scale;
  if (e.bias_f32) epi.bias_f32 = bias_f32;
  epi.residual_stride_bytes *= kBlock;
  BrgemmArgs out = g;
  out.epi = &epi, out.n = kBlock, out.c_stride_bytes *= kBlock;
  const int groups = g.m / kBlock, done = groups * kBlock;
  if (groups)
    row_groups<K, 1, kVectors>(out, 0, groups, [&](typename K::Acc (&acc)[1][kVectors], int i) OCTAVO_LAMBDA {
      OCTAVO_UNROLL
      for (int v = 0; v < kVectors; ++v) K::keep(acc[0][v] = K::add(acc[0][v], b.sums(g, i * kBlock + v * kRows)));
    });
  for (int row = done, n; row < g.m; row += n) {
    n = g.m - row < kRows ? g.m - row : kRows;
    const ptrdiff_t at = row;
    out.n = n;
    out.c = static_cast<char*>(g.c) + at * g.c_stride_bytes;
    if (e.residual) epi.residual = static_cast<const char*>(e.residual) + at * e.residual_stride_bytes;
    row_groups<K, 1, 1>(out, 0, 1, [&](typename K::Acc (&acc)[1][1], int) OCTAVO_LAMBDA {
      acc[0][0] = K::add(acc[0][0], b.sums(g, at));
    });
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
