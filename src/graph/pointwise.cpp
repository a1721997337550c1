#include "pointwise.h"

#include <algorithm>
#include <string_view>

namespace octavo {
namespace {

constexpr size_t kMaxNodes = 16;

struct Search {
  const Graph& graph;
  const std::function<bool(size_t)>& takes;
  const std::function<int(const std::string&)>& producer;
  size_t limit;
  PointwiseRegion region;

  bool contains(size_t n) const { return std::find(region.nodes.begin(), region.nodes.end(), n) != region.nodes.end(); }

  // Takes the node with all that it reads; false if it reads two tensors.
  bool take(size_t n) {
    if (contains(n)) return true;
    bool any = false;
    for (const std::string& input : graph.nodes[n].inputs) {
      if (input.empty()) continue;
      if (const auto it = graph.initializers.find(input); it != graph.initializers.end()) {
        if (it->second.count() != 1 || it->second.dtype() != DType::f32) return false;
        continue;
      }
      any = true;
      const int source = producer(input);
      const bool inner = source >= 0 && region.nodes.size() + depth < limit && takes(size_t(source)) && input != region.base;
      ++depth;
      const bool fits = inner ? take(size_t(source)) : region.base.empty() || region.base == input;
      --depth;
      if (!fits) return false;
      if (!inner) region.base = input;
    }
    region.nodes.push_back(n);
    return any;
  }

  size_t depth = 1;  // nodes under way
};

}  // namespace

bool is_pointwise(const Node& node) noexcept {
  static constexpr std::string_view kTypes[] = {
      "Abs",  "Add",         "Ceil",       "Clip",           "Div",  "Elu",     "Erf",      "Exp",      "Floor",
      "Gelu", "HardSigmoid", "HardSwish",  "LeakyRelu",      "Log",  "Max",     "Min",      "Mish",     "Mul",
      "Neg",  "Pow",         "Reciprocal", "Relu",           "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt",
      "Sub",  "Swish",       "Tanh",       "ThresholdedRelu"};
  return node.domain.empty() && node.outputs.size() == 1 &&
         std::find(std::begin(kTypes), std::end(kTypes), node.op_type) != std::end(kTypes);
}

PointwiseRegion find_pointwise(const Graph& graph, size_t last, const std::function<bool(size_t)>& takes,
                               const std::function<int(const std::string&)>& producer,
                               const std::function<bool(const std::string&, const std::vector<size_t>&)>& stays_inside) {
  for (const size_t limit : {kMaxNodes, size_t(1)}) {
    Search search{graph, takes, producer, limit, {}};
    if (!search.take(last) || search.region.base.empty()) continue;
    const std::vector<size_t>& nodes = search.region.nodes;
    if (std::all_of(nodes.begin(), nodes.end(),
                    [&](size_t n) { return n == last || stays_inside(graph.nodes[n].outputs[0], nodes); }))
      return search.region;
  }
  return {};
}

std::vector<float> pointwise_values(const Graph& graph, const PointwiseRegion& region, const std::vector<float>& points) {
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

}  // namespace octavo
