// Weights of a convolution to panels, and what the sets of taps that see the image differ in.
#include <algorithm>
#include <cstring>

#include "src/conv_impl.h"
#include "src/pack.h"

namespace octavo {
using namespace detail;

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
      pack_winograd(format, w, pieces, static_cast<const int8_t*>(d.w) + panel.column * weights.k * w.kh * w.kw, weights.k,
                    panel.n, PackedAccess::panels(weights.packed) + size_t(p) * weights.all_taps_bytes(),
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
  if (algorithm.whole || algorithm.winograd || !(w.pad_top || w.pad_bottom)) return;
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

}  // namespace octavo
