// Operators whose result at a place depends on the operands at that place alone, computed on chosen values.
#pragma once

#include <vector>

#include "net.h"

namespace octavo::net {

// Each element of the result depends on the elements of the operands at the same place, and on nothing else.
bool is_pointwise(const Op& op);

// The result of the last of `ops`, producers first, where the floats `x` are what all operands but constant scalars are computed
// from. Empty: one of the operators cannot be evaluated so.
Expected<std::vector<float>> evaluate(const Net& net, const std::vector<int>& ops, std::vector<float> x);

}  // namespace octavo::net
