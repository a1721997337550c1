// Weights of convolutions to the panels of winograd kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/conv.h"
#include "octavo/ukernel.h"

namespace octavo::detail {

// A convolution as a sum of 3x3 ones of stride 1: the kernel's taps (y + i * stride_h, x + j * stride_w) for i, j < 3, those
// outside of it being 0. They see every stride-th input pixel from (y, x) on.
struct WinogradPiece {
  int64_t y, x;
};
std::vector<WinogradPiece> winograd_pieces(const Window&);

// n columns (nr or fewer) [n][ic][kh][kw] to a panel, all of which is written: [36][pieces][ceil(ic/kr)][nr][kr] words. Adds the
// sum of each column's weights to sums[0..n).
void pack_winograd(const PackFormat&, const Window&, const std::vector<WinogradPiece>&, const int8_t* w, int64_t ic, int64_t n,
                   void* panel, int32_t* sums) noexcept;

}  // namespace octavo::detail
