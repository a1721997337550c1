// If and Loop: nodes that hold graphs.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "octavo/graph.h"

namespace octavo {

// The operators whose subgraphs are known: If and Loop.
bool is_control(const Node& node) noexcept;

// The subgraph of that name, or null.
const Graph* subgraph(const Node& node, const char* name) noexcept;

// Whether the numbers of inputs and outputs of the node and its subgraphs fit each other. Errors name the node.
Status check_control(const Node& node) noexcept;

// Values that a body hands from one iteration to the next.
inline size_t carried_values(const Graph& body) noexcept { return body.inputs.size() - 2 - body.captures; }

// Replaces each subgraph of the graph's nodes by what change(node, copy) makes of it; stops at the first error.
template <class Change>
Status change_subgraphs(Graph& graph, const Change& change) {
  for (Node& node : graph.nodes)
    for (auto& [name, attribute] : node.attributes) {
      Subgraph* inner = std::get_if<Subgraph>(&attribute);
      if (!inner || !*inner) continue;
      auto copy = std::make_shared<Graph>(**inner);
      if (Status s = change(node, *copy); !s.ok()) return s;
      *inner = std::move(copy);
    }
  return {};
}

// Trip counts above this stand for none: exporters write the largest integer for a loop that only its condition ends. Such a Loop may
// have kMaxIterations; then its run is an error.
constexpr int64_t kEndless = int64_t(1) << 31, kMaxIterations = int64_t(1) << 20;

// The shape of a Loop's iteration number and condition, which have one element.
inline Shape single_shape(const ValueInfo& value) { return value.has_shape ? Shape(value.dims.size(), 1) : Shape(); }

// How much Loops may grow when they become plain nodes: inputs and outputs of nodes, and constants. What is tried in vain counts too.
constexpr int64_t kMaxUnrolled = 16384;

// An If whose condition is known becomes the nodes of its branch; a Loop whose iterations are known, and few, becomes theirs, which
// `budget` is less then. Known: constant, or for inputs of the given shapes. What cannot be told stays. The graph must be sorted.
void inline_control(Graph& graph, const std::map<std::string, Shape>& input_shapes, int64_t& budget);

// fold_constants() and infer_shapes() of graphs whose control flow may be inlined with what is left of a budget, or not any more.
Status fold_constants(Graph& graph, const std::map<std::string, Shape>& input_shapes, size_t max_bytes, int64_t& budget);
Expected<ShapeMap> infer_plain(const Graph& graph, const std::map<std::string, Shape>& input_shapes);

}  // namespace octavo
