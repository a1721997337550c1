// The geometry of a sliding window: what convolutions and pools share.
#pragma once

#include "ops/common.h"

namespace octavo::ops {

// Along spatial dimension d, window position o and tap k meet at wide index o * stride + k * dilation - pad_begin.
// "wide" is the input of a convolution or pool (the output of a transposed one), "narrow" the other side.
struct Window {
  int rank = 0;   // number of spatial dimensions
  int64_t kernel[kMaxRank], stride[kMaxRank], dilation[kMaxRank], pad_begin[kMaxRank], pad_end[kMaxRank];
  int64_t wide[kMaxRank], narrow[kMaxRank];
  int64_t taps() const { return product(kernel); }
  int64_t wide_count() const { return product(wide); }
  int64_t narrow_count() const { return product(narrow); }

  int64_t product(const int64_t* v) const {
    int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= v[d];
    return n;
  }
};

// Fills strides, dilations and pads from the node (auto_pad resolved) and `narrow` from kernel and wide, which are set.
Status resolve_window(const Node& node, bool ceil_mode, Window& window);
// The same for ConvTranspose: fills `wide` from kernel and narrow.
Status resolve_transposed_window(const Node& node, Window& window);

// For one tap (its index in each dimension): f(wide offset, narrow offset, n) for each row of n positions whose wide
// index is in bounds; neighbours in a row are stride[rank - 1] apart on the wide side and 1 on the narrow side.
template <class F>
void for_tap_rows(const Window& w, const int64_t* tap, F&& f) {
  const int last = w.rank - 1;
  const int64_t stride = w.stride[last], shift = tap[last] * w.dilation[last] - w.pad_begin[last];
  // Positions o with 0 <= o * stride + shift < wide.
  const int64_t begin = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  const int64_t end = w.wide[last] > shift ? std::min(w.narrow[last], (w.wide[last] - shift - 1) / stride + 1) : 0;
  if (begin >= end) return;
  int64_t rows = 1, index[kMaxRank] = {};
  for (int d = 0; d < last; ++d) rows *= w.narrow[d];
  for (int64_t row = 0; row < rows; ++row) {
    bool inside = true;
    int64_t offset = 0;
    for (int d = 0; d < last; ++d) {
      const int64_t i = index[d] * w.stride[d] + tap[d] * w.dilation[d] - w.pad_begin[d];
      inside = inside && i >= 0 && i < w.wide[d];
      offset = inside ? offset * w.wide[d] + i : 0;
    }
    if (inside) f(offset * w.wide[last] + begin * stride + shift, row * w.narrow[last] + begin, end - begin);
    for (int d = last - 1; d >= 0; --d) {
      if (++index[d] < w.narrow[d]) break;
      index[d] = 0;
    }
  }
}

// f(tap's index in each dimension, its flat index), in row-major order.
template <class F>
void for_taps(const Window& w, F&& f) {
  int64_t tap[kMaxRank] = {};
  for (int64_t flat = 0, n = w.taps(); flat < n; ++flat) {
    f(tap, flat);
    for (int d = w.rank - 1; d >= 0; --d) {
      if (++tap[d] < w.kernel[d]) break;
      tap[d] = 0;
    }
  }
}

}  // namespace octavo::ops
