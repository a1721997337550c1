#include "src/function.h"

#include <algorithm>
#include <limits>

namespace octavo::detail {

Numerics before_function(Numerics n) noexcept {
  if (!n.function) return n;
  n.function.reset();
  n.out = DType::f32;
  n.lo = Numerics().lo;
  n.hi = Numerics().hi;
  return n;
}

void FunctionCalls::finish(float* v, ptrdiff_t v_stride, int64_t rows, int64_t n, char* c, ptrdiff_t c_stride) const noexcept {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const auto apply = [&](float* x, int64_t count) {
    kernels_->unary(function_.op, x, x, size_t(count), function_.alpha, function_.beta);
    if (lo_ > -kInf || hi_ < kInf) kernels_->clamp(x, x, size_t(count), lo_, hi_);
  };
  const bool dense = v_stride == n * ptrdiff_t(sizeof(float));
  if (dense) apply(v, rows * n);
  if (dense && c_stride == n * ptrdiff_t(size_of(out_))) n *= rows, rows = 1;
  for (int64_t r = 0; r < rows; ++r) {
    float* row = reinterpret_cast<float*>(reinterpret_cast<char*>(v) + r * v_stride);
    if (!dense) apply(row, n);
    if (out_ != DType::f32) kernels_->quantize(row, c + r * c_stride, out_, size_t(n), out_q_.scale, out_q_.zero_point);
  }
}

void FunctionCalls::run(const KernelInfo& kernel, BrgemmArgs& g, float* scratch) const noexcept {
  void* const c = g.c;
  const ptrdiff_t c_stride = g.c_stride_bytes;
  if (out_ != DType::f32) g.c = scratch, g.c_stride_bytes = g.n * ptrdiff_t(sizeof(float));
  kernel.brgemm(&g);
  finish(static_cast<float*>(g.c), g.c_stride_bytes, g.m, g.n, static_cast<char*>(c), c_stride);
  g.c = c;
  g.c_stride_bytes = c_stride;
}

void FunctionCalls::run(const KernelInfo& kernel, WinogradArgs& g, float* scratch) const noexcept {
  const WinogradArgs all = g;
  if (out_ != DType::f32) {
    g.c = scratch;
    g.c_pixel_stride_bytes = g.n * ptrdiff_t(sizeof(float));
    g.c_row_stride_bytes = g.w * g.c_pixel_stride_bytes;
  }
  kernel.winograd(&g);
  each_tile_row(g, [&](int64_t row, int64_t first, int64_t tiles) {
    const int64_t x = 4 * first, pixels = std::min<int64_t>(4 * tiles, g.w - x);
    for (int64_t y = 4 * row; y < std::min<int64_t>(4 * row + 4, g.h); ++y)
      finish(reinterpret_cast<float*>(static_cast<char*>(g.c) + y * g.c_row_stride_bytes + x * g.c_pixel_stride_bytes),
             g.c_pixel_stride_bytes, pixels, g.n,
             static_cast<char*>(all.c) + y * all.c_row_stride_bytes + x * all.c_pixel_stride_bytes, all.c_pixel_stride_bytes);
  });
  g = all;
}

void FunctionCalls::run(const KernelInfo& kernel, DwconvArgs& g, const char** rows, int64_t pointers,
                        float* scratch) const noexcept {
  const DwconvArgs all = g;
  const int64_t most = std::max<int64_t>(1, kSomeElements / (g.m * g.channels));
  const auto move = [&](int64_t pixels) {
    if (kernel.a == DType::f32) {
      g.pad_left -= pixels * g.stride_w;
      return;
    }
    for (int64_t p = 0; p < pointers; ++p) rows[p] += pixels * g.stride_w * g.pixel_stride_bytes;
  };
  for (int64_t x = 0; x < all.n; x += g.n) {
    if (x > 0) move(g.n);
    g.n = std::min(most, all.n - x);
    char* c = static_cast<char*>(all.c) + x * all.c_stride_bytes;
    g.c = c;
    if (out_ != DType::f32) {
      g.c = scratch;
      g.c_stride_bytes = g.channels * ptrdiff_t(sizeof(float));
      g.c_row_stride_bytes = g.n * g.c_stride_bytes;
    }
    kernel.dwconv(&g);
    for (int64_t r = 0; r < g.m; ++r)
      finish(reinterpret_cast<float*>(static_cast<char*>(g.c) + r * g.c_row_stride_bytes), g.c_stride_bytes, g.n, g.channels,
             c + r * all.c_row_stride_bytes, all.c_stride_bytes);
  }
  move(g.n - all.n);
  g = all;
}

}  // namespace octavo::detail
