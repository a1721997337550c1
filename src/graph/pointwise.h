// Groups of nodes that compute a function of one element: x * Sigmoid(x), the Erf form of Gelu.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "octavo/graph.h"

namespace octavo {

struct PointwiseRegion {
  std::string base;           // the value whose elements the function takes
  std::vector<size_t> nodes;  // producers first; the last one computes the result. Empty: there is no region
};

// Can the node be part of one, if its inputs are scalars or part of it?
bool is_pointwise(const Node& node) noexcept;

// The largest region that ends with node `last`, from values and constant scalars alone, none of whose inner values is read
// outside; else `last` alone. takes(n): whether node n may be in it. producer(value): the node that computes it, or -1.
// stays_inside(value, nodes): whether these nodes alone read it.
PointwiseRegion find_pointwise(const Graph& graph, size_t last, const std::function<bool(size_t)>& takes,
                               const std::function<int(const std::string&)>& producer,
                               const std::function<bool(const std::string&, const std::vector<size_t>&)>& stays_inside);

// The region's results where its base has the values `points`; empty where they cannot be computed.
std::vector<float> pointwise_values(const Graph& graph, const PointwiseRegion& region, const std::vector<float>& points);

}  // namespace octavo
