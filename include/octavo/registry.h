// The one list of kernels: it feeds dispatch, tests and benches.
#pragma once

#include <span>
#include <string_view>

#include "octavo/ukernel.h"

namespace octavo {

// All kernels in this binary, in priority order: among the eligible rows of an (op, a, b) the first one wins.
std::span<const KernelInfo> kernels() noexcept;

// The row of that name, or null.
const KernelInfo* find_kernel(std::string_view name) noexcept;

// The first row for (op, a, b) that is not test_only and whose needs are covered by `isa`; null if there is none. A grouped or winograd
// kernel takes over from a brgemm kernel: only one that needs the same is of use.
const KernelInfo* best_kernel(Op op, DType a, DType b, Isa isa) noexcept;

}  // namespace octavo
