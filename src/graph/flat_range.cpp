#include "flat_range.h"

#include <algorithm>
#include <cmath>

namespace octavo {
namespace {

constexpr size_t kPoints = 1025;

// The function's values; empty where it cannot be computed.
std::vector<float> values_at(const Graph& graph, const PointwiseRegion& region, const std::vector<float>& points) {
  Graph function;
  function.opset = graph.opset;
  function.add_initializer(region.base, Tensor::from(DType::f32, {int64_t(points.size())}, points));
  for (const size_t n : region.nodes) {
    const Node& node = graph.nodes[n];
    for (const std::string& input : node.inputs) {
      const auto constant = graph.initializers.find(input);
      if (constant != graph.initializers.end()) function.add_initializer(input, constant->second);
    }
    function.nodes.push_back(node);
  }
  const std::string& result = graph.nodes[region.nodes.back()].outputs[0];
  // The node that produces an output of the graph would stay a node.
  function.outputs = {{function.add_node("Identity", result + "/out", {result}), DType::f32, {}, false}};
  if (!fold_constants(function).ok()) return {};
  const auto it = function.initializers.find(result);
  if (it == function.initializers.end()) return {};
  const Tensor& computed = it->second;
  if (computed.dtype() != DType::f32 || computed.count() != int64_t(points.size())) return {};
  const float* values = computed.as<float>();
  return {values, values + points.size()};
}

// How many points from the first on may be taken for the last of them.
template <class Iterator>
size_t flat_points(Iterator begin, Iterator end, float tolerance) {
  float least = *begin, largest = *begin;
  size_t flat = 1, n = 0;
  for (Iterator it = begin; it != end; ++it) {
    least = std::min(least, *it);
    largest = std::max(largest, *it);
    ++n;
    if (*it - least <= tolerance && largest - *it <= tolerance) flat = n;
  }
  return flat;
}

}  // namespace

RealRange curved_range(const Graph& graph, const PointwiseRegion& region, RealRange range, float tolerance) {
  std::vector<float> points(kPoints);
  for (size_t i = 0; i < kPoints; ++i) points[i] = range.lo + (range.hi - range.lo) * (float(i) / float(kPoints - 1));
  const std::vector<float> values = values_at(graph, region, points);
  if (values.empty() || std::any_of(values.begin(), values.end(), [](float v) { return !std::isfinite(v); })) return range;
  const size_t below = flat_points(values.begin(), values.end(), tolerance) - 1;
  const size_t above = kPoints - flat_points(values.rbegin(), values.rend(), tolerance);
  if (below >= above) return range;
  return {points[below], points[above]};
}

}  // namespace octavo
