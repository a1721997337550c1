// Decisions that a plan takes by its policy, taken by the caller instead: for benches that look for where the policy is wrong, and for
// tests that no decision changes a byte. Everything else leaves all of it unset, but for `winograd` where CompileOptions::compact asks for
// small weights. What a shape, a kernel or this machine does not offer
// is ignored: describe() says what was taken, and why. Out of range is invalid_argument.
#pragma once

#include <cstdint>
#include <optional>

namespace octavo {

struct Choice {
  std::optional<bool> short_sums;      // GEMM, convolution, matmul: long runs of rows go to the kernel for short sums
  std::optional<int64_t> block_rows;   // GEMM, flat convolution: rows of A in a block; other convolutions: output rows in a band
                                       // (tiles of 4x4 pixels: a run of as many as so many rows of pixels have); depthwise: output
                                       // rows of a call; matmul: rows of a tile of the plan. At least 1
  std::optional<int64_t> panel_group;  // GEMM, flat convolution: panels that pass over rows before the next rows come. 1 to 8
  std::optional<bool> flat;            // 1x1 convolution, stride 1, no padding: one product over all pixels, not row by row
  std::optional<bool> fused;           // convolution: a kernel row is one tap
  std::optional<bool> grouped;         // convolution: the kernel for groups of few channels
  std::optional<bool> winograd;        // convolution: tiles of 4x4 pixels by F(4x4, 3x3): fewer products, of words
  std::optional<bool> in_place;        // convolution: rows are cut where padding begins; depthwise: edges by themselves.
                                       // Else from padded copies of the input rows
  std::optional<bool> rows_first;      // convolution: all panels pass over a row of pixels before the next row does
  std::optional<bool> packed;          // matmul: B is packed, however few the rows
};

}  // namespace octavo
