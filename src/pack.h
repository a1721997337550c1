// Weights to panels, in any PackFormat. The layout is pictured at PackFormat in octavo/ukernel.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/types.h"
#include "octavo/ukernel.h"

namespace octavo::detail {

// A block of weights: element (t, p, j) at data + t*tap_stride + p*row_stride + j*col_stride, in elements of `dtype` (s8 or f32).
struct WeightBlock {
  const void* data = nullptr;
  DType dtype = DType::s8;
  int64_t k = 0, n = 0;
  ptrdiff_t row_stride = 0, col_stride = 0;
  int64_t taps = 1;
  ptrdiff_t tap_stride = 0;
  bool flip = false;  // u8 elements, packed as s8: xor 0x80
};

// Writes each tap of the block to the rows [row, row + k) and columns [column, column + n) of a panel; the panel of tap t begins
// at panel + t*tap_bytes. Nothing else is written: the caller zeroes panels that a block does not fill.
void pack_block(const PackFormat&, const WeightBlock&, int64_t row, int64_t column, void* panel, size_t tap_bytes) noexcept;

// Adds the sums of the first n columns of a packed s8 panel of k rows to sums[0..n).
void add_column_sums(const PackFormat&, int64_t k, int64_t n, const void* panel, int32_t* sums) noexcept;

// Depthwise weights [channels][kh][kw] to blocks of nr channels: [dwconv_slots()/kr][nr][kr] each, columns by column_of().
// `packed` is zeroed and holds dwconv_bytes(). sums: [channels] or null.
size_t dwconv_bytes(const PackFormat&, int64_t kh, int64_t kw, int64_t channels) noexcept;
void pack_dwconv(const PackFormat&, const void* w, DType dtype, int64_t kh, int64_t kw, int64_t channels, void* packed,
                 int32_t* sums) noexcept;

}  // namespace octavo::detail
