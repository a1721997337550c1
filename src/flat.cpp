#include "src/flat.h"

#include <algorithm>

#include "src/plan.h"

namespace octavo::detail {

RowBlocks::RowBlocks(const Weights& w, int64_t m) noexcept {
  // B is read once for each block. While all of it fits L2 that costs little, and A and C may stay in L1; otherwise blocks
  // are as tall as half an L2 allows. Sizes are those of the smaller caches about; they change no result.
  constexpr int64_t kSmallB = 512 << 10, kL1Block = 24 << 10, kL2Block = 256 << 10, kMinTiles = 4;
  const KernelInfo& kernel = *w.kernel;
  const int64_t tile_bytes = kernel.mr * w.k * int64_t(size_of(kernel.a));
  const int64_t block_bytes = w.panel_count() * int64_t(w.tap_bytes()) <= kSmallB ? kL1Block : kL2Block;
  tiles = ceil_div(m, kernel.mr);
  if (tiles == 0) return;
  const int64_t most = std::max(kMinTiles, block_bytes / tile_bytes);
  blocks = ceil_div(tiles, most);
  per_block = ceil_div(tiles, blocks);
  blocks = ceil_div(tiles, per_block);
}

void run_flat(const Weights& w, const RowBlocks& rows, const FlatArgs& f, int64_t begin, int64_t end) noexcept {
  if (begin == end) return;
  const BrgemmFn kernel = w.kernel->brgemm;
  const int64_t panels = w.panel_count(), each = f.m / rows.tiles, extra = f.m % rows.tiles;
  const ptrdiff_t c_bytes = ptrdiff_t(size_of(w.epilogue.args(0).out));
  BrgemmArgs g;
  g.k = w.k;
  g.a_stride_bytes = f.a_stride;
  g.c_stride_bytes = f.c_stride;
  const char* a;
  g.a = reinterpret_cast<const void* const*>(&a);
  int64_t block = begin / panels, p = begin % panels;
  for (int64_t tile = begin; tile < end; ++tile) {
    const Panel& panel = w.panels[size_t(p)];
    EpilogueArgs epi = w.epilogue.args(panel.column);
    epi.residual_stride_bytes = f.residual_stride;
    const ptrdiff_t residual_column = panel.column * ptrdiff_t(size_of(epi.residual_dtype));
    g.b = w.panel(p);
    g.n = panel.n;
    g.epi = &epi;
    const int64_t first = block * rows.per_block, last = std::min(rows.tiles, first + rows.per_block);
    int64_t row = first * each + std::min(first, extra);
    for (int64_t t = first; t < last; ++t) {
      g.m = int32_t(each + (t < extra));
      a = f.a + row * f.a_stride + panel.a_offset;
      g.c = f.c + row * f.c_stride + panel.column * c_bytes;
      if (f.residual) epi.residual = f.residual + row * f.residual_stride + residual_column;
      kernel(&g);
      row += g.m;
    }
    if (++p == panels) p = 0, ++block;
  }
}

}  // namespace octavo::detail
