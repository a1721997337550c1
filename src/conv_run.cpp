// The loops of a convolution: tiles of the plan to calls of its kernel.
#include <algorithm>
#include <cstring>

#include "src/conv_impl.h"

namespace octavo {
using namespace detail;

size_t ConvPlan::Impl::workspace_bytes() const noexcept {
  if (algorithm.winograd) {
    const Region seen = winograd_input(tile_runs.rows, tile_runs.cols);
    return scratch_bytes() + pointer_bytes() + winograd_space(tile_runs.most, tile_runs.cols).bytes +
           align_up(size_t(seen.rows * seen.cols * pixel_bytes()));
  }
  if (!algorithm.copy) return scratch_bytes() + pointer_bytes() + align_up(fill_bytes());
  return scratch_bytes() + pointer_bytes() +
         align_up(size_t(seen_rows(w, blocks.band_rows) * in_cols(w, blocks.segment_cols) * pixel_bytes()) +
                  weights.kernel->format.kr);
}

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
    f.far_c = is_far(weights, f.m);
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
    if (algorithm.winograd) {
      run_winograd(v, block, first, last, taps, space, scratch);
      continue;
    }
    const int64_t image = block / (blocks.bands * blocks.segments), band = block / blocks.segments % blocks.bands,
                  segment = block % blocks.segments;
    Region out{part_begin(oh, blocks.bands, band), segment * blocks.segment_cols, 0, 0};
    out.rows = part_begin(oh, blocks.bands, band + 1) - out.y;
    out.cols = std::min(blocks.segment_cols, ow - out.x);
    const char* data = static_cast<const char*>(v.a) + image * w.ih * w.iw * v.a_pixel_stride_bytes;
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

// Panels that one call takes.
void ConvPlan::Impl::run_panels(const ConvArgs& v, int64_t image, const Region& out, int64_t begin, int64_t end, const Source& in,
                                const char** taps, float* scratch) const noexcept {
  const Panel &panel = weights.panels[size_t(begin)], &last = weights.panels[size_t(end - 1)];
  // Pixels that are not dense cannot be fused; a tap's k is then a multiple of kr, so that the packed weights are the same.
  const bool one_tap_a_row = algorithm.fused && in.pixel == pixel_bytes();
  const int64_t taps_x = one_tap_a_row ? 1 : w.kw;
  BrgemmArgs g;
  g.a = reinterpret_cast<const void* const*>(taps);
  g.far_c = is_far(weights, v.batch * oh * ow);
  g.k = algorithm.fused && !one_tap_a_row ? types.in : weights.k;
  g.n = int32_t(last.column - panel.column) + last.n;
  g.b_panel_stride = ptrdiff_t(weights.all_taps_bytes());
  g.group_n = weights.group_n;
  const size_t tap_bytes = panel_bytes(weights.kernel->format, g.k);
  const char* nothing = reinterpret_cast<const char*>(taps) + pointer_bytes();
  // `count` pixels from column x of row y on, along the row or down, which see the taps of a variant.
  const auto line = [&](size_t column, int64_t y, int64_t x, int64_t count, bool down) {
    const ptrdiff_t row = in.origin + y * w.stride_h * in.row + (x - out.x) * w.stride_w * in.pixel + panel.a_offset;
    const size_t variant = row_variant(out.y + y) + column;
    const Taps& used = variants[variant];
    EpilogueArgs epi = weights.epilogue.args(panel.column, int64_t(variant));
    g.epi = &epi;
    g.a_stride_bytes = down ? w.stride_h * in.row : w.stride_w * in.pixel;
    g.b = weights.panel(begin);
    const char** tap = taps;
    g.b_offsets = nullptr;
    if (used.none()) {
      g.a_stride_bytes = 0;
      for (int64_t kx = 0; kx < (algorithm.fused ? taps_x : 1); ++kx) *tap++ = nothing;
    } else if (cut()) {
      g.b_offsets = &b_offsets[column * size_t(w.kh * w.kw) + size_t(used.rows.begin * (used.cols.end - used.cols.begin))];
      for (int64_t ky = used.rows.begin; ky < used.rows.end; ++ky)
        for (int64_t kx = used.cols.begin; kx < used.cols.end; ++kx)
          *tap++ = in.data + (row + ky * in.tap_row + kx * w.dilation_w * in.pixel);
    } else {
      g.b = weights.panel(begin) + size_t(used.rows.begin * taps_x) * tap_bytes;
      for (int64_t ky = used.rows.begin; ky < used.rows.end; ++ky)
        for (int64_t kx = 0; kx < taps_x; ++kx) *tap++ = in.data + (row + ky * in.tap_row + kx * w.dilation_w * in.pixel);
    }
    g.batch = tap - taps;
    const int64_t pixel = (image * oh + out.y + y) * ow + x, step = down ? ow : 1;
    g.c_stride_bytes = step * v.c_pixel_stride_bytes;
    char* c = static_cast<char*>(v.c) + pixel * v.c_pixel_stride_bytes + panel.column * ptrdiff_t(size_of(types.c));
    if (v.residual) {
      epi.residual = static_cast<const char*>(v.residual) + pixel * v.residual_pixel_stride_bytes +
                     panel.column * ptrdiff_t(size_of(epi.residual_dtype));
      epi.residual_stride_bytes = step * v.residual_pixel_stride_bytes;
    }
    const KernelInfo& kernel = call_kernel(weights, count);
    const int64_t most = call_rows(weights, kernel, w.stride_w * in.pixel, g.a_stride_bytes, g.c_stride_bytes);
    for (int64_t left = count; left > 0; left -= g.m) {
      g.m = int32_t(next_call(kernel, most, left));
      g.c = c;
      weights.call(kernel, g, scratch);
      c += g.m * g.c_stride_bytes;
      if (epi.residual) epi.residual = static_cast<const char*>(epi.residual) + g.m * epi.residual_stride_bytes;
      for (const char** j = taps; j < tap; ++j) *j += g.m * g.a_stride_bytes;
    }
  };
  for (size_t i = 0; i < algorithm.columns.size(); ++i) {
    const int64_t x = std::max(out.x, algorithm.columns[i].begin), x_end = std::min(out.x + out.cols, algorithm.columns[i].end);
    if (x_end - x >= std::min(out.rows, least_rows(*weights.kernel))) {
      for (int64_t y = 0; y < out.rows; ++y) line(i, y, x, x_end - x, false);
      continue;
    }
    // A narrow piece: rows whose windows have the same rows in the image go together, a column at a time.
    for (int64_t y = 0, end; y < out.rows; y = end) {
      end = y + 1;
      while (end < out.rows && row_variant(out.y + end) == row_variant(out.y + y)) ++end;
      for (int64_t at = x; at < x_end; ++at) line(i, y, at, end - y, true);
    }
  }
}

}  // namespace octavo
