#include "src/flat.h"

#include <algorithm>

#include "src/plan.h"

namespace octavo::detail {

RowBlocks::RowBlocks(const Weights& w, int64_t m) noexcept {
  // B is read once for each block. While all of it fits L2 that costs little, and A and C may stay in L1; otherwise blocks
  // take a part of L2. Sizes are those of the smaller caches about; they change no result.
  constexpr int64_t kSmallB = 512 << 10, kL1Block = 24 << 10, kL2Block = 128 << 10, kMinTiles = 4;
  const KernelInfo& kernel = *w.kernel;
  const int64_t tile_bytes = kernel.mr * w.k * int64_t(size_of(kernel.a));
  const int64_t block_bytes = w.panel_count() * int64_t(w.tap_bytes()) <= kSmallB ? kL1Block : kL2Block;
  if (m < 1) return;
  const int64_t tiles = ceil_div(m, kernel.mr), most = std::max(kMinTiles, block_bytes / tile_bytes);
  blocks = ceil_div(tiles, most);
  rows = std::min(m, ceil_div(tiles, blocks) * ceil_div(m, tiles));
  blocks = ceil_div(m, rows);
}

// A row tile passes over a few neighbouring panels, which stay in L2, before the next one does: rows of C are written in longer
// runs, which costs fewer page translations.
constexpr int64_t kMaxGroup = 8, kGroupBytes = 256 << 10;

void run_flat(const Weights& w, const RowBlocks& rows, const FlatArgs& f, int64_t begin, int64_t end) noexcept {
  if (begin == end) return;
  const BrgemmFn kernel = w.kernel->brgemm;
  const int64_t panels = w.panel_count(), most = tile_rows(*w.kernel, f.a_stride);
  const ptrdiff_t c_bytes = ptrdiff_t(size_of(w.epilogue.out())), r_bytes = ptrdiff_t(size_of(w.epilogue.args(0).residual_dtype));
  BrgemmArgs g;
  g.k = w.k;
  g.a_stride_bytes = f.a_stride;
  g.c_stride_bytes = f.c_stride;
  const char* a;
  g.a = reinterpret_cast<const void* const*>(&a);
  EpilogueArgs epilogues[kMaxGroup];
  const int64_t group = std::clamp<int64_t>(kGroupBytes / int64_t(w.tap_bytes()), 1, kMaxGroup);
  for (int64_t tile = begin, next; tile < end; tile = next) {
    const int64_t block = tile / panels, p_begin = tile % panels,
                  p_end = std::min({panels, p_begin + group, p_begin + end - tile});
    next = tile + p_end - p_begin;
    for (int64_t p = p_begin; p < p_end; ++p) {
      epilogues[p - p_begin] = w.epilogue.args(w.panels[size_t(p)].column);
      epilogues[p - p_begin].residual_stride_bytes = f.residual_stride;
    }
    int64_t row = block * rows.rows;
    const int64_t count = std::min(rows.rows, f.m - row), tiles = ceil_div(count, most), each = count / tiles,
                  extra = count % tiles;
    for (int64_t t = 0; t < tiles; ++t) {
      g.m = int32_t(each + (t < extra));
      for (int64_t p = p_begin; p < p_end; ++p) {
        const Panel& panel = w.panels[size_t(p)];
        EpilogueArgs& epi = epilogues[p - p_begin];
        a = f.a + row * f.a_stride + panel.a_offset;
        g.b = w.panel(p);
        g.n = panel.n;
        g.c = f.c + row * f.c_stride + panel.column * c_bytes;
        if (f.residual) epi.residual = f.residual + row * f.residual_stride + panel.column * r_bytes;
        g.epi = &epi;
        kernel(&g);
      }
      row += g.m;
    }
  }
}

}  // namespace octavo::detail
