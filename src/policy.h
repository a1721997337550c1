// The policy: which kernel, algorithm, blocking and loop order a plan takes. It decides alone, from the shape, the facts of the
// kernels (octavo/ukernel.h) and the caches (src/caches.h), unless the caller decides (octavo/choice.h). No choice changes a result,
// and what a cache's size decides changes no packed weights. Functions that take `why` add their reasons to it, if it is not null.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/choice.h"
#include "octavo/conv.h"
#include "octavo/rowmat.h"
#include "octavo/ukernel.h"
#include "src/window.h"

namespace octavo::detail {

struct Weights;

Status check_choice(const Choice&) noexcept;

// The kernel that shares the panels of `kernel` and is made for short sums (KernelInfo::group), or null.
const KernelInfo* short_sum_kernel(const KernelInfo& kernel) noexcept;

// What calls of `rows` and more neighbouring rows are better served by.
struct ShortSums {
  const KernelInfo* kernel = nullptr;  // null: nothing
  int64_t rows = 0;
};
ShortSums short_sums(const Weights&, std::string* why = nullptr);

// Why weights.kernel is the plan's.
void explain_kernel(const KernelInfo&, bool asked, std::string* why);

// The one of weights.kernel and weights.short_sums for calls on `rows` neighbouring rows.
const KernelInfo& call_kernel(const Weights&, int64_t rows) noexcept;

// The most rows that one call should take, where rows of A are a_stride bytes and rows of C c_bytes apart.
int64_t call_rows(const Weights&, const KernelInfo&, int64_t k_bytes, ptrdiff_t a_stride, int64_t c_bytes) noexcept;

// A tile takes as long as one of so many rows at least: of a third of its height, whose loads of B are those of a full one, or of as many
// as have enough sums to wait for none.
int64_t least_rows(const KernelInfo&) noexcept;

// Cuts `rows` into calls: the next one's rows.
int64_t next_call(const KernelInfo&, int64_t most, int64_t rows) noexcept;

// The panels from p on, before `end`, that one call takes: neighbours in C, on the same values of A.
int64_t call_panels(const Weights&, const KernelInfo&, int64_t p, int64_t end) noexcept;

// How the m rows of a flat product are cut into blocks. A block's rows of A stay in a cache while the panels of B pass over
// them, `group` panels at a time. A tile of the plan is one block and one panel; panels run fastest.
struct FlatBlocks {
  const KernelInfo* kernel = nullptr;
  int64_t rows = 1, blocks = 0;  // of each block but the last
  int64_t group = 1;
};
constexpr int64_t kMaxGroup = 8;
FlatBlocks flat_blocks(const Weights&, int64_t m, std::string* why = nullptr);

// The grouped kernel for a convolution that would otherwise run on `kernel`, or null.
const KernelInfo* grouped_kernel(const ConvDesc&, const KernelInfo& kernel) noexcept;

// The same by F(4x4, 3x3), or null.
const KernelInfo* winograd_kernel(const ConvDesc&, const KernelInfo& kernel, std::string* why = nullptr);

struct ConvAlgorithm {
  bool flat = false;      // 1x1, stride 1, no padding: a flat product over all pixels
  bool winograd = false;  // tiles of 4x4 pixels by F(4x4, 3x3), from a copy
  bool copy = false;      // taps point into a copy of the input rows, with the padding filled in
  bool fused = false;     // one tap is a whole kernel row
  bool whole = false;     // taps on padding are computed too, wherever they are
  int64_t merged = 1;     // groups that share a panel
  int64_t taps = 1, k = 0;
  std::vector<ColumnTaps> columns;  // of an output row, by the kernel columns that take part: one entry if all do everywhere
};
// whole: results depend on taps that fall on padding.
ConvAlgorithm conv_algorithm(const ConvDesc&, const KernelInfo&, bool whole, std::string* why = nullptr);

// How an output image is cut into bands of rows and segments of columns. A tile of the plan is one of these and one panel.
struct ConvBlocks {
  int64_t band_rows = 1, bands = 1, segment_cols = 1, segments = 1;
  int64_t group = 1;        // panels of a call, if its kernel takes several
  bool rows_first = false;  // all panels pass over a row of pixels before the next row does; else all rows over a panel
};
ConvBlocks conv_blocks(const Window&, int64_t pixel_bytes, bool copy, const Weights&, std::string* why = nullptr);

// How the tiles of a winograd kernel are shared out to runs, none of which has more than one tile more than another. A tile of the plan
// is a run and a panel.
struct TileRuns {
  int64_t phases_y = 1, phases_x = 1;  // every dilation-th output pixel is an image by itself
  int64_t lines = 1, runs = 1;         // of each image; of each line, which is all tiles, row by row, or a row of them
  int64_t most = 1;                    // tiles of a run
  int64_t rows = 1, cols = 1;          // of tiles, that enclose any run
};
TileRuns winograd_runs(const Window&, const Weights&, std::string* why = nullptr);

struct DepthwiseBlocks {
  bool in_place = false;                   // from the image; else from padded copies
  bool skips = false;                      // kernels leave out what is not in the image; else edges are calls by themselves
  int64_t inner_begin = 0, inner_end = 0;  // the output columns whose windows have all their columns in the image
  int64_t call_rows = 1;                   // the most output rows of a kernel call
  int64_t row_step = 1;                    // DwconvArgs::stride_h: output rows share pointers if they share input rows
  int64_t band_rows = 1, bands = 1;        // a tile of the plan is a band of output rows
  int64_t fold = 1;                        // so many neighbouring pixels are one of as many times the channels
};
// may_skip: products with padding may be left out.
DepthwiseBlocks depthwise_blocks(const ConvDesc&, const KernelInfo&, bool may_skip, std::string* why = nullptr);

// Products of two run-time operands.
struct MatmulBlocks {
  int64_t tile_rows = 1;    // of a tile of the plan
  int64_t direct_rows = 0;  // products of no more rows than this read B as it lies, where it has a dense direction
};
MatmulBlocks matmul_blocks(const Weights&, const RowMatrixKernels*, const PanelKernels*, std::string* why = nullptr);

// Whether so many rows of C do not stay in L2, and a kernel had better ask for them before it writes them.
bool is_far(const Weights&, int64_t rows) noexcept;

// Less work than this is done before another thread has woken up.
constexpr double kMinParallelMacs = 200e3;

}  // namespace octavo::detail
