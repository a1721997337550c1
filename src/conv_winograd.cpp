// The loops of a convolution by F(4x4, 3x3): runs of tiles to calls of its kernel, on padded copies of what they see.
#include <algorithm>

#include "src/conv_impl.h"

namespace octavo {
using namespace detail;

Region ConvPlan::Impl::winograd_input(int64_t rows, int64_t cols) const noexcept {
  Region r{0, 0, 0, 0};
  for (const WinogradPiece& p : pieces) {
    r.rows = std::max(r.rows, p.y + (4 * rows + 1) * w.stride_h + 1);
    r.cols = std::max(r.cols, p.x + (4 * cols + 1) * w.stride_w + 1);
  }
  return r;
}

void ConvPlan::Impl::run_winograd(const ConvArgs& v, int64_t run, int64_t begin, int64_t end, const char** taps, char* space,
                                  float* scratch) const noexcept {
  const TileRuns& r = tile_runs;
  const int64_t line = run / r.runs % r.lines, phase = run / (r.runs * r.lines), image = phase / (r.phases_y * r.phases_x);
  const int64_t phase_y = phase / r.phases_x % r.phases_y, phase_x = phase % r.phases_x;
  const int64_t rows = ceil_div(oh - phase_y, w.dilation_h), cols = ceil_div(ow - phase_x, w.dilation_w);
  const int64_t across = ceil_div(cols, 4), down = ceil_div(rows, 4), tiles = r.lines > 1 ? across : across * down;
  const int64_t from = part_begin(tiles, r.runs, run % r.runs), to = part_begin(tiles, r.runs, run % r.runs + 1);
  const int64_t y = line + from / across, high = (to - 1) / across - from / across + 1;
  if (from == to || y >= down) return;
  // Those of one row are a whole image of one row.
  const int64_t x = high > 1 ? 0 : from % across, wide = high > 1 ? across : to - from;

  WinogradArgs g;
  g.first = high > 1 ? from % across : 0, g.tiles = to - from;
  g.h = int32_t(std::min(4 * high, rows - 4 * y)), g.w = int32_t(std::min(4 * wide, cols - 4 * x));
  Region seen = winograd_input(high, wide);
  seen.step_y = w.dilation_h, seen.step_x = w.dilation_w;
  seen.y = (phase_y + 4 * y * seen.step_y) * w.stride_h - w.pad_top;
  seen.x = (phase_x + 4 * x * seen.step_x) * w.stride_w - w.pad_left;
  const char* data = static_cast<const char*>(v.a) + image * w.ih * w.iw * v.a_pixel_stride_bytes;
  char* const copy = space + winograd_space(r.most, r.cols).bytes;
  // Of rows that only the first row of tiles sees, or only the last, what these see of them.
  const int64_t from_x = 4 * g.first * w.stride_w, to_x = winograd_input(1, (to - 1) % across + 1 - x).cols;
  const int64_t shared = high > 1 ? 4 * w.stride_h : seen.rows, rest = high > 1 ? winograd_input(high - 1, 1).rows : seen.rows;
  const auto copy_rows = [&](int64_t first_row, int64_t end_row, int64_t first_col, int64_t end_col) {
    const Region part{seen.y + first_row * seen.step_y, seen.x + first_col * seen.step_x, end_row - first_row, end_col - first_col,
                      seen.step_y, seen.step_x};
    copy_padded(w, part, data, v.a_pixel_stride_bytes, pixel_bytes(), fill,
                copy + (first_row * seen.cols + first_col) * pixel_bytes(), seen.cols * pixel_bytes());
  };
  copy_rows(0, shared, from_x, seen.cols);
  copy_rows(shared, rest, 0, seen.cols);
  copy_rows(rest, seen.rows, 0, to_x);

  const Region out{phase_y + 4 * y * w.dilation_h, phase_x + 4 * x * w.dilation_w, 0, 0, w.dilation_h, w.dilation_w};
  g.a = reinterpret_cast<const void* const*>(taps);
  g.a_pixel_stride_bytes = w.stride_w * pixel_bytes(), g.a_row_stride_bytes = w.stride_h * seen.cols * pixel_bytes();
  g.batch = int64_t(pieces.size()), g.k = weights.k;
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
  g.c_pixel_stride_bytes = out.step_x * v.c_pixel_stride_bytes, g.c_row_stride_bytes = out.step_y * ow * v.c_pixel_stride_bytes;
  if (v.residual) {
    epi.residual = static_cast<const char*>(v.residual) + pixel * v.residual_pixel_stride_bytes +
                   first.column * ptrdiff_t(size_of(epi.residual_dtype));
    epi.residual_stride_bytes = out.step_x * v.residual_pixel_stride_bytes;
    g.residual_row_stride_bytes = out.step_y * ow * v.residual_pixel_stride_bytes;
  }
  g.epi = &epi;
  weights.call(g, scratch);
}

}  // namespace octavo
