// The geometry that convolutions, depthwise convolutions and pools share: checks, valid taps, padded copies of input rows.
#pragma once

#include <cstdint>

#include "octavo/conv.h"
#include "octavo/types.h"

namespace octavo::detail {

// Every field of the window, and that one image of `channels` elements of 8 bytes fits a 64-bit offset.
Status check_window(const Window&, int64_t channels) noexcept;

// The descriptor of a convolution but its kernel and numerics.
Status check_conv(const ConvDesc&) noexcept;

// ConvArgs against a plan: `in` and `out` channels and element types. residual may be set if and only if has_residual is.
struct PixelTypes {
  int64_t in = 0, out = 0;
  DType a = DType::u8, c = DType::u8, residual = DType::u8;
  bool has_residual = false;
};
Status check_pixels(const Window&, const PixelTypes&, const ConvArgs&) noexcept;
// The pixel strides with 0 replaced by the dense ones.
ConvArgs with_strides(const PixelTypes&, ConvArgs) noexcept;

// The kernel taps [begin, end) that fall into [0, size) where tap 0 is at `first`.
struct TapRange {
  int64_t begin, end;
};
TapRange valid_taps(int64_t first, int64_t taps, int64_t dilation, int64_t size) noexcept;

// A rectangle of an input image, its origin possibly outside of the image.
struct Region {
  int64_t y = 0, x = 0, rows = 0, cols = 0;
};
// Copies a region of an image to dense pixels of pixel_bytes. What lies outside of the image is filled with `fill`.
void copy_padded(const Window&, const Region&, const char* image, ptrdiff_t pixel_stride, int64_t pixel_bytes, int fill,
                 char* out) noexcept;

}  // namespace octavo::detail
