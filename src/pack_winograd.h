// Weights of 3x3 convolutions to the panels of winograd kernels.
#pragma once

#include <cstdint>

#include "octavo/ukernel.h"

namespace octavo::detail {

// n columns (nr or fewer) [n][ic][3][3] to a panel, all of which is written: [36][ceil(ic/kr)][nr][kr] words. Adds the sum of each
// column's weights to sums[0..n).
void pack_winograd(const PackFormat&, const int8_t* w, int64_t ic, int64_t n, void* panel, int32_t* sums) noexcept;

}  // namespace octavo::detail
