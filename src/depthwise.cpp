// Depthwise convolution, one kernel call for as many rows of output pixels as the kernel takes, in one of two ways.
// In place: pixels whose windows have all their columns in the image are computed from it, a row of fill standing for rows
// outside of it. The few columns at its edges come from padded copies of narrow strips, with one kernel call for a whole
// column of output pixels. Kernels of floats leave padding out: all pixels are computed from the image.
// From copies (small or not dense images with padding): the kernel reads copies of the input rows with the padding filled
// in, kept in a ring of as many rows as one call sees: each input row is copied once, just before it is needed. Where several
// output channels share an input channel, the copies hold it as many times.
// Neighbouring dense pixels of few channels are one pixel of more, whose window moves on by as many pixels (DepthwiseBlocks::fold).
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <vector>

#include "octavo/conv.h"
#include "src/numerics.h"
#include "src/pack.h"
#include "src/plan.h"
#include "src/run_pixels.h"
#include "src/window.h"

namespace octavo {
using namespace detail;

namespace {

// n elements of kBytes bytes, each kTimes times (0: `times`). The compiler makes vectors of what is constant.
template <size_t kBytes, int kTimes>
void repeat(const char* in, int64_t n, int64_t times, char* out) {
  if (kTimes) times = kTimes;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < times; ++k) std::memcpy(out + (i * times + k) * int64_t(kBytes), in + i * int64_t(kBytes), kBytes);
}
template <size_t kBytes>
void repeat(const char* in, int64_t n, int64_t times, char* out) {
  if (times == 2) return repeat<kBytes, 2>(in, n, times, out);
  if (times == 3) return repeat<kBytes, 3>(in, n, times, out);
  if (times == 4) return repeat<kBytes, 4>(in, n, times, out);
  if (times == 8) return repeat<kBytes, 8>(in, n, times, out);
  repeat<kBytes, 0>(in, n, times, out);
}

// p[0..n) so many times, one behind the other; nothing of nothing.
template <class T>
std::vector<T> tiled(const T* p, int64_t n, int64_t times) {
  std::vector<T> all;
  for (int64_t i = 0; p && i < times; ++i) all.insert(all.end(), p, p + n);
  return all;
}

// What a kernel call needs of the weights, for so many pixels taken as one.
struct Folded {
  Buffer<char> packed;
  Epilogue epilogue;
  Folded() = default;
  Folded(const ConvDesc& d, const KernelInfo& kernel, const EltwiseKernels* functions, int64_t pixels);
  size_t bytes() const noexcept { return packed.bytes() + epilogue.bytes(); }
};
Folded::Folded(const ConvDesc& d, const KernelInfo& kernel, const EltwiseKernels* functions, int64_t pixels) {
  const PackFormat& format = kernel.format;
  const Window& w = d.window;
  const int64_t n = d.oc * pixels;
  Numerics q = d.numerics;
  const std::vector<char> weights = tiled(static_cast<const char*>(d.w), d.oc * w.kh * w.kw * int64_t(size_of(kernel.b)), pixels);
  const std::vector<float> bias_f32 = tiled(q.bias_f32, d.oc, pixels);
  std::vector<float> scale;
  std::vector<int32_t> bias_s32;
  Buffer<int32_t> sums;
  if (q.bias_f32) q.bias_f32 = bias_f32.data();
  if (d.a != DType::f32) {  // or these are not read
    scale = tiled(q.w_scale, q.w_scale_count, q.w_scale_count > 1 ? pixels : 1);
    bias_s32 = tiled(q.bias_s32, d.oc, pixels);
    q.w_scale = scale.data(), q.w_scale_count = int64_t(scale.size());
    if (q.bias_s32) q.bias_s32 = bias_s32.data();
    sums = Buffer<int32_t>(size_t(n));
  }
  packed = Buffer<char>(dwconv_bytes(format, w.kh, w.kw, n));
  pack_dwconv(format, weights.data(), kernel.b, w.kh, w.kw, n, packed.get(), sums.get());
  epilogue = Epilogue(q, d.a, n, sums.get(), 1, format.a_offset, 0, functions);
}

}  // namespace

struct DepthwisePlan::Impl {
  ConvDesc d;  // without its pointers
  Window w;
  int64_t oh = 0, ow = 0, macs = 0;
  PixelTypes types;
  int fill = 0;
  const KernelInfo* kernel = nullptr;
  Folded single, folded;  // of one pixel; of DepthwiseBlocks::fold pixels, if that is more
  DepthwiseBlocks blocks;
  bool padded = false;  // in place with padding that is not skipped: only if the pixels are dense
  bool may_skip = false;

  static constexpr int64_t kStripRows = 16;  // output rows of a strip: of little memory, and yet of few calls

  int64_t pixel_bytes() const noexcept { return types.in * int64_t(size_of(types.a)); }
  int64_t copy_pixel_bytes() const noexcept { return types.out * int64_t(size_of(types.a)); }
  int64_t in_rows(int64_t out_rows) const noexcept { return detail::in_rows(w, out_rows); }
  int64_t in_cols(int64_t out_cols) const noexcept { return detail::in_cols(w, out_cols); }

  int64_t edge() const noexcept { return std::max(blocks.inner_begin, ow - blocks.inner_end); }  // columns of the wider one

  // The pointers of a call, then the ring, or the row of fill and a strip.
  size_t pointer_bytes() const noexcept { return align_up(size_t((blocks.call_rows - 1) * blocks.row_step + w.kh) * sizeof(void*)); }
  size_t fill_bytes() const noexcept { return align_up(size_t(in_cols(blocks.inner_end - blocks.inner_begin) * pixel_bytes())); }
  // What a call leaves for a function.
  size_t scratch_bytes() const noexcept {
    return single.epilogue.function().scratch_bytes(std::max(FunctionCalls::kSomeElements, blocks.call_rows * types.out));
  }
  size_t workspace_bytes() const noexcept { return scratch_bytes() + space_bytes(); }
  size_t space_bytes() const noexcept {
    if (blocks.in_place && (!padded || blocks.skips)) return pointer_bytes();
    const size_t ring = align_up(size_t(in_rows(blocks.call_rows) * in_cols(ow) * copy_pixel_bytes()));
    const size_t strip = edge() ? size_t(in_rows(std::min(oh, kStripRows)) * in_cols(edge()) * pixel_bytes()) : 0;
    return pointer_bytes() + (blocks.in_place ? std::max(ring, fill_bytes() + align_up(strip)) : ring);
  }
  void run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept;
  void call(DwconvArgs& g, const char** pointers, float* scratch) const noexcept;
  void call_folded(const DwconvArgs& g, const char** pointers) const noexcept;

  // Rows [y, y_end) of the output of one image.
  struct Rows {
    const char* in;  // the image
    int64_t y, y_end;
    char* c;               // output row y
    const char* residual;  // of row y, or null
    const char** pointers;
    char* space;
    float* scratch;
  };
  void run_copies(const Rows&, DwconvArgs g, EpilogueArgs epi, ptrdiff_t pixel_stride) const noexcept;
  void copy_repeated(int64_t iy, int64_t cols, const char* image, ptrdiff_t pixel_stride, char* out) const noexcept;
  void run_in_place(const Rows&, DwconvArgs g, EpilogueArgs epi, ptrdiff_t pixel_stride) const noexcept;
  void run_edge(const Rows&, DwconvArgs g, EpilogueArgs epi, int64_t x, int64_t x_end) const noexcept;

  // The pointers of output rows [y, y + rows): row_at(iy) is where the input row iy, possibly outside of the image, is read.
  template <class RowAt>
  void point(const char** pointers, int64_t y, int64_t rows, const RowAt& row_at) const noexcept {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t ky = r == 0 ? 0 : w.kh - blocks.row_step; ky < w.kh; ++ky)
        pointers[r * blocks.row_step + ky] = row_at((y + r) * w.stride_h - w.pad_top + ky * w.dilation_h);
  }
};

void DepthwisePlan::Impl::call(DwconvArgs& g, const char** pointers, float* scratch) const noexcept {
  const FunctionCalls& function = single.epilogue.function();
  if (function) [[unlikely]]
    return function.run(*kernel, g, pointers, (g.m - 1) * blocks.row_step + w.kh, scratch);
  const bool dense = g.stride_w == 1 && g.pixel_stride_bytes == copy_pixel_bytes() &&
                     g.c_stride_bytes == types.out * int64_t(size_of(types.c));
  blocks.fold > 1 && dense && g.n >= blocks.fold ? call_folded(g, pointers) : kernel->dwconv(&g);
}

// Pixels that are left over are computed once more with some before them. `pointers`, which are g.rows, are moved.
void DepthwisePlan::Impl::call_folded(const DwconvArgs& g, const char** pointers) const noexcept {
  const EpilogueArgs epi = folded.epilogue.args(0);
  DwconvArgs f = g;
  f.w = folded.packed.get(), f.epi = &epi;
  f.n = g.n / blocks.fold, f.channels = g.channels * blocks.fold;
  f.stride_w = int32_t(blocks.fold), f.c_stride_bytes = g.c_stride_bytes * blocks.fold;
  kernel->dwconv(&f);
  if (g.n % blocks.fold == 0) return;
  const int64_t last = g.n - blocks.fold;
  for (int64_t i = 0; i < (g.m - 1) * blocks.row_step + w.kh; ++i) pointers[i] += last * g.pixel_stride_bytes;
  f.n = 1, f.c = static_cast<char*>(g.c) + last * g.c_stride_bytes;
  kernel->dwconv(&f);
}

// A padded row of `cols` pixels, each channel as many times as output channels see it.
void DepthwisePlan::Impl::copy_repeated(int64_t iy, int64_t cols, const char* image, ptrdiff_t pixel_stride,
                                        char* out) const noexcept {
  const bool row = iy >= 0 && iy < w.ih;
  for (int64_t x = -w.pad_left; x < cols - w.pad_left; ++x, out += copy_pixel_bytes()) {
    if (row && x >= 0 && x < w.iw) {
      const char* in = image + (iy * w.iw + x) * pixel_stride;
      types.a == DType::f32 ? repeat<4>(in, types.in, types.out / types.in, out)
                            : repeat<1>(in, types.in, types.out / types.in, out);
    } else {
      std::memset(out, fill, size_t(copy_pixel_bytes()));
    }
  }
}

void DepthwisePlan::Impl::run_copies(const Rows& r, DwconvArgs g, EpilogueArgs epi, ptrdiff_t pixel_stride) const noexcept {
  g.epi = &epi;
  g.pixel_stride_bytes = copy_pixel_bytes();
  const int64_t cols = in_cols(ow), row_bytes = cols * copy_pixel_bytes(), ring = in_rows(blocks.call_rows);
  int64_t copied = r.y * w.stride_h - w.pad_top;  // the rows before this one are in the ring, those of them that are needed
  for (int64_t y = r.y; y < r.y_end; y += g.m) {
    g.m = int32_t(std::min(blocks.call_rows, r.y_end - y));
    const auto place = [&](int64_t iy) { return r.space + (iy + w.pad_top) % ring * row_bytes; };
    const int64_t top = y * w.stride_h - w.pad_top, end = top + in_rows(g.m);
    for (int64_t iy = std::max(copied, top); iy < end; ++iy) {
      if (types.in == types.out) {
        copy_padded(w, {iy, -w.pad_left, 1, cols}, r.in, pixel_stride, pixel_bytes(), fill, place(iy));
      } else {
        copy_repeated(iy, cols, r.in, pixel_stride, place(iy));
      }
    }
    copied = end;
    point(r.pointers, y, g.m, place);
    g.c = r.c + (y - r.y) * g.c_row_stride_bytes;
    if (r.residual) epi.residual = r.residual + (y - r.y) * g.residual_row_stride_bytes;
    call(g, r.pointers, r.scratch);
  }
}

// Columns [x, x_end): the output pixels of a column are one kernel call, the strip's width times stride_h pixels apart.
void DepthwisePlan::Impl::run_edge(const Rows& r, DwconvArgs g, EpilogueArgs epi, int64_t x, int64_t x_end) const noexcept {
  if (x >= x_end) return;
  const int64_t cols = in_cols(x_end - x), pixel = pixel_bytes();
  char* strip = r.space + fill_bytes();
  copy_padded(w, {r.y * w.stride_h - w.pad_top, x * w.stride_w - w.pad_left, in_rows(r.y_end - r.y), cols}, r.in, pixel, pixel,
              fill, strip);
  const ptrdiff_t c_pixel = g.c_stride_bytes, residual_pixel = epi.residual_stride_bytes;
  g.epi = &epi;
  g.n = r.y_end - r.y;
  g.pixel_stride_bytes = pixel;
  g.stride_w = int32_t(w.stride_h * cols);
  g.c_stride_bytes = ow * c_pixel;
  epi.residual_stride_bytes = ow * residual_pixel;
  for (int64_t i = x; i < x_end; ++i) {
    for (int64_t ky = 0; ky < w.kh; ++ky) r.pointers[ky] = strip + (ky * w.dilation_h * cols + (i - x) * w.stride_w) * pixel;
    g.c = r.c + i * c_pixel;
    if (r.residual) epi.residual = r.residual + i * residual_pixel;
    call(g, r.pointers, r.scratch);
  }
}

void DepthwisePlan::Impl::run_in_place(const Rows& r, DwconvArgs g, EpilogueArgs epi, ptrdiff_t pixel_stride) const noexcept {
  run_edge(r, g, epi, 0, blocks.inner_begin);
  run_edge(r, g, epi, blocks.inner_end, ow);
  g.epi = &epi;
  g.pixel_stride_bytes = pixel_stride;
  if (blocks.skips) g.pad_left = w.pad_left, g.columns = w.iw;
  g.n = blocks.inner_end - blocks.inner_begin;
  for (int64_t y = r.y; y < r.y_end; y += g.m) {
    g.m = int32_t(std::min(blocks.call_rows, r.y_end - y));
    point(r.pointers, y, g.m, [&](int64_t iy) {
      const bool inside = iy >= 0 && iy < w.ih;
      const int64_t first = blocks.skips ? 0 : blocks.inner_begin * w.stride_w - w.pad_left;
      return inside ? r.in + (iy * w.iw + first) * pixel_stride : blocks.skips ? nullptr : r.space;
    });
    const int64_t first = (y - r.y) * ow + blocks.inner_begin;
    g.c = r.c + first * g.c_stride_bytes;
    if (r.residual) epi.residual = r.residual + first * epi.residual_stride_bytes;
    call(g, r.pointers, r.scratch);
  }
}

void DepthwisePlan::Impl::run(const ConvArgs& v, int64_t begin, int64_t end, void* workspace) const noexcept {
  char* space = static_cast<char*>(workspace) + scratch_bytes();
  const char** pointers = reinterpret_cast<const char**>(space);
  space += pointer_bytes();
  EpilogueArgs epi = single.epilogue.args(0);
  epi.residual_stride_bytes = v.residual_pixel_stride_bytes;
  DwconvArgs g;
  g.rows = reinterpret_cast<const void* const*>(pointers);
  g.kh = int32_t(w.kh);
  g.kw = int32_t(w.kw);
  g.stride_h = int32_t(blocks.row_step);
  g.stride_w = int32_t(w.stride_w);
  g.dilation_w = int32_t(w.dilation_w);
  g.n = ow;
  g.channels = types.out;
  g.w = single.packed.get();
  g.c_stride_bytes = v.c_pixel_stride_bytes;
  g.c_row_stride_bytes = ow * v.c_pixel_stride_bytes;
  g.residual_row_stride_bytes = ow * v.residual_pixel_stride_bytes;
  const bool here = blocks.in_place && (!padded || blocks.skips || v.a_pixel_stride_bytes == pixel_bytes());
  if (here && padded && !blocks.skips) std::memset(space, fill, fill_bytes());
  const int64_t first = begin / blocks.bands * oh + begin % blocks.bands * blocks.band_rows;
  const int64_t last = end / blocks.bands * oh + std::min(oh, end % blocks.bands * blocks.band_rows);
  for (int64_t row = first; row < last;) {
    const int64_t image = row / oh, y = row % oh, y_end = std::min({oh, y + last - row, here ? y + kStripRows : oh});
    const char* residual = static_cast<const char*>(v.residual);
    const Rows r{static_cast<const char*>(v.a) + image * w.ih * w.iw * v.a_pixel_stride_bytes,
                 y,
                 y_end,
                 static_cast<char*>(v.c) + row * ow * v.c_pixel_stride_bytes,
                 residual ? residual + row * ow * v.residual_pixel_stride_bytes : nullptr,
                 pointers,
                 space,
                 static_cast<float*>(workspace)};
    here ? run_in_place(r, g, epi, v.a_pixel_stride_bytes) : run_copies(r, g, epi, v.a_pixel_stride_bytes);
    row += y_end - y;
  }
}

Expected<DepthwisePlan> DepthwisePlan::create(const ConvDesc& d) noexcept try {
  if (Status s = check_conv(d); !s.ok()) return s;
  if (d.packed) return Status::error(Code::unsupported, "packed is set: depthwise weights are packed by each plan");
  if (d.groups != d.ic)
    return Status::error(Code::invalid_argument, "groups is %lld: must be equal to ic (%lld)", static_cast<long long>(d.groups),
                         static_cast<long long>(d.ic));
  const Expected<const KernelInfo*> kernel = choose_kernel(Op::dwconv, d.a, d.kernel, d.use_isa, d.isa);
  if (!kernel) return kernel.status();
  const int64_t taps = d.window.kh * d.window.kw;
  if (Status s = check_numerics(d.numerics, d.a, d.oc, taps); !s.ok()) return s;
  const Expected<const EltwiseKernels*> functions = function_kernels(d.numerics, d.use_isa, d.isa);
  if (!functions) return functions.status();
  auto impl = std::make_shared<Impl>();
  impl->d = d;
  impl->d.w = nullptr, impl->d.numerics = {};
  impl->d.numerics.has_residual = d.numerics.has_residual, impl->d.numerics.function = d.numerics.function;
  const Window& w = impl->w = d.window;
  impl->oh = w.oh();
  impl->ow = w.ow();
  impl->macs = impl->oh * impl->ow * d.oc * taps;
  impl->types = {d.ic, d.oc, d.a, d.numerics.out, d.numerics.residual_dtype, d.numerics.has_residual};
  impl->kernel = *kernel;
  impl->padded = w.pad_top || w.pad_left || w.pad_bottom || w.pad_right;
  impl->may_skip = d.a == DType::f32 && padding_adds_nothing(d, static_cast<const float*>(d.w), size_t(d.oc * w.kh * w.kw));
  impl->blocks = depthwise_blocks(d, **kernel, impl->may_skip);
  if (d.a != DType::f32) impl->fill = d.numerics.a.zero_point;
  impl->single = Folded(d, **kernel, *functions, 1);
  if (impl->blocks.fold > 1) impl->folded = Folded(d, **kernel, *functions, impl->blocks.fold);
  return DepthwisePlan(std::move(impl));
} catch (const std::exception&) {
  return Status::error(Code::out_of_memory, "DepthwisePlan::create: no memory for %lld channels", static_cast<long long>(d.oc));
}

DepthwisePlan::DepthwisePlan(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

int64_t DepthwisePlan::tiles(int64_t batch) const noexcept { return batch < 1 ? 0 : batch * impl_->blocks.bands; }
size_t DepthwisePlan::workspace_bytes() const noexcept { return impl_->workspace_bytes(); }

Status DepthwisePlan::run(const ConvArgs& v, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept {
  return run_tiles(*impl_, v, tile_begin, tile_end, tiles(v.batch), workspace);
}

Status DepthwisePlan::run(const ConvArgs& v, void* workspace, const Parallel& parallel) const noexcept {
  return run_all(*impl_, v, {tiles(v.batch)}, workspace, parallel);
}

const KernelInfo& DepthwisePlan::kernel() const noexcept { return *impl_->kernel; }
size_t DepthwisePlan::packed_bytes() const noexcept { return impl_->single.bytes() + impl_->folded.bytes(); }
int64_t DepthwisePlan::macs() const noexcept { return impl_->macs; }

std::string DepthwisePlan::describe() const {
  std::string why;
  explain_kernel(kernel(), impl_->d.kernel, &why);
  depthwise_blocks(impl_->d, kernel(), impl_->may_skip, &why);
  return std::string(kernel().name) + ": depthwise, " + std::to_string(packed_bytes()) + " bytes packed, workspace " +
         std::to_string(workspace_bytes()) + " bytes. " + why;
}

}  // namespace octavo
