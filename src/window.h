// The geometry that convolutions, depthwise convolutions and pools share: checks, valid taps, padded copies of input rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "octavo/conv.h"
#include "octavo/types.h"

namespace octavo::detail {

// Sizes from `least` on and below 2^31: every product of two of them fits int64.
constexpr int64_t kMostSize = INT32_MAX;
Status check_size(const char* name, int64_t value, int64_t least) noexcept;
// The fields that a Window and a TransposedWindow have.
template <class W>
Status check_sizes(const W& w) noexcept {
  const struct {
    const char* name;
    int64_t value, least;
  } fields[] = {
      {"window.ih", w.ih, 1},
      {"window.iw", w.iw, 1},
      {"window.kh", w.kh, 1},
      {"window.kw", w.kw, 1},
      {"window.stride_h", w.stride_h, 1},
      {"window.stride_w", w.stride_w, 1},
      {"window.dilation_h", w.dilation_h, 1},
      {"window.dilation_w", w.dilation_w, 1},
      {"window.pad_top", w.pad_top, 0},
      {"window.pad_left", w.pad_left, 0},
      {"window.pad_bottom", w.pad_bottom, 0},
      {"window.pad_right", w.pad_right, 0},
  };
  for (const auto& f : fields)
    if (Status s = check_size(f.name, f.value, f.least); !s.ok()) return s;
  return {};
}
// Every field of the window, and that one image of `channels` elements of 8 bytes fits a 64-bit offset.
Status check_window(const Window&, int64_t channels) noexcept;

// The descriptor of a convolution but its kernel and numerics.
Status check_conv(const ConvDesc&) noexcept;

// Floats: whether products with padding, which is 0, leave all results as they are. Those of an infinite weight or NaN do not; others may
// make a sum of -0, which only products that underflowed leave, one of 0, and a bias of -0 shows it. n weights, in any order.
bool padding_adds_nothing(const ConvDesc&, const float* weights, size_t n) noexcept;

// ConvArgs against a plan: `in` and `out` channels and element types. residual may be set if and only if has_residual is.
struct PixelTypes {
  int64_t in = 0, out = 0;
  DType a = DType::u8, c = DType::u8, residual = DType::u8;
  bool has_residual = false;
};
Status check_pixels(const Window&, const PixelTypes&, const ConvArgs&) noexcept;
// The pixel strides with 0 replaced by the dense ones.
inline ConvArgs with_strides(const PixelTypes& t, ConvArgs v) noexcept {
  if (v.a_pixel_stride_bytes == 0) v.a_pixel_stride_bytes = t.in * ptrdiff_t(size_of(t.a));
  if (v.c_pixel_stride_bytes == 0) v.c_pixel_stride_bytes = t.out * ptrdiff_t(size_of(t.c));
  if (v.residual_pixel_stride_bytes == 0) v.residual_pixel_stride_bytes = t.out * ptrdiff_t(size_of(t.residual));
  return v;
}

// The kernel taps [begin, end) that fall into [0, size) where tap 0 is at `first`.
struct TapRange {
  int64_t begin, end;
  friend bool operator==(const TapRange&, const TapRange&) = default;
};
TapRange valid_taps(int64_t first, int64_t taps, int64_t dilation, int64_t size) noexcept;

// Columns [begin, end) of every output row, for which the same kernel columns fall into the image: all of them, from left to right.
struct ColumnTaps {
  int64_t begin, end;
  TapRange taps;
};
std::vector<ColumnTaps> column_taps(const Window&);
// The same for the output rows of an image, by kernel rows.
std::vector<ColumnTaps> row_taps(Window);

// Input rows and columns that n neighbouring output ones span.
inline int64_t in_rows(const Window& w, int64_t n) noexcept { return (n - 1) * w.stride_h + (w.kh - 1) * w.dilation_h + 1; }
inline int64_t in_cols(const Window& w, int64_t n) noexcept { return (n - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1; }
// The same without rows that none of them sees: what far kernel rows see is by itself. tap_rows: from one kernel row's to the next.
inline int64_t tap_rows(const Window& w, int64_t n) noexcept { return std::min(w.dilation_h, (n - 1) * w.stride_h + 1); }
inline int64_t seen_rows(const Window& w, int64_t n) noexcept { return (n - 1) * w.stride_h + (w.kh - 1) * tap_rows(w, n) + 1; }

// A rectangle of an input image, or every so manieth pixel of one, its origin possibly outside of the image.
struct Region {
  int64_t y = 0, x = 0, rows = 0, cols = 0;
  int64_t step_y = 1, step_x = 1;
};
// Copies a region of an image to dense pixels of pixel_bytes, in rows out_row bytes apart. What lies outside of the image is filled
// with `fill`.
void copy_padded(const Window&, const Region&, const char* image, ptrdiff_t pixel_stride, int64_t pixel_bytes, int fill, char* out,
                 ptrdiff_t out_row) noexcept;
inline void copy_padded(const Window& w, const Region& r, const char* image, ptrdiff_t pixel_stride, int64_t pixel_bytes, int fill,
                        char* out) noexcept {
  copy_padded(w, r, image, pixel_stride, pixel_bytes, fill, out, r.cols * pixel_bytes);
}

}  // namespace octavo::detail
