// Groups of rows one behind the other, as stream.inl.h has them, where registers do not allow two at a time. The epilogue is made once
// for all.
#pragma once

#include "kernels/brgemm.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// `groups` groups of M rows of a call from a row on. multiply(acc, i) adds the products of group i.
template <class K, int M, int NV, class Multiply>
[[gnu::noinline]] void row_groups(const BrgemmArgs& g, int row, int groups, const Multiply& multiply) {
  const int live = g.n - (NV - 1) * K::lanes;  // columns of the last vector
  const typename K::Part part(live);
  typename K::Acc seeds[NV];
  load_seeds<K>(seeds, g, part, live);
  const auto run = [&]<class Out>(const Out& epilogue) OCTAVO_LAMBDA {
    char* c = static_cast<char*>(g.c) + row * g.c_stride_bytes;
    const char* residual = nullptr;
    if constexpr (Out::residual) residual = static_cast<const char*>(g.epi->residual) + row * g.epi->residual_stride_bytes;
    for (int i = 0; i < groups; ++i) {
      typename K::Acc acc[M][NV];
      OCTAVO_UNROLL
      for (int j = 0; j < M; ++j) {
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) K::keep(acc[j][v] = seeds[v]);
      }
      multiply(acc, i);
      OCTAVO_UNROLL
      for (int j = 0; j < M; ++j) {  // the epilogue's branches each get the sums where they are
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) K::keep(acc[j][v]);
      }
      for_group<K>(epilogue)(acc, c, residual);
      c += M * g.c_stride_bytes;
      if constexpr (Out::residual) residual += M * g.epi->residual_stride_bytes;
    }
  };
  live == K::lanes ? with_epilogue<K, NV, true>(g, part, run) : with_epilogue<K, NV, false>(g, part, run);
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
