#include "src/window.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "src/plan.h"

namespace octavo::detail {

Status check_size(const char* name, int64_t value, int64_t least) noexcept {
  if (value >= least && value <= kMostSize) return {};
  return Status::error(Code::invalid_argument, "%s is %lld: must be in [%lld, %lld]", name, static_cast<long long>(value),
                       static_cast<long long>(least), static_cast<long long>(kMostSize));
}

Status check_window(const Window& w, int64_t channels) noexcept {
  if (Status s = check_sizes(w); !s.ok()) return s;
  const int64_t tall = w.ih + w.pad_top + w.pad_bottom, wide = w.iw + w.pad_left + w.pad_right;
  const int64_t reach_h = w.dilation_h * (w.kh - 1) + 1, reach_w = w.dilation_w * (w.kw - 1) + 1;
  if (reach_h > tall)
    return Status::error(Code::invalid_argument, "window.kh: the kernel spans %lld rows, the padded input has %lld",
                         static_cast<long long>(reach_h), static_cast<long long>(tall));
  if (reach_w > wide)
    return Status::error(Code::invalid_argument, "window.kw: the kernel spans %lld columns, the padded input has %lld",
                         static_cast<long long>(reach_w), static_cast<long long>(wide));
  int64_t bytes;
  if (__builtin_mul_overflow(tall, wide, &bytes) || __builtin_mul_overflow(bytes, 8 * channels, &bytes))
    return Status::error(Code::overflow, "window.ih, window.iw: %lld x %lld pixels of %lld channels do not fit a 64-bit size",
                         static_cast<long long>(tall), static_cast<long long>(wide), static_cast<long long>(channels));
  return {};
}

Status check_conv(const ConvDesc& d) noexcept {
  if (Status s = check_at_least("ic", d.ic, 1); !s.ok()) return s;
  if (Status s = check_at_least("oc", d.oc, 1); !s.ok()) return s;
  if (Status s = check_at_least("groups", d.groups, 1); !s.ok()) return s;
  if (d.ic % d.groups != 0 || d.oc % d.groups != 0)
    return Status::error(Code::invalid_argument, "groups is %lld: must divide ic (%lld) and oc (%lld)",
                         static_cast<long long>(d.groups), static_cast<long long>(d.ic), static_cast<long long>(d.oc));
  if (Status s = check_weights("w", d.w, d.packed); !s.ok()) return s;
  if (Status s = check_choice(d.choice); !s.ok()) return s;
  if (d.ic > kMostSize || d.oc > kMostSize)
    return Status::error(Code::overflow, "ic is %lld and oc is %lld: at most %lld", static_cast<long long>(d.ic),
                         static_cast<long long>(d.oc), static_cast<long long>(kMostSize));
  if (Status s = check_window(d.window, std::max(d.ic, d.oc)); !s.ok()) return s;
  // Packed weights hold up to 2 * 255 times what they hold dense: two bytes an element, one column of a panel in use.
  int64_t weights;
  if (__builtin_mul_overflow(d.ic * d.window.kh, d.window.kw, &weights) || __builtin_mul_overflow(weights, d.oc, &weights) ||
      __builtin_mul_overflow(weights, 4096, &weights) || __builtin_mul_overflow(weights, d.window.oh() * d.window.ow(), &weights))
    return Status::error(Code::overflow, "oc * ic * kh * kw: too many weights or products for 64 bits");
  return {};
}

Status check_pixels(const Window& w, const PixelTypes& t, const ConvArgs& v) noexcept {
  if (Status s = check_at_least("batch", v.batch, 0); !s.ok()) return s;
  int64_t in, out;
  if (__builtin_mul_overflow(v.batch, w.ih * w.iw, &in) || __builtin_mul_overflow(v.batch, w.oh() * w.ow(), &out))
    return Status::error(Code::overflow, "batch is %lld: too many pixels", static_cast<long long>(v.batch));
  const ConvArgs d = with_strides(t, v);
  if (Status s = check_rows("a", v.a, in, t.in * int64_t(size_of(t.a)), d.a_pixel_stride_bytes); !s.ok()) return s;
  if (Status s = check_rows("c", v.c, out, t.out * int64_t(size_of(t.c)), d.c_pixel_stride_bytes); !s.ok()) return s;
  if (t.has_residual)
    return check_rows("residual", v.residual, out, t.out * int64_t(size_of(t.residual)), d.residual_pixel_stride_bytes);
  if (v.residual) return residual_error();
  return {};
}

TapRange valid_taps(int64_t first, int64_t taps, int64_t dilation, int64_t size) noexcept {
  const int64_t begin = first >= 0 ? 0 : std::min(taps, ceil_div(-first, dilation));
  const int64_t end = first >= size ? 0 : std::min(taps, (size - 1 - first) / dilation + 1);
  return {begin, std::max(begin, end)};
}

std::vector<ColumnTaps> column_taps(const Window& w) {
  std::vector<ColumnTaps> columns;
  for (int64_t x = 0; x < w.ow(); ++x) {
    const TapRange taps = valid_taps(x * w.stride_w - w.pad_left, w.kw, w.dilation_w, w.iw);
    if (columns.empty() || taps != columns.back().taps) columns.push_back({x, x, taps});
    columns.back().end = x + 1;
  }
  return columns;
}
std::vector<ColumnTaps> row_taps(Window w) {
  w.iw = w.ih, w.kw = w.kh, w.stride_w = w.stride_h, w.dilation_w = w.dilation_h;
  w.pad_left = w.pad_top, w.pad_right = w.pad_bottom;
  return column_taps(w);
}

bool padding_adds_nothing(const ConvDesc& d, const float* weights, size_t n) noexcept {
  constexpr uint32_t kExponent = 0x7f800000;  // all of these bits: infinity or NaN
  uint32_t not_finite = 0;
  for (size_t i = 0; i < n; ++i) not_finite |= uint32_t((std::bit_cast<uint32_t>(weights[i]) & kExponent) == kExponent);
  const float* bias = d.numerics.bias_f32;
  return !not_finite && (!bias || std::none_of(bias, bias + d.oc, [](float b) { return b == 0 && std::signbit(b); }));
}

void copy_padded(const Window& w, const Region& r, const char* image, ptrdiff_t pixel_stride, int64_t pixel_bytes, int fill,
                 char* out, ptrdiff_t out_row) noexcept {
  const auto columns_before = [&r](int64_t x) {
    return std::clamp<int64_t>(ceil_div(std::max<int64_t>(x - r.x, 0), r.step_x), 0, r.cols);
  };
  const int64_t left = columns_before(0), real = columns_before(w.iw) - left, right = r.cols - left - real;
  const ptrdiff_t step = r.step_x * pixel_stride;
  for (int64_t i = 0; i < r.rows; ++i, out += out_row) {
    const int64_t y = r.y + i * r.step_y;
    if (y < 0 || y >= w.ih || real <= 0) {
      std::memset(out, fill, size_t(r.cols * pixel_bytes));
      continue;
    }
    std::memset(out, fill, size_t(left * pixel_bytes));
    char* to = out + left * pixel_bytes;
    const char* from = image + (y * w.iw + r.x + left * r.step_x) * pixel_stride;
    if (step == pixel_bytes) {
      std::memcpy(to, from, size_t(real * pixel_bytes));
      to += real * pixel_bytes;
    } else {
      for (int64_t x = 0; x < real; ++x, to += pixel_bytes, from += step) std::memcpy(to, from, size_t(pixel_bytes));
    }
    std::memset(to, fill, size_t(right * pixel_bytes));
  }
}

}  // namespace octavo::detail
