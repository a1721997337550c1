// The inside of PackedWeights: a header, the column sums ([sum_rows][columns] int32), the panels; each on a cache line of its
// own.
#pragma once

#include <cstdint>

#include "octavo/packed.h"
#include "octavo/ukernel.h"

namespace octavo::detail {

// What packed weights are made for: all that a plan must agree in to use them.
struct PackedShape {
  int64_t convolution = 0, is_float = 0;
  int64_t nr = 0, kr = 0, elem_bytes = 0;  // the kernel's layout
  int64_t columns = 0, depth = 0;          // n, k; or oc, ic / groups
  int64_t kh = 1, kw = 1, groups = 1;
  int64_t panels = 0, taps = 1, k = 0;  // how many panels of how many taps of panel_bytes(format, k)
  int64_t sum_rows = 1;                 // 0 for f32
  friend bool operator==(const PackedShape&, const PackedShape&) = default;

  void set_kernel(const KernelInfo& kernel) noexcept {
    is_float = kernel.b == DType::f32;
    nr = kernel.format.nr, kr = kernel.format.kr, elem_bytes = kernel.format.elem_bytes;
  }
};

struct PackedAccess {
  // Memory for weights of this shape, the sums zeroed, the panels not. Throws std::bad_alloc.
  static PackedWeights make(const PackedShape&);
  // To fill what make() gave.
  static int32_t* sums(PackedWeights&) noexcept;
  static char* panels(PackedWeights&) noexcept;
};

// An error that names the first field in which the weights were not made for `shape`.
Status check_packed(const PackedWeights&, const PackedShape& shape, const KernelInfo& kernel) noexcept;

int64_t taps_of(const PackedWeights&) noexcept;            // 0 if there are none
const int32_t* sums_of(const PackedWeights&) noexcept;  // null for f32
const char* panels_of(const PackedWeights&) noexcept;

}  // namespace octavo::detail
