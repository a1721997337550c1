// On which inputs' values the shapes of results depend, and which way control flow goes.
#include <algorithm>
#include <unordered_set>

#include "control.h"
#include "octavo/session.h"
#include "shape.h"

namespace octavo {
namespace {

using Names = std::unordered_set<std::string>;

// Shapes for open dimensions of one size. What cannot be inferred so has no type.
class Wanted {
 public:
  // Of values in the graph; its inputs have their types in `values`. flags: values of one bool.
  static Names of(const Graph& graph, Propagation& values, const Names& flags) {
    Wanted w(graph, values, flags);
    w.run();
    return std::move(w.wanted_);
  }

 private:
  Wanted(const Graph& graph, Propagation& values, const Names& flags) : graph_(graph), values_(values), flags_(flags) {}

  void run() {
    std::vector<bool> inferred(graph_.nodes.size());
    const bool branches = std::any_of(graph_.nodes.begin(), graph_.nodes.end(), is_control);
    for (size_t n = 0; branches && n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      inferred[n] = values_.visit(node).ok();
      if (depends_on_flags(node)) flags_.insert(node.outputs.begin(), node.outputs.end());
    }
    for (size_t n = graph_.nodes.size(); n-- > 0;) {
      const Node& node = graph_.nodes[n];
      const ops::OpInfo* op = ops::find(node.op_type, node.domain);
      const bool all = !reads_only_shapes(node) && std::any_of(node.outputs.begin(), node.outputs.end(),
                                                               [&](const std::string& o) { return wanted_.count(o) != 0; });
      for (size_t i = 0; i < node.inputs.size(); ++i)
        if (all || (op && i < 32 && (op->shape_inputs >> i & 1) != 0)) wanted_.insert(node.inputs[i]);
      if (is_control(node) && check_control(node).ok()) visit_control(node, inferred[n]);
    }
  }

  // Computed from inputs of one bool, constants and shapes: it has few values, and a Program for each is a good one.
  bool depends_on_flags(const Node& node) const {
    return reads_only_shapes(node) || std::all_of(node.inputs.begin(), node.inputs.end(), [&](const std::string& input) {
             return input.empty() || flags_.count(input) != 0 || values_.constant(input);
           });
  }

  void visit_control(const Node& node, bool inferred) {
    for (const auto& [name, attribute] : node.attributes)
      if (const Subgraph* inner = std::get_if<Subgraph>(&attribute); inner && *inner) enter(node, **inner);
    if (node.op_type == "If") {
      if (!inferred || flags_.count(node.inputs[0])) wanted_.insert(node.inputs[0]);
      return;
    }
    if (inferred) return;
    wanted_.insert(node.inputs.begin(), node.inputs.begin() + (counts(node) ? 2 : std::ptrdiff_t(node.inputs.size())));
  }

  // What is wanted inside is wanted of what comes in: captured values; and of what changes with the iterations, everything.
  void enter(const Node& node, const Graph& inner) {
    Propagation values(inner);
    Names flags;
    const size_t first = node.inputs.size() - inner.inputs.size(), own = inner.inputs.size() - inner.captures;
    for (size_t i = 0; i < inner.inputs.size(); ++i) {
      const std::string &inside = inner.inputs[i].name, &outside = node.inputs[first + i];
      if (const Tensor* constant = i >= own ? values_.constant(outside) : nullptr) values.set_constant(inside, *constant);
      else if (const TypeShape* type = values_.type(outside)) values.set_type(inside, *type);
      if (i >= own && flags_.count(outside)) flags.insert(inside);
    }
    const Names wanted = of(inner, values, flags);
    for (size_t i = 0; i < inner.inputs.size(); ++i) {
      if (!wanted.count(inner.inputs[i].name)) continue;
      if (i >= own) wanted_.insert(node.inputs[first + i]);
      else wanted_.insert(node.inputs.begin(), node.inputs.end());
    }
  }

  // A Loop whose trip count alone says when it ends.
  bool counts(const Node& node) const {
    const Graph& body = *subgraph(node, "body");
    Propagation values(body);
    values.set_constant(body.inputs[1].name,
                        Tensor::from(DType::boolean, single_shape(body.inputs[1]), std::vector<uint8_t>{1}));
    for (const Node& inner : body.nodes) (void)values.visit(inner);  // types are not needed for what is constant
    return values.constant(body.outputs[0].name) != nullptr;
  }

  const Graph& graph_;
  Propagation& values_;
  Names flags_, wanted_;
};

}  // namespace

std::vector<std::string> shape_inputs(const Graph& graph) {
  Propagation values(graph);
  values.set_inputs(graph, kOpenDimension);
  Names flags;
  for (const ValueInfo& input : graph.inputs) {
    const bool single = std::all_of(input.dims.begin(), input.dims.end(), [](const Dim& d) { return d.size == 1; });
    if (input.has_shape && input.dtype == DType::boolean && single) flags.insert(input.name);
  }
  const Names wanted = Wanted::of(graph, values, flags);
  std::vector<std::string> names;
  for (const ValueInfo& input : graph.inputs)
    if (wanted.count(input.name) != 0 && graph.initializers.count(input.name) == 0) names.push_back(input.name);
  return names;
}

}  // namespace octavo
