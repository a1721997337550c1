// Where a function of one element is flat: bytes spent there say nothing.
#pragma once

#include "pointwise.h"

namespace octavo {

struct RealRange {
  float lo, hi;
};

// The part of `range` that the region's function looks at: beyond either end of it the function differs from its value at that end
// by no more than `tolerance`. HardSwish: -3 to the upper end; Sigmoid: as far as it is not yet 0 or 1. As it stands where the
// function cannot be computed, or is flat all over. Looks at 1025 points of the range.
RealRange curved_range(const Graph& graph, const PointwiseRegion& region, RealRange range, float tolerance);

}  // namespace octavo
