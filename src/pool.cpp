// Max and average pools: the pointers to the real input pixels under the window of an output pixel, then one routine for it and for
// those beside and below it whose windows have them in the same places.
#include <algorithm>
#include <cmath>
#include <exception>
#include <vector>

#include "octavo/conv.h"
#include "octavo/eltwise.h"
#include "src/numerics.h"
#include "src/plan.h"
#include "src/window.h"

namespace octavo {
using namespace detail;

struct PoolPlan::Impl {
  PoolDesc d;
  int64_t oh = 0, ow = 0;
  std::vector<ColumnTaps> columns, bands;
  PixelTypes types;
  const EltwiseKernels* kernels = nullptr;

  size_t workspace_bytes() const noexcept { return align_up(size_t(d.window.kh * d.window.kw) * sizeof(void*)); }
  void pool(const TapRows& rows, void* out) const noexcept;
  void run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept;
};

void PoolPlan::Impl::pool(const TapRows& rows, void* out) const noexcept {
  if (d.kind == PoolKind::max) return kernels->max_taps(rows, out, d.dtype);
  const int64_t divisor = d.count_include_pad ? d.window.kh * d.window.kw : int64_t(rows.taps);
  if (d.dtype == DType::f32) return kernels->avg_taps_f32(rows, static_cast<float*>(out), float(divisor));
  const float m = float(double(d.in_q.scale) / (double(divisor) * double(d.out_q.scale)));
  const int32_t zp = d.out_q.zero_point;
  const QResult result{out, d.dtype, zp, float(qmin_of(d.dtype) - zp), float(qmax_of(d.dtype) - zp)};
  kernels->avg_taps_quantized(rows, d.dtype, d.in_q.zero_point, m, result);
}

// A tile is one row of output pixels. A few of the same kind are one call.
void PoolPlan::Impl::run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept {
  constexpr int64_t kRows = 16;  // what the columns at an edge read is still in a cache when the others come
  const Window& w = d.window;
  const void** taps = static_cast<const void**>(workspace);
  const ptrdiff_t tap_step = ptrdiff_t(w.dilation_w) * v.a_pixel_stride_bytes, in_row = ptrdiff_t(w.iw) * v.a_pixel_stride_bytes;
  const ptrdiff_t step = ptrdiff_t(w.stride_w) * v.a_pixel_stride_bytes, out_row = ow * v.c_pixel_stride_bytes;
  char* out = static_cast<char*>(v.c) + begin * out_row;
  int64_t image = begin / oh, y = begin % oh, rows = 1;
  auto band = bands.begin();
  while (band->end <= y) ++band;
  for (int64_t tile = begin; tile < end; tile += rows) {
    rows = std::min({kRows, end - tile, band->end - y});
    const TapRange ys = band->taps;
    const int64_t iy = y * w.stride_h - w.pad_top + ys.begin * w.dilation_h;
    const char* in = static_cast<const char*>(v.a) + (image * w.ih + iy) * in_row;
    char* c_row = out;
    for (const ColumnTaps& c : columns) {
      const char* row = in + (c.begin * w.stride_w - w.pad_left + c.taps.begin * w.dilation_w) * v.a_pixel_stride_bytes;
      const void** tap = taps;
      for (int64_t ky = ys.begin; ky < ys.end; ++ky, row += w.dilation_h * in_row) {
        const char* pixel = row;
        for (int64_t kx = c.taps.begin; kx < c.taps.end; ++kx, pixel += tap_step) *tap++ = pixel;
      }
      pool({taps, size_t(tap - taps), step, v.c_pixel_stride_bytes, size_t(c.end - c.begin), size_t(d.channels), size_t(rows),
            w.stride_h * in_row, out_row},
           c_row);
      c_row += (c.end - c.begin) * v.c_pixel_stride_bytes;
    }
    out += rows * out_row;
    if ((y += rows) == band->end) ++band;
    if (y == oh) y = 0, ++image, band = bands.begin();
  }
}

namespace {

Status check_pool(const PoolDesc& d) noexcept {
  if (Status s = check_at_least("channels", d.channels, 1); !s.ok()) return s;
  if (d.channels > INT32_MAX)
    return Status::error(Code::overflow, "channels is %lld: at most %d", static_cast<long long>(d.channels), INT32_MAX);
  const Window& w = d.window;
  if (Status s = check_window(w, d.channels); !s.ok()) return s;
  if (w.kh * w.kw > INT32_MAX / 256)
    return Status::error(Code::overflow, "window.kh * window.kw is %lld: more than %d could overflow int32",
                         static_cast<long long>(w.kh * w.kw), INT32_MAX / 256);
  for (int64_t y = 0; y < w.oh(); ++y)
    if (const TapRange r = valid_taps(y * w.stride_h - w.pad_top, w.kh, w.dilation_h, w.ih); r.begin == r.end)
      return Status::error(Code::invalid_argument,
                           "window.pad_top, window.pad_bottom: the window of output row %lld has no real pixel",
                           static_cast<long long>(y));
  for (int64_t x = 0; x < w.ow(); ++x)
    if (const TapRange r = valid_taps(x * w.stride_w - w.pad_left, w.kw, w.dilation_w, w.iw); r.begin == r.end)
      return Status::error(Code::invalid_argument,
                           "window.pad_left, window.pad_right: the window of output column %lld has no real pixel",
                           static_cast<long long>(x));
  if (d.dtype == DType::f32) return {};
  if (d.dtype != DType::u8 && d.dtype != DType::s8)
    return Status::error(Code::unsupported, "dtype is %s: must be u8, s8 or f32", name_of(d.dtype));
  if (d.kind == PoolKind::max) {
    if (d.in_q == d.out_q) return {};
    return Status::error(Code::unsupported, "in_q and out_q differ: max keeps its input's parameters");
  }
  if (Status s = check_qparams("in_q", d.in_q, d.dtype); !s.ok()) return s;
  if (Status s = check_qparams("out_q", d.out_q, d.dtype); !s.ok()) return s;
  if (std::isfinite(float(double(d.in_q.scale) / double(d.out_q.scale)))) return {};
  return Status::error(Code::overflow, "in_q.scale / out_q.scale overflows float");
}

}  // namespace

Expected<PoolPlan> PoolPlan::create(const PoolDesc& d) noexcept try {
  if (Status s = check_pool(d); !s.ok()) return s;
  const Expected<Isa> isa = resolve_isa(d.use_isa, d.isa);
  if (!isa) return isa.status();
  auto impl = std::make_shared<Impl>();
  impl->d = d;
  impl->oh = d.window.oh();
  impl->ow = d.window.ow();
  impl->columns = column_taps(d.window);
  impl->bands = row_taps(d.window);
  impl->types = {d.channels, d.channels, d.dtype, d.dtype, d.dtype, false};
  impl->kernels = &eltwise(*isa);
  return PoolPlan(std::move(impl));
} catch (const std::exception&) {
  return Status::error(Code::out_of_memory, "PoolPlan::create: no memory");
}

PoolPlan::PoolPlan(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

int64_t PoolPlan::tiles(int64_t batch) const noexcept { return batch < 1 ? 0 : batch * impl_->oh; }
size_t PoolPlan::workspace_bytes() const noexcept { return impl_->workspace_bytes(); }

Status PoolPlan::run(const ConvArgs& v, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept {
  if (Status s = check_pixels(impl_->d.window, impl_->types, v); !s.ok()) return s;
  if (Status s = check_tiles(tile_begin, tile_end, tiles(v.batch)); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  impl_->run(with_strides(impl_->types, v), tile_begin, tile_end, workspace);
  return {};
}

Status PoolPlan::run(const ConvArgs& v, void* workspace, const Parallel& parallel) const noexcept {
  if (Status s = check_parallel(parallel); !s.ok()) return s;
  if (Status s = check_pixels(impl_->d.window, impl_->types, v); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  const ConvArgs dense = with_strides(impl_->types, v);
  const Window& w = impl_->d.window;
  const double work = double(v.batch) * double(impl_->oh * impl_->ow) * double(w.kh * w.kw) * double(impl_->d.channels);
  run_parallel(parallel, {tiles(v.batch)}, work, workspace, workspace_bytes(),
               [&](int64_t begin, int64_t end, void* own) { impl_->run(dense, begin, end, own); });
  return {};
}

std::string PoolPlan::describe() const {
  const PoolDesc& d = impl_->d;
  return std::string(impl_->kernels->name) + ": " + (d.kind == PoolKind::max ? "max" : "average") + " of the real pixels under each window, " +
         "from the input in place, since taps are pointers; tiles of one output row, for threads; workspace " +
         std::to_string(workspace_bytes()) + " bytes for the pointers";
}

}  // namespace octavo
