#include "src/policy.h"

#include <algorithm>

#include "octavo/registry.h"
#include "src/flat.h"
#include "src/plan.h"

namespace octavo::detail {

const KernelInfo* short_sum_kernel(const KernelInfo& kernel) noexcept {
  if (kernel.group > 0) return nullptr;
  for (const KernelInfo& k : kernels())
    if (k.group > 0 && k.op == kernel.op && k.a == kernel.a && k.needs == kernel.needs && k.format == kernel.format) return &k;
  return nullptr;
}

namespace {

// Short sums: their panel stays in L1 beside A and C, since a kernel in groups reads it once for every few rows. Fewer rows than a
// few groups are better off in one tile, or in two of equal height.
constexpr int64_t kShortPanel = 12 << 10, kGroups = 4;
bool short_sums(const Weights& w) { return w.short_sums && w.taps * int64_t(w.tap_bytes()) <= kShortPanel; }

}  // namespace

const KernelInfo& call_kernel(const Weights& w, int64_t rows) noexcept {
  return short_sums(w) && rows >= kGroups * w.short_sums->group ? *w.short_sums : *w.kernel;
}

std::string describe_short_sums(const Weights& w) {
  if (!short_sums(w)) return "";
  return " (short sums: " + std::to_string(kGroups * w.short_sums->group) + " neighbouring rows or more by " + w.short_sums->name +
         ")";
}

// Rows of A a multiple of 4 KiB apart compete for the same few lines of L1 (64 sets of 64 bytes, 8 ways or more): taller tiles than
// that evict their own rows. A call in groups leaves its rows of A and C in L1 for the next panel.
int64_t call_rows(const KernelInfo& kernel, int64_t k_bytes, ptrdiff_t a_stride, int64_t c_bytes) noexcept {
  constexpr int64_t kWays = 7, kL1Part = 24 << 10;  // of eight ways, one is left to B
  if (kernel.group > 0)
    return std::clamp<int64_t>(kL1Part / (k_bytes + c_bytes) / kernel.group, 2, kernel.mr / kernel.group) * kernel.group;
  return a_stride % 4096 == 0 && kernel.mr > kWays ? std::max<int64_t>(kWays, kernel.mr / 2) : kernel.mr;
}

// Calls in groups are as large as they may be, so that most are whole groups; tiles are all of about the same height.
int64_t next_call(const KernelInfo& kernel, int64_t most, int64_t rows) noexcept {
  return kernel.group > 0 ? std::min(most, rows) : ceil_div(rows, ceil_div(rows, most));
}

// B is read once for each block. While all of it fits L2 that costs little, and A and C may stay in L1; otherwise blocks take a
// part of L2. A row tile passes over a few neighbouring panels, which stay in L2, before the next one does: rows of C are written
// in longer runs, which costs fewer page translations.
FlatBlocks flat_blocks(const Weights& w, int64_t m) noexcept {
  constexpr int64_t kSmallB = 512 << 10, kL1Block = 24 << 10, kL2Block = 128 << 10, kMinTiles = 4, kGroupBytes = 256 << 10;
  FlatBlocks f;
  if (m < 1) return f;
  f.kernel = &call_kernel(w, m);
  f.group = std::clamp<int64_t>(kGroupBytes / int64_t(w.tap_bytes()), 1, kMaxGroup);
  const int64_t unit = f.kernel->group > 0 ? f.kernel->group : f.kernel->mr;
  const int64_t tile_bytes = unit * w.k * int64_t(size_of(f.kernel->a));
  const int64_t block_bytes = w.panel_count() * int64_t(w.tap_bytes()) <= kSmallB ? kL1Block : kL2Block;
  const int64_t tiles = ceil_div(m, unit), most = std::max(kMinTiles, block_bytes / tile_bytes);
  f.blocks = ceil_div(tiles, most);
  f.rows = std::min(m, ceil_div(tiles, f.blocks) * (f.kernel->group > 0 ? unit : ceil_div(m, tiles)));
  f.blocks = ceil_div(m, f.rows);
  return f;
}

// The columns of a vector take the values of several groups: those of a group must divide it, and be whole words.
const KernelInfo* grouped_kernel(const ConvDesc& d, const KernelInfo& kernel) noexcept {
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups;
  if (d.groups == 1) return nullptr;
  for (const KernelInfo& k : kernels())
    if (k.op == Op::grouped && k.a == kernel.a && k.needs == kernel.needs && ocg > 1 && ocg < k.nr && k.nr % ocg == 0 &&
        icg % k.kr == 0 && icg <= ocg)
      return &k;
  return nullptr;
}

ConvAlgorithm conv_algorithm(const ConvDesc& d, const KernelInfo& kernel) noexcept {
  const PackFormat& format = kernel.format;
  const Window& w = d.window;
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups;
  const bool padded = w.pad_top || w.pad_left || w.pad_bottom || w.pad_right;
  ConvAlgorithm c;
  c.flat = w.kh == 1 && w.kw == 1 && w.stride_h == 1 && w.stride_w == 1 && !padded;
  if (kernel.op == Op::grouped) {
    c.merged = std::min<int64_t>(d.groups, format.nr / ocg);
    c.copy = padded;
    c.taps = w.kh * w.kw;
    c.k = icg;
    return c;
  }
  // Groups narrower than half of what a kernel takes at a time share it, block-diagonally: as many products, and fewer calls. That
  // is half a panel, or a part of one so wide that kernels take it in parts; more would only be more products. Not for f32, where
  // the zeros between the blocks would meet infinities and NaNs of other groups.
  constexpr int kWidest = 32;
  const int64_t width = format.nr > kWidest ? kWidest : std::max(1, format.nr / 2);
  if (d.a != DType::f32 && ocg * 2 <= width) c.merged = std::min(d.groups, width / ocg);
  // The bytes of a kernel row are contiguous where a panel takes all channels.
  c.fused = c.merged == d.groups && w.kw > 1 && w.dilation_w == 1;
  c.copy = padded || (c.fused && d.ic % format.kr != 0);
  c.taps = c.fused ? w.kh : w.kh * w.kw;
  c.k = c.fused ? w.kw * d.ic : c.merged * icg;
  if (c.copy && c.fused) c.k = ceil_div(c.k, format.kr) * format.kr;
  return c;
}

ConvBlocks conv_blocks(const Window& w, int64_t pixel_bytes, const Weights& weights) noexcept {
  // The input of a band and segment stays in L2 while the panels pass over it.
  constexpr int64_t kInput = 128 << 10, kTiles = 16, kMinRows = 4, kMinPixelTiles = 4;
  const auto in_rows = [&](int64_t out_rows) { return (out_rows - 1) * w.stride_h + (w.kh - 1) * w.dilation_h + 1; };
  const auto in_cols = [&](int64_t out_cols) { return (out_cols - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1; };
  const int64_t oh = w.oh(), ow = w.ow(), mr = weights.kernel->mr, panels = weights.panel_count();
  ConvBlocks b;
  b.segment_cols = ow;
  const int64_t rows_that_fit = kInput / (in_cols(ow) * pixel_bytes);
  if (in_rows(1) > rows_that_fit) {
    const int64_t cols_that_fit = kInput / (in_rows(1) * pixel_bytes);
    b.segment_cols = std::clamp((cols_that_fit - in_cols(1)) / w.stride_w + 1, std::min(ow, kMinPixelTiles * mr), ow);
  } else {
    b.band_rows = std::min(oh, (rows_that_fit - in_rows(1)) / w.stride_h + 1);
  }
  // Enough tiles for a few threads.
  const int64_t wanted = ceil_div(kTiles, panels);
  if (oh > 1) {
    b.band_rows = std::min(b.band_rows, std::max(kMinRows, ceil_div(oh, wanted)));
  } else {
    b.segment_cols = std::min(b.segment_cols, std::max(kMinPixelTiles * mr, ceil_div(ow, wanted)));
  }
  b.bands = ceil_div(oh, b.band_rows);
  b.band_rows = ceil_div(oh, b.bands);
  b.bands = ceil_div(oh, b.band_rows);
  b.segments = ceil_div(ow, b.segment_cols);
  b.segment_cols = std::min(ow, ceil_div(ceil_div(ow, b.segments), mr) * mr);
  b.segments = ceil_div(ow, b.segment_cols);
  // Panels that all stay in L1 leave the input rows of an output row there for each other.
  constexpr int64_t kL1Panels = 12 << 10;
  b.rows_first = panels * weights.taps * int64_t(weights.tap_bytes()) <= kL1Panels;
  return b;
}

}  // namespace octavo::detail
