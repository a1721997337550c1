// Weights to panels, in any PackFormat. The layout is pictured at PackFormat in octavo/ukernel.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/types.h"
#include "octavo/ukernel.h"

namespace octavo::detail {

// A block of weights: element (p, j) at data + p*row_stride + j*col_stride, in elements of `dtype` (s8 or f32).
struct WeightBlock {
  const void* data = nullptr;
  DType dtype = DType::s8;
  int64_t k = 0, n = 0;
  ptrdiff_t row_stride = 0, col_stride = 0;
};

// Writes the block to the rows [row, row + k) and columns [column, column + n) of one zeroed panel, and adds its column sums to
// sums[0..n) (null for f32).
void pack_block(const PackFormat&, const WeightBlock&, int64_t row, int64_t column, void* panel, int32_t* sums) noexcept;

// Depthwise weights [channels][taps] to blocks of nr channels: [ceil(taps/kr)][nr][kr] each, columns by column_of().
// `packed` is zeroed and holds dwconv_bytes(). sums: [channels] or null.
size_t dwconv_bytes(const PackFormat&, int64_t taps, int64_t channels) noexcept;
void pack_dwconv(const PackFormat&, const void* w, DType dtype, int64_t taps, int64_t channels, void* packed,
                 int32_t* sums) noexcept;

}  // namespace octavo::detail
