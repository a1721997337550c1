// The inside of ConvPlan: what create() decides, packs (conv_pack.cpp) and runs (conv_run.cpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "octavo/conv.h"
#include "src/flat.h"
#include "src/pack_winograd.h"
#include "src/plan.h"
#include "src/window.h"

namespace octavo {

namespace detail {

// The kernel taps of a variant. Those of one that sees nothing but padding are one tap on pixels of fill.
struct Taps {
  TapRange rows, cols;
  bool none() const { return rows.begin == rows.end || cols.begin == cols.end; }
};

// The input under a region of output pixels: the pixel under kernel tap (0, 0) of its first one is `origin` bytes from data, and
// need not be in the image. Strides in bytes, of kernel rows, input rows and pixels.
struct Source {
  const char* data;
  ptrdiff_t origin, tap_row, row, pixel;
};

}  // namespace detail

struct ConvPlan::Impl {
  ConvDesc d;  // without its pointers
  Window w;
  int64_t oh = 0, ow = 0, macs = 0;
  detail::PixelTypes types;
  int fill = 0;  // the byte that padding is made of
  detail::Weights weights;
  detail::ConvAlgorithm algorithm;
  detail::ConvBlocks blocks;
  detail::TileRuns tile_runs;  // algorithm.winograd
  std::vector<int32_t> row_variants;  // [oh]: the first variant of each output row, one for each of algorithm.columns; empty: 0
  std::vector<detail::Taps> variants;
  size_t row_variant(int64_t y) const noexcept { return row_variants.empty() ? 0 : size_t(row_variants[size_t(y)]); }
  std::vector<detail::WinogradPiece> pieces;  // algorithm.winograd
  std::vector<ptrdiff_t> b_offsets;           // where columns are cut: of the taps of each of algorithm.columns, kh * kw apart

  bool cut() const noexcept { return algorithm.columns.size() > 1 || algorithm.columns[0].taps != detail::TapRange{0, w.kw}; }
  bool sees_nothing() const noexcept {
    return !algorithm.copy && std::any_of(variants.begin(), variants.end(), [](const detail::Taps& t) { return t.none(); });
  }
  int64_t pixel_bytes() const noexcept { return types.in * int64_t(size_of(types.a)); }

  // The workspace: what a call leaves for a function; a pointer for each tap (kh * kw of them if pixels turn out not to be
  // dense); what a winograd kernel needs; then the copy and room for the last tap's k rounded up to kr, or what a tap on padding
  // reads.
  size_t pointer_bytes() const noexcept {
    const size_t taps = algorithm.winograd ? pieces.size() : size_t(algorithm.copy ? weights.taps : w.kh * w.kw);
    return algorithm.flat ? 0 : detail::align_up(taps * sizeof(void*));
  }
  size_t fill_bytes() const noexcept { return sees_nothing() ? size_t(std::max(pixel_bytes(), weights.k)) : 0; }
  WinogradSpace winograd_space(int64_t tiles, int64_t across) const noexcept {
    return WinogradSpace(weights.kernel->format, int64_t(pieces.size()), weights.k, tiles, across);
  }
  // The input that so many rows and columns of tiles see.
  detail::Region winograd_input(int64_t rows, int64_t cols) const noexcept;
  // A function follows a call, which is a whole run here.
  size_t scratch_bytes() const noexcept {
    if (!algorithm.winograd) return weights.scratch_bytes();
    return weights.epilogue.function().scratch_bytes(16 * tile_runs.rows * tile_runs.cols * types.out);
  }
  size_t workspace_bytes() const noexcept;

  // conv_pack.cpp
  void make_panels(const ConvDesc& d);
  detail::PackedShape packed_shape(const ConvDesc& d) const noexcept;
  void pack(const ConvDesc& d);
  void make_variants();
  detail::Buffer<int32_t> variant_sums() const;

  int64_t tiles(int64_t batch) const noexcept {
    if (batch < 1) return 0;
    if (algorithm.flat) return detail::flat_blocks(weights, batch * oh * ow).blocks * weights.panel_count();
    if (algorithm.winograd)
      return batch * tile_runs.phases_y * tile_runs.phases_x * tile_runs.lines * tile_runs.runs * weights.panel_count();
    return batch * blocks.bands * blocks.segments * weights.panel_count();
  }
  // conv_run.cpp
  void run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept;
  // always_inline: a call between these and run() costs small layers half a per cent.
  [[gnu::always_inline]] inline detail::Source copy(const char* image, ptrdiff_t pixel_stride, const detail::Region& out,
                                                    char* to) const noexcept;
  [[gnu::always_inline]] inline void run_panels(const ConvArgs& v, int64_t image, const detail::Region& out, int64_t begin,
                                                int64_t end, const detail::Source& in, const char** taps,
                                                float* scratch) const noexcept;
  // conv_winograd.cpp: panels of a run of tiles
  void run_winograd(const ConvArgs& v, int64_t run, int64_t begin, int64_t end, const char** taps, char* space,
                    float* scratch) const noexcept;
  void run_tiles(const ConvArgs& v, int64_t image, const detail::Region& out, int64_t begin, int64_t end, WinogradArgs& g,
                 float* scratch) const noexcept;
};

}  // namespace octavo
