// The policy: which kernel, algorithm, blocking and loop order a plan takes. It decides alone, from the shape, the facts of the
// kernels (octavo/ukernel.h) and the caches of the smaller cores about. No choice changes a result.
#pragma once

#include <cstdint>
#include <string>

#include "octavo/conv.h"
#include "octavo/ukernel.h"

namespace octavo::detail {

struct Weights;

// The kernel that shares the panels of `kernel` and is made for short sums (KernelInfo::group), or null.
const KernelInfo* short_sum_kernel(const KernelInfo& kernel) noexcept;

// The one of weights.kernel and weights.short_sums for calls on `rows` neighbouring rows.
const KernelInfo& call_kernel(const Weights&, int64_t rows) noexcept;

// For describe(): what call_kernel() does, or nothing if there is no choice.
std::string describe_short_sums(const Weights&);

// The most rows that one call should take, where rows of A are a_stride bytes and rows of C c_bytes apart.
int64_t call_rows(const KernelInfo&, int64_t k_bytes, ptrdiff_t a_stride, int64_t c_bytes) noexcept;

// Cuts `rows` into calls: the next one's rows.
int64_t next_call(const KernelInfo&, int64_t most, int64_t rows) noexcept;

// How the m rows of a flat product are cut into blocks. A block's rows of A stay in a cache while the panels of B pass over
// them, `group` panels at a time. A tile of the plan is one block and one panel; panels run fastest.
struct FlatBlocks {
  const KernelInfo* kernel = nullptr;
  int64_t rows = 1, blocks = 0;  // of each block but the last
  int64_t group = 1;
};
constexpr int64_t kMaxGroup = 8;
FlatBlocks flat_blocks(const Weights&, int64_t m) noexcept;

// The grouped kernel for a convolution that would otherwise run on `kernel`, or null.
const KernelInfo* grouped_kernel(const ConvDesc&, const KernelInfo& kernel) noexcept;

struct ConvAlgorithm {
  bool flat = false;      // 1x1, stride 1, no padding: a flat product over all pixels
  bool copy = false;      // taps point into a copy of the input rows, with the padding filled in
  bool fused = false;     // one tap is a whole kernel row
  int64_t merged = 1;     // groups that share a panel
  int64_t taps = 1, k = 0;
};
ConvAlgorithm conv_algorithm(const ConvDesc&, const KernelInfo&) noexcept;

// How an output image is cut into bands of rows and segments of columns. A tile of the plan is one of these and one panel.
struct ConvBlocks {
  int64_t band_rows = 1, bands = 1, segment_cols = 1, segments = 1;
  bool rows_first = false;  // all panels pass over a row of pixels before the next row does; else all rows over a panel
};
ConvBlocks conv_blocks(const Window&, int64_t pixel_bytes, const Weights&) noexcept;

}  // namespace octavo::detail
