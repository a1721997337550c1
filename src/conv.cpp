// Direct convolution without im2col. A 1x1 convolution of stride 1 is a flat matrix product over all pixels. Any other one
// runs tile by tile of up to mr neighbouring output pixels; each kernel tap is a pointer into the input, or into a copy of the
// input rows with the padding filled in. Where the KW*IC bytes of a kernel row are contiguous they are one tap.
// Taps that fall wholly into padding are left out: kernel rows above and below the image, and, where the policy cuts output rows
// into pieces, kernel columns beside it. Together with their share of the folded bias: a variant of the epilogue for each set of
// taps. Where the policy finds fewer products cheaper, tiles of 4x4 pixels of padded copies take the place of all that.
#include "octavo/conv.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <vector>

#include "src/flat.h"
#include "src/pack.h"
#include "src/pack_winograd.h"
#include "src/plan.h"
#include "src/window.h"

namespace octavo {
using namespace detail;

namespace {

// The kernel taps of a variant. Those of one that sees nothing but padding are one tap on pixels of fill.
struct Taps {
  TapRange rows, cols;
  bool none() const { return rows.begin == rows.end || cols.begin == cols.end; }
};

// The input under a region of output pixels: the pixel under kernel tap (0, 0) of its first one is `origin` bytes from data, and need
// not be in the image. Strides in bytes, of kernel rows, input rows and pixels.
struct Source {
  const char* data;
  ptrdiff_t origin, tap_row, row, pixel;
};

}  // namespace

struct ConvPlan::Impl {
  ConvDesc d;  // without its pointers
  Window w;
  int64_t oh = 0, ow = 0, macs = 0;
  PixelTypes types;
  int fill = 0;  // the byte that padding is made of
  Weights weights;
  ConvAlgorithm algorithm;
  ConvBlocks blocks;
  std::vector<int32_t> row_variants;  // [oh]: the first variant of each output row, one for each of algorithm.columns; empty: 0
  std::vector<Taps> variants;
  std::vector<WinogradPiece> pieces;  // algorithm.winograd
  std::vector<ptrdiff_t> b_offsets;   // where columns are cut: of the taps of each of algorithm.columns, kh * kw apart

  bool cut() const noexcept { return algorithm.columns.size() > 1 || algorithm.columns[0].taps != TapRange{0, w.kw}; }
  bool sees_nothing() const noexcept {
    return !algorithm.copy && std::any_of(variants.begin(), variants.end(), [](const Taps& t) { return t.none(); });
  }
  int64_t pixel_bytes() const noexcept { return types.in * int64_t(size_of(types.a)); }

  // The workspace: what a call leaves for a function; a pointer for each tap (kh * kw of them if pixels turn out not to be dense);
  // what a winograd kernel needs; then the copy and room for the last tap's k rounded up to kr, or what a tap on padding reads.
  size_t pointer_bytes() const noexcept {
    const size_t taps = algorithm.winograd ? pieces.size() : size_t(algorithm.copy ? weights.taps : w.kh * w.kw);
    return algorithm.flat ? 0 : align_up(taps * sizeof(void*));
  }
  size_t fill_bytes() const noexcept { return sees_nothing() ? size_t(std::max(pixel_bytes(), weights.k)) : 0; }
  WinogradSpace winograd_space(int64_t rows, int64_t cols) const noexcept {
    return WinogradSpace(weights.kernel->format, int64_t(pieces.size()), weights.k, rows, cols);
  }
  // The input that the tiles of such a space see.
  Region winograd_input(const WinogradSpace& s) const noexcept {
    Region r{0, 0, 0, 0};
    for (const WinogradPiece& p : pieces) {
      r.rows = std::max(r.rows, p.y + (4 * s.tiles_y + 1) * w.stride_h + 1);
      r.cols = std::max(r.cols, p.x + (4 * s.tiles_x + 1) * w.stride_w + 1);
    }
    return r;
  }
  // A function follows a call, which is a whole region here.
  size_t scratch_bytes() const noexcept {
    if (!algorithm.winograd) return weights.scratch_bytes();
    return weights.epilogue.function().scratch_bytes(blocks.band_rows * blocks.segment_cols * types.out);
  }
  size_t workspace_bytes() const noexcept {
    if (algorithm.winograd) {
      const WinogradSpace s = winograd_space(blocks.band_rows, blocks.segment_cols);
      const Region seen = winograd_input(s);
      return scratch_bytes() + pointer_bytes() + s.bytes + align_up(size_t(seen.rows * seen.cols * pixel_bytes()));
    }
    if (!algorithm.copy) return scratch_bytes() + pointer_bytes() + align_up(fill_bytes());
    return scratch_bytes() + pointer_bytes() +
           align_up(size_t(seen_rows(w, blocks.band_rows) * in_cols(w, blocks.segment_cols) * pixel_bytes()) +
                    weights.kernel->format.kr);
  }

  ConvBlocks cut_into_blocks(std::string* why = nullptr) const {
    return algorithm.winograd ? winograd_blocks(w, weights, why) : conv_blocks(w, pixel_bytes(), weights, why);
  }
  void make_panels(const ConvDesc& d);
  PackedShape packed_shape(const ConvDesc& d) const noexcept;
  void pack(const ConvDesc& d);
  void make_variants();
  Buffer<int32_t> variant_sums() const;

  int64_t tiles(int64_t batch) const noexcept {
    if (batch < 1) return 0;
    if (algorithm.flat) return flat_blocks(weights, batch * oh * ow).blocks * weights.panel_count();
    return batch * blocks.bands * blocks.segments * weights.panel_count();
  }
  Status check(const ConvArgs& v) const noexcept;
  void run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept;
  Source copy(const char* image, ptrdiff_t pixel_stride, const Region& out, char* to) const noexcept;
  void run_winograd(const ConvArgs& v, int64_t image, const Region& out, int64_t begin, int64_t end, const char* data,
                    const char** taps, char* space, float* scratch) const noexcept;
  void run_tiles(const ConvArgs& v, int64_t image, const Region& out, int64_t begin, int64_t end, WinogradArgs& g,
                 float* scratch) const noexcept;
  void run_panels(const ConvArgs& v, int64_t image, const Region& out, int64_t begin, int64_t end, const Source& in,
                  const char** taps, float* scratch) const noexcept;
};

void ConvPlan::Impl::make_panels(const ConvDesc& d) {
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups, merged = algorithm.merged, nr = weights.kernel->nr;
  for (int64_t g = 0; g < d.groups; g += merged) {
    const int64_t columns = std::min(merged, d.groups - g) * ocg;
    // Merged: the last panel reads as many groups, though it may use fewer.
    const int64_t first = weights.group_n > 0 ? g : std::min(g, d.groups - merged);
    for (int64_t j = 0; j < columns; j += nr)
      weights.panels.push_back({g * ocg + j, int32_t(std::min(nr, columns - j)), first * icg * ptrdiff_t(size_of(d.a))});
  }
}

PackedShape ConvPlan::Impl::packed_shape(const ConvDesc& d) const noexcept {
  PackedShape s;
  s.set_kernel(*weights.kernel);
  s.convolution = 1;
  s.columns = d.oc, s.depth = d.ic / d.groups, s.kh = w.kh, s.kw = w.kw, s.groups = d.groups;
  s.panels = weights.panel_count(), s.taps = weights.taps, s.k = weights.k;
  s.sum_rows = d.a == DType::f32 ? 0 : w.kh;
  return s;
}

// Fills weights.packed: the panels, and the sums of each kernel row.
void ConvPlan::Impl::pack(const ConvDesc& d) {
  const PackFormat& format = weights.kernel->format;
  if (algorithm.winograd) {
    for (int64_t p = 0; p < weights.panel_count(); ++p) {
      const Panel& panel = weights.panels[size_t(p)];
      pack_winograd(format, w, pieces, static_cast<const int8_t*>(d.w) + panel.column * weights.k * w.kh * w.kw, weights.k, panel.n,
                    PackedAccess::panels(weights.packed) + size_t(p) * weights.all_taps_bytes(),
                    PackedAccess::sums(weights.packed) + panel.column);
    }
    return;
  }
  const int64_t icg = d.ic / d.groups, ocg = d.oc / d.groups;
  const DType b = weights.kernel->b;
  const bool fused = algorithm.fused;
  const int64_t merged = algorithm.merged;
  const bool grouped = weights.group_n > 0;
  const ptrdiff_t a_bytes = ptrdiff_t(size_of(d.a)), b_bytes = ptrdiff_t(size_of(b));
  const ptrdiff_t column_stride = icg * w.kh * w.kw;
  const size_t tap_bytes = weights.tap_bytes(), all_taps = size_t(weights.taps) * tap_bytes;
  char* panels = PackedAccess::panels(weights.packed);
  int32_t* sums = PackedAccess::sums(weights.packed);
  // A kernel row of whole words is packed as its pixels would be by themselves. Otherwise pixels share words, and the weights of
  // each column are first brought into the order in which a kernel row has them: [kh][kw][ic].
  const bool by_pixel = !fused || d.ic % format.kr == 0;
  const size_t by_pixel_bytes = panel_bytes(format, grouped ? icg : merged * icg);
  Buffer<int8_t> ordered;
  if (!by_pixel) ordered = Buffer<int8_t>::uninitialized(size_t(format.nr * w.kh * w.kw * d.ic));
  for (int64_t p = 0; p < weights.panel_count(); ++p) {
    const Panel& panel = weights.panels[size_t(p)];
    const int64_t first_group = panel.a_offset / a_bytes / icg;
    char* to = panels + size_t(p) * all_taps;
    if (panel.n < format.nr || merged > 1 || weights.k % format.kr || !by_pixel) std::memset(to, 0, all_taps);
    // The part of the panel that belongs to one group: all of it, unless groups are merged.
    for (int64_t j = 0, n; j < panel.n; j += n) {
      const int64_t column = panel.column + j, group = column / ocg, row = grouped ? 0 : (group - first_group) * icg,
                    taps = w.kh * w.kw;
      n = std::min(panel.n - j, (group + 1) * ocg - column);
      const char* source = static_cast<const char*>(d.w) + column * column_stride * b_bytes;
      if (by_pixel) {
        const WeightBlock block{source, b, icg, n, taps, column_stride, taps, 1};
        pack_block(format, block, row, j, to, by_pixel_bytes);
        continue;
      }
      if (merged > 1) std::memset(ordered.get(), 0, ordered.bytes());
      for (int64_t c = 0; c < n; ++c)
        for (int64_t i = 0; i < icg; ++i)
          for (int64_t y = 0; y < taps; ++y) ordered[size_t((c * taps + y) * d.ic + row + i)] = source[(c * icg + i) * taps + y];
      const int64_t wide = w.kw * d.ic;
      pack_block(format, {ordered.get(), b, wide, n, 1, w.kh * wide, w.kh, wide}, 0, j, to, tap_bytes);
    }
    for (int64_t t = 0; sums && t < weights.taps; ++t)
      add_column_sums(format, weights.k, panel.n, to + size_t(t) * tap_bytes,
                      sums + t * w.kh / weights.taps * d.oc + panel.column);
  }
}

// The distinct sets of taps: for each range of kernel rows that some output row sees, one for each of algorithm.columns.
void ConvPlan::Impl::make_variants() {
  if (cut())
    for (const ColumnTaps& c : algorithm.columns) {
      const size_t end = b_offsets.size() + size_t(w.kh * w.kw);
      for (int64_t y = 0; y < w.kh; ++y)
        for (int64_t x = c.taps.begin; x < c.taps.end; ++x) b_offsets.push_back((y * w.kw + x) * ptrdiff_t(weights.tap_bytes()));
      b_offsets.resize(end);
    }
  const auto add = [&](TapRange taps) {
    for (const ColumnTaps& c : algorithm.columns) variants.push_back({taps, c.taps});
  };
  add({0, w.kh});
  if (types.a == DType::f32 || algorithm.winograd || !(w.pad_top || w.pad_bottom)) return;
  for (int64_t y = 0; y < oh; ++y) {
    TapRange r = valid_taps(y * w.stride_h - w.pad_top, w.kh, w.dilation_h, w.ih);
    if (algorithm.copy && r.begin == r.end) r = {0, w.kh};  // the copy has padding for all of them
    size_t v = 0;
    while (v < variants.size() && variants[v].rows != r) v += algorithm.columns.size();
    row_variants.push_back(int32_t(v));
    if (v == variants.size()) add(r);
  }
}

// For each variant the column sums of the weights that take part.
Buffer<int32_t> ConvPlan::Impl::variant_sums() const {
  const int64_t oc = types.out;
  // Of each kernel row, as they are packed; of each tap, if kernel columns are left out.
  const int32_t* sums = sums_of(weights.packed);
  Buffer<int32_t> tap_sums;
  if (cut() || sees_nothing()) {
    tap_sums = Buffer<int32_t>(size_t(weights.taps * oc));
    for (int64_t p = 0; p < weights.panel_count(); ++p)
      for (int64_t t = 0; t < weights.taps; ++t)
        add_column_sums(weights.kernel->format, weights.k, weights.panels[size_t(p)].n,
                        weights.panel(p) + size_t(t) * weights.tap_bytes(),
                        &tap_sums[size_t(t * oc + weights.panels[size_t(p)].column)]);
    sums = tap_sums.get();
  }
  Buffer<int32_t> all(variants.size() * size_t(oc));
  for (size_t v = 0; v < variants.size(); ++v) {
    const Taps& t = variants[v];
    int32_t* to = &all[v * size_t(oc)];
    const auto add = [&](int64_t row) {
      for (int64_t j = 0; j < oc; ++j) to[j] += sums[row * oc + j];
    };
    const int64_t taps_x = tap_sums.get() ? weights.taps / w.kh : 1;
    if (t.none()) {
      add(0);
      continue;
    }
    for (int64_t y = t.rows.begin; y < t.rows.end; ++y)
      for (int64_t x = taps_x > 1 ? t.cols.begin : 0; x < (taps_x > 1 ? t.cols.end : 1); ++x) add(y * taps_x + x);
  }
  return all;
}

Status ConvPlan::Impl::check(const ConvArgs& v) const noexcept { return check_pixels(w, types, v); }

// A padded copy of what a region of output pixels sees. Kernel rows that are far from each other are copied each by itself.
Source ConvPlan::Impl::copy(const char* image, ptrdiff_t pixel_stride, const Region& out, char* to) const noexcept {
  const int64_t step = tap_rows(w, blocks.band_rows), cols = in_cols(w, out.cols), band = (out.rows - 1) * w.stride_h + 1;
  const ptrdiff_t row = cols * pixel_bytes();
  Region r{out.y * w.stride_h - w.pad_top, out.x * w.stride_w - w.pad_left, 0, cols};
  if (step == w.dilation_h) {
    r.rows = (w.kh - 1) * step + band;
    copy_padded(w, r, image, pixel_stride, pixel_bytes(), fill, to);
  } else {
    r.rows = band;
    for (int64_t ky = 0; ky < w.kh; ++ky, r.y += w.dilation_h)
      copy_padded(w, r, image, pixel_stride, pixel_bytes(), fill, to + ky * step * row);
  }
  // The last tap's k may be rounded up: those bytes meet zero weights.
  std::fill_n(to + ((w.kh - 1) * step + band) * row, weights.kernel->format.kr, char(0));
  return {to, 0, step * row, row, pixel_bytes()};
}

void ConvPlan::Impl::run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept {
  float* scratch = static_cast<float*>(workspace);
  if (algorithm.flat) {
    FlatArgs f{
        v.batch * oh * ow,      static_cast<const char*>(v.a),        v.a_pixel_stride_bytes,       static_cast<char*>(v.c),
        v.c_pixel_stride_bytes, static_cast<const char*>(v.residual), v.residual_pixel_stride_bytes};
    f.scratch = scratch;
    return run_flat(weights, flat_blocks(weights, f.m), f, begin, end);
  }
  const int64_t panels = weights.panel_count();
  char* space = static_cast<char*>(workspace) + scratch_bytes();
  const char** taps = reinterpret_cast<const char**>(space);
  space += pointer_bytes();
  std::memset(space, fill, fill_bytes());
  for (int64_t tile = begin; tile < end;) {
    const int64_t block = tile / panels, first = tile % panels, last = std::min(panels, first + end - tile);
    tile += last - first;
    const int64_t image = block / (blocks.bands * blocks.segments), band = block / blocks.segments % blocks.bands,
                  segment = block % blocks.segments;
    Region out{band * blocks.band_rows, segment * blocks.segment_cols, 0, 0};
    out.rows = std::min(blocks.band_rows, oh - out.y);
    out.cols = std::min(blocks.segment_cols, ow - out.x);
    const char* data = static_cast<const char*>(v.a) + image * w.ih * w.iw * v.a_pixel_stride_bytes;
    if (algorithm.winograd) {
      run_winograd(v, image, out, first, last, data, taps, space, scratch);
      continue;
    }
    const ptrdiff_t pixel = v.a_pixel_stride_bytes, row = w.iw * pixel;
    Source in{data, (out.y * w.stride_h - w.pad_top) * row + (out.x * w.stride_w - w.pad_left) * pixel, w.dilation_h * row, row,
              pixel};
    if (algorithm.copy) in = copy(data, pixel, out, space);
    const int64_t step = blocks.rows_first ? 1 : out.rows, end_row = out.y + out.rows;
    for (out.rows = step; out.y < end_row; out.y += step, in.origin += step * w.stride_h * in.row)
      for (int64_t p = first, next; p < last; p = next) {
        next = p + call_panels(weights, *weights.kernel, p, std::min(last, p + blocks.group));
        run_panels(v, image, out, p, next, in, taps, scratch);
      }
  }
}

// Panels of a region, whose tiles may hang over it, and over the image.
void ConvPlan::Impl::run_winograd(const ConvArgs& v, int64_t image, const Region& out, int64_t begin, int64_t end, const char* data,
                                  const char** taps, char* space, float* scratch) const noexcept {
  const WinogradSpace s = winograd_space(out.rows, out.cols);
  Region seen = winograd_input(s);
  seen.y = out.y * w.stride_h - w.pad_top, seen.x = out.x * w.stride_w - w.pad_left;
  char* const copy = space + winograd_space(blocks.band_rows, blocks.segment_cols).bytes;
  copy_padded(w, seen, data, v.a_pixel_stride_bytes, pixel_bytes(), fill, copy);
  WinogradArgs g;
  g.a = reinterpret_cast<const void* const*>(taps);
  g.a_pixel_stride_bytes = w.stride_w * pixel_bytes(), g.a_row_stride_bytes = w.stride_h * seen.cols * pixel_bytes();
  g.batch = int64_t(pieces.size()), g.k = weights.k;
  g.h = int32_t(out.rows), g.w = int32_t(out.cols);
  g.workspace = space;
  for (int64_t next; begin < end; begin = next) {  // the panels of a group
    const ptrdiff_t group = weights.panels[size_t(begin)].a_offset;
    next = begin + 1;
    while (next < end && weights.panels[size_t(next)].a_offset == group) ++next;
    for (size_t t = 0; t < pieces.size(); ++t) taps[t] = copy + (pieces[t].y * seen.cols + pieces[t].x) * pixel_bytes() + group;
    run_tiles(v, image, out, begin, next, g, scratch);
  }
}

void ConvPlan::Impl::run_tiles(const ConvArgs& v, int64_t image, const Region& out, int64_t begin, int64_t end, WinogradArgs& g,
                               float* scratch) const noexcept {
  const Panel &first = weights.panels[size_t(begin)], &last = weights.panels[size_t(end - 1)];
  EpilogueArgs epi = weights.epilogue.args(first.column);
  const int64_t pixel = (image * oh + out.y) * ow + out.x;
  g.b = weights.panel(begin), g.b_panel_stride = ptrdiff_t(weights.all_taps_bytes());
  g.n = last.column + last.n - first.column;
  g.c = static_cast<char*>(v.c) + pixel * v.c_pixel_stride_bytes + first.column * ptrdiff_t(size_of(types.c));
  g.c_pixel_stride_bytes = v.c_pixel_stride_bytes, g.c_row_stride_bytes = ow * v.c_pixel_stride_bytes;
  if (v.residual) {
    epi.residual = static_cast<const char*>(v.residual) + pixel * v.residual_pixel_stride_bytes +
                   first.column * ptrdiff_t(size_of(epi.residual_dtype));
    epi.residual_stride_bytes = v.residual_pixel_stride_bytes;
    g.residual_row_stride_bytes = ow * v.residual_pixel_stride_bytes;
  }
  g.epi = &epi;
  weights.call(g, scratch);
}

// Panels that one call takes.
void ConvPlan::Impl::run_panels(const ConvArgs& v, int64_t image, const Region& out, int64_t begin, int64_t end, const Source& in,
                                const char** taps, float* scratch) const noexcept {
  const Panel &panel = weights.panels[size_t(begin)], &last = weights.panels[size_t(end - 1)];
  // Pixels that are not dense cannot be fused; a tap's k is then a multiple of kr, so that the packed weights are the same.
  const bool one_tap_a_row = algorithm.fused && in.pixel == pixel_bytes();
  const int64_t taps_x = one_tap_a_row ? 1 : w.kw;
  BrgemmArgs g;
  g.a = reinterpret_cast<const void* const*>(taps);
  g.c_stride_bytes = v.c_pixel_stride_bytes;
  g.k = algorithm.fused && !one_tap_a_row ? types.in : weights.k;
  g.n = int32_t(last.column - panel.column) + last.n;
  g.b_panel_stride = ptrdiff_t(weights.all_taps_bytes());
  g.group_n = weights.group_n;
  const size_t tap_bytes = panel_bytes(weights.kernel->format, g.k);
  const char* nothing = reinterpret_cast<const char*>(taps) + pointer_bytes();
  for (int64_t y = 0; y < out.rows; ++y) {
    const ptrdiff_t row = in.origin + y * w.stride_h * in.row + panel.a_offset;
    const size_t row_variant = row_variants.empty() ? 0 : size_t(row_variants[size_t(out.y + y)]);
    for (size_t i = 0; i < algorithm.columns.size(); ++i) {
      const int64_t x = std::max(out.x, algorithm.columns[i].begin), x_end = std::min(out.x + out.cols, algorithm.columns[i].end);
      if (x >= x_end) continue;
      const size_t variant = row_variant + i;
      const Taps& used = variants[variant];
      EpilogueArgs epi = weights.epilogue.args(panel.column, int64_t(variant));
      g.epi = &epi;
      g.a_stride_bytes = w.stride_w * in.pixel;
      g.b = weights.panel(begin);
      const char** tap = taps;
      g.b_offsets = nullptr;
      if (used.none()) {
        g.a_stride_bytes = 0;
        for (int64_t kx = 0; kx < (algorithm.fused ? taps_x : 1); ++kx) *tap++ = nothing;
      } else if (cut()) {
        g.b_offsets = &b_offsets[i * size_t(w.kh * w.kw) + size_t(used.rows.begin * (used.cols.end - used.cols.begin))];
        for (int64_t ky = used.rows.begin; ky < used.rows.end; ++ky)
          for (int64_t kx = used.cols.begin; kx < used.cols.end; ++kx)
            *tap++ = in.data + (row + ky * in.tap_row + ((x - out.x) * w.stride_w + kx * w.dilation_w) * in.pixel);
      } else {
        g.b = weights.panel(begin) + size_t(used.rows.begin * taps_x) * tap_bytes;
        for (int64_t ky = used.rows.begin; ky < used.rows.end; ++ky)
          for (int64_t kx = 0; kx < taps_x; ++kx) *tap++ = in.data + (row + ky * in.tap_row + kx * w.dilation_w * in.pixel);
      }
      g.batch = tap - taps;
      const int64_t pixel = (image * oh + out.y + y) * ow + x;
      char* c = static_cast<char*>(v.c) + pixel * v.c_pixel_stride_bytes + panel.column * ptrdiff_t(size_of(types.c));
      if (v.residual) {
        epi.residual = static_cast<const char*>(v.residual) + pixel * v.residual_pixel_stride_bytes +
                       panel.column * ptrdiff_t(size_of(epi.residual_dtype));
        epi.residual_stride_bytes = v.residual_pixel_stride_bytes;
      }
      const KernelInfo& kernel = call_kernel(weights, x_end - x);
      const int64_t most = call_rows(weights, kernel, w.stride_w * in.pixel, g.a_stride_bytes, g.c_stride_bytes);
      for (int64_t left = x_end - x; left > 0; left -= g.m) {
        g.m = int32_t(next_call(kernel, most, left));
        g.c = c;
        weights.call(kernel, g, scratch);
        c += g.m * v.c_pixel_stride_bytes;
        if (epi.residual) epi.residual = static_cast<const char*>(epi.residual) + g.m * v.residual_pixel_stride_bytes;
        for (const char** j = taps; j < tap; ++j) *j += g.m * g.a_stride_bytes;
      }
    }
  }
}

Expected<ConvPlan> ConvPlan::create(const ConvDesc& d) noexcept try {
  if (Status s = check_conv(d); !s.ok()) return s;
  Expected<const KernelInfo*> kernel = choose_kernel(Op::brgemm, d.a, d.kernel, d.use_isa, d.isa);
  if (!kernel) return kernel.status();
  if (const KernelInfo* grouped = d.kernel ? nullptr : grouped_kernel(d, **kernel)) kernel = grouped;
  if (const KernelInfo* winograd = d.kernel ? nullptr : winograd_kernel(d, **kernel)) kernel = winograd;
  if (Status s = check_numerics(d.numerics, d.a, d.oc, d.ic / d.groups * d.window.kh * d.window.kw); !s.ok()) return s;
  const Expected<const EltwiseKernels*> functions = function_kernels(d.numerics, d.use_isa, d.isa);
  if (!functions) return functions.status();
  auto impl = std::make_shared<Impl>();
  impl->d = d;
  impl->d.w = nullptr, impl->d.packed = nullptr, impl->d.numerics = {};
  impl->w = d.window;
  impl->oh = d.window.oh();
  impl->ow = d.window.ow();
  impl->macs = impl->oh * impl->ow * d.oc * (d.ic / d.groups) * d.window.kh * d.window.kw;
  impl->types = {d.ic, d.oc, d.a, d.numerics.out, d.numerics.residual_dtype, d.numerics.has_residual};
  impl->fill = d.a == DType::f32 ? 0 : d.numerics.a.zero_point;
  impl->algorithm = conv_algorithm(d, **kernel);
  if (impl->algorithm.winograd) impl->pieces = winograd_pieces(d.window);
  Weights& weights = impl->weights;
  weights.kernel = *kernel;
  weights.kernel_asked = d.kernel;
  weights.choice = d.choice;
  if ((*kernel)->op == Op::grouped) weights.group_n = int32_t(d.oc / d.groups);
  weights.taps = impl->algorithm.taps;
  weights.k = impl->algorithm.k;
  weights.short_sums = short_sums(weights);
  impl->make_panels(d);
  const PackedShape shape = impl->packed_shape(d);
  if (d.packed) {
    if (Status s = check_packed(*d.packed, shape, **kernel); !s.ok()) return s;
    weights.packed = *d.packed;
  } else {
    weights.packed = PackedAccess::make(shape);
    impl->pack(d);
  }
  weights.data = panels_of(weights.packed);
  impl->make_variants();
  Buffer<int32_t> sums;
  if (d.a != DType::f32) sums = impl->variant_sums();
  weights.epilogue = Epilogue(d.numerics, d.a, d.oc, sums.get(), int64_t(impl->variants.size()), (*kernel)->format.a_offset,
                              largest_weight_sum(weights), *functions);
  if (!impl->algorithm.flat) impl->blocks = impl->cut_into_blocks();
  return ConvPlan(std::move(impl));
} catch (const std::exception&) {
  return Status::error(Code::out_of_memory, "ConvPlan::create: no memory for the weights of %lld channels",
                       static_cast<long long>(d.oc));
}

ConvPlan::ConvPlan(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

int64_t ConvPlan::tiles(int64_t batch) const noexcept { return impl_->tiles(batch); }
size_t ConvPlan::workspace_bytes() const noexcept { return impl_->workspace_bytes(); }

Status ConvPlan::run(const ConvArgs& v, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept {
  if (Status s = impl_->check(v); !s.ok()) return s;
  if (Status s = check_tiles(tile_begin, tile_end, tiles(v.batch)); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  impl_->run(with_strides(impl_->types, v), tile_begin, tile_end, workspace);
  return {};
}

Status ConvPlan::run(const ConvArgs& v, void* workspace, const Parallel& parallel) const noexcept {
  if (Status s = check_parallel(parallel); !s.ok()) return s;
  if (Status s = impl_->check(v); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  const ConvArgs dense = with_strides(impl_->types, v);
  run_parallel(parallel, tiles(v.batch), double(v.batch) * double(impl_->macs), workspace, workspace_bytes(),
               [&](int64_t begin, int64_t end, void* own) { impl_->run(dense, begin, end, own); });
  return {};
}

const KernelInfo& ConvPlan::kernel() const noexcept { return *impl_->weights.kernel; }
PackedWeights ConvPlan::packed() const noexcept { return impl_->weights.packed; }
size_t ConvPlan::packed_bytes() const noexcept { return impl_->weights.bytes(); }
int64_t ConvPlan::macs() const noexcept { return impl_->macs; }

std::string ConvPlan::describe() const {
  const Impl& i = *impl_;
  std::string why;
  explain_kernel(kernel(), i.weights.kernel_asked, &why);
  conv_algorithm(i.d, kernel(), &why);
  short_sums(i.weights, &why);
  i.algorithm.flat ? void(flat_blocks(i.weights, i.oh * i.ow, &why)) : void(i.cut_into_blocks(&why));
  return std::string(kernel().name) + ": " + std::to_string(i.weights.taps) + " taps of k=" + std::to_string(i.weights.k) + ", " +
         std::to_string(i.weights.panel_count()) + " panels, " + std::to_string(packed_bytes()) + " bytes packed, workspace " +
         std::to_string(workspace_bytes()) + " bytes. " + why;
}

}  // namespace octavo
