// Depthwise convolution, one kernel call for each row of output pixels. Where there is padding, the kernel reads copies of the
// input rows with the padding filled in, kept in a ring of as many rows as one output row sees: each input row is copied once,
// just before it is needed, and read from L1.
#include <algorithm>
#include <exception>

#include "octavo/conv.h"
#include "src/numerics.h"
#include "src/pack.h"
#include "src/plan.h"
#include "src/window.h"

namespace octavo {
using namespace detail;

struct DepthwisePlan::Impl {
  Window w;
  int64_t oh = 0, ow = 0, macs = 0;
  PixelTypes types;
  int fill = 0;
  const KernelInfo* kernel = nullptr;
  Buffer<char> packed;
  Epilogue epilogue;
  bool copy = false;
  int64_t band_rows = 1, bands = 1;  // a tile of the plan is a band of output rows

  int64_t pixel_bytes() const noexcept { return types.in * int64_t(size_of(types.a)); }
  int64_t ring_rows() const noexcept { return (w.kh - 1) * w.dilation_h + 1; }
  int64_t in_cols() const noexcept { return (ow - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1; }

  // A pointer for each kernel row, then the ring.
  size_t pointer_bytes() const noexcept { return align_up(size_t(w.kh) * sizeof(void*)); }
  size_t workspace_bytes() const noexcept {
    return pointer_bytes() + (copy ? align_up(size_t(ring_rows() * in_cols() * pixel_bytes())) : 0);
  }
  void run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept;
};

void DepthwisePlan::Impl::run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept {
  const char** rows = static_cast<const char**>(workspace);
  char* slots = static_cast<char*>(workspace) + pointer_bytes();
  EpilogueArgs epi = epilogue.args(0);
  epi.residual_stride_bytes = v.residual_pixel_stride_bytes;
  DwconvArgs g;
  g.rows = reinterpret_cast<const void* const*>(rows);
  g.kh = int32_t(w.kh);
  g.kw = int32_t(w.kw);
  g.stride_w = int32_t(w.stride_w);
  g.dilation_w = int32_t(w.dilation_w);
  g.n = ow;
  g.channels = types.in;
  g.w = packed.get();
  g.c_stride_bytes = v.c_pixel_stride_bytes;
  g.epi = &epi;
  const int64_t row_bytes = in_cols() * pixel_bytes(), ring = ring_rows();
  g.pixel_stride_bytes = copy ? pixel_bytes() : v.a_pixel_stride_bytes;
  const int64_t first = begin / bands * oh + begin % bands * band_rows;
  const int64_t last = end / bands * oh + std::min(oh, end % bands * band_rows);
  int64_t copied = 0;  // the input rows before this one are in the ring, those of them that are still needed
  for (int64_t row = first; row < last; ++row) {
    const int64_t image = row / oh, y = row % oh, top = y * w.stride_h - w.pad_top;
    const char* in = static_cast<const char*>(v.a) + image * w.ih * w.iw * v.a_pixel_stride_bytes;
    if (copy) {
      if (y == 0 || row == first) copied = top;
      for (int64_t iy = std::max(copied, top); iy < top + ring; ++iy)
        copy_padded(w, {iy, -w.pad_left, 1, in_cols()}, in, v.a_pixel_stride_bytes, pixel_bytes(), fill,
                    slots + (iy + w.pad_top) % ring * row_bytes);
      copied = top + ring;
      for (int64_t ky = 0; ky < w.kh; ++ky) rows[ky] = slots + (y * w.stride_h + ky * w.dilation_h) % ring * row_bytes;
    } else {
      for (int64_t ky = 0; ky < w.kh; ++ky) rows[ky] = in + (top + ky * w.dilation_h) * w.iw * v.a_pixel_stride_bytes;
    }
    g.c = static_cast<char*>(v.c) + row * ow * v.c_pixel_stride_bytes;
    if (v.residual) epi.residual = static_cast<const char*>(v.residual) + row * ow * v.residual_pixel_stride_bytes;
    kernel->dwconv(&g);
  }
}

Expected<DepthwisePlan> DepthwisePlan::create(const ConvDesc& d) noexcept try {
  if (Status s = check_conv(d); !s.ok()) return s;
  if (d.groups != d.ic || d.oc != d.ic)
    return Status::error(Code::invalid_argument, "groups is %lld: must be equal to ic (%lld) and oc (%lld)",
                         static_cast<long long>(d.groups), static_cast<long long>(d.ic), static_cast<long long>(d.oc));
  const Expected<const KernelInfo*> kernel = choose_kernel(Op::dwconv, d.a, d.kernel, d.use_isa, d.isa);
  if (!kernel) return kernel.status();
  const int64_t taps = d.window.kh * d.window.kw;
  if (Status s = check_numerics(d.numerics, d.a, d.oc, taps); !s.ok()) return s;
  auto impl = std::make_shared<Impl>();
  const Window& w = impl->w = d.window;
  impl->oh = w.oh();
  impl->ow = w.ow();
  impl->macs = impl->oh * impl->ow * d.oc * taps;
  impl->types = {d.ic, d.oc, d.a, d.numerics.out, d.numerics.residual_dtype, d.numerics.has_residual};
  impl->kernel = *kernel;
  impl->copy = w.pad_top || w.pad_left || w.pad_bottom || w.pad_right;
  const PackFormat& format = (*kernel)->format;
  impl->packed = Buffer<char>(dwconv_bytes(format, taps, d.ic));
  Buffer<int32_t> sums;
  if (d.a != DType::f32) {
    impl->fill = d.numerics.a.zero_point;
    sums = Buffer<int32_t>(size_t(d.ic));
  }
  pack_dwconv(format, d.w, (*kernel)->b, taps, d.ic, impl->packed.get(), sums.get());
  impl->epilogue = Epilogue(d.numerics, d.a, d.oc, sums.get(), 1, format.a_offset);
  // Bands are for threads only: one thread runs through the bands of its range as if they were one.
  constexpr int64_t kBands = 16;
  impl->band_rows = ceil_div(impl->oh, std::min(impl->oh, kBands));
  impl->bands = ceil_div(impl->oh, impl->band_rows);
  return DepthwisePlan(std::move(impl));
} catch (const std::exception&) {
  return Status::error(Code::out_of_memory, "DepthwisePlan::create: no memory for %lld channels", static_cast<long long>(d.oc));
}

DepthwisePlan::DepthwisePlan(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

int64_t DepthwisePlan::tiles(int64_t batch) const noexcept { return batch < 1 ? 0 : batch * impl_->bands; }
size_t DepthwisePlan::workspace_bytes() const noexcept { return impl_->workspace_bytes(); }

Status DepthwisePlan::run(const ConvArgs& v, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept {
  if (Status s = check_pixels(impl_->w, impl_->types, v); !s.ok()) return s;
  if (Status s = check_tiles(tile_begin, tile_end, tiles(v.batch)); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  impl_->run(with_strides(impl_->types, v), tile_begin, tile_end, workspace);
  return {};
}

Status DepthwisePlan::run(const ConvArgs& v, void* workspace, const Parallel& parallel) const noexcept {
  if (Status s = check_parallel(parallel); !s.ok()) return s;
  if (Status s = check_pixels(impl_->w, impl_->types, v); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  const ConvArgs dense = with_strides(impl_->types, v);
  run_parallel(parallel, tiles(v.batch), double(v.batch) * double(impl_->macs), workspace, workspace_bytes(),
               [&](int64_t begin, int64_t end, void* own) { impl_->run(dense, begin, end, own); });
  return {};
}

const KernelInfo& DepthwisePlan::kernel() const noexcept { return *impl_->kernel; }
size_t DepthwisePlan::packed_bytes() const noexcept { return impl_->packed.bytes() + impl_->epilogue.bytes(); }
int64_t DepthwisePlan::macs() const noexcept { return impl_->macs; }

std::string DepthwisePlan::describe() const {
  const Impl& i = *impl_;
  return std::string(kernel().name) + ": depthwise, row by row " +
         (i.copy ? "from padded copies of the input rows" : "from the input in place") + ", " + std::to_string(i.bands) +
         " bands of " + std::to_string(i.band_rows) + " rows; " + std::to_string(packed_bytes()) + " bytes packed, workspace " +
         std::to_string(workspace_bytes()) + " bytes";
}

}  // namespace octavo
