// Opset 7 replaced `axis` and `broadcast` by numpy's rule, and `is_test` by operators that only infer.
#include "onnx/opset6.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "shape.h"

namespace octavo {
namespace {

constexpr std::string_view kBroadcasting[] = {"Add", "Sub", "Mul",   "Div",     "Pow",  "And",
                                              "Or",  "Xor", "Equal", "Greater", "Less", "Gemm"};

bool is_one_of(const Node& node, std::span<const std::string_view> types) {
  return std::find(types.begin(), types.end(), node.op_type) != types.end();
}

Status refuse(const Node& node, const char* what) {
  return Status::error(Code::unsupported, "%.40s '%.100s': %s", node.op_type.c_str(), node.name.c_str(), what);
}

// A slope for each channel was a vector, which now has to broadcast.
Status reshape_slope(Graph& graph, Propagation& values, Node& node) {
  const TypeShape* x = node.inputs.empty() ? nullptr : values.type(node.inputs[0]);
  const TypeShape* type = node.inputs.size() < 2 ? nullptr : values.type(node.inputs[1]);
  const Tensor* slope = type ? values.constant(node.inputs[1]) : nullptr;
  if (type && (type->shape.empty() || type->shape == Shape{1})) return {};
  if (!x || !slope || slope->dtype() != DType::f32 || slope->shape().size() != 1)
    return refuse(node, "opset 6 with a computed slope, or an input of unknown shape");
  Shape shape(std::max<size_t>(x->shape.size(), 2) - 1, 1);
  shape[0] = slope->count();
  std::string name = node.name + "_slope";
  while (graph.initializers.count(name)) name += "_";
  const std::vector<float> slopes(slope->as<float>(), slope->as<float>() + slope->count());
  const Tensor reshaped = Tensor::from(DType::f32, shape, slopes);
  values.set_constant(name, reshaped);
  node.inputs[1] = graph.add_initializer(name, reshaped);
  return {};
}

Status raise(Graph& graph, Propagation& values, Node& node) {
  if (is_one_of(node, kBroadcasting)) {
    if (node.has("axis")) return refuse(node, "opset 6 with an axis of the broadcast");
    node.attributes.erase("broadcast");
  }
  if (node.op_type == "BatchNormalization" || node.op_type == "Dropout") {
    if (node.get_int("is_test", 0) == 0) return refuse(node, "training mode is not supported");
    node.attributes.erase("is_test");
  }
  return node.op_type == "PRelu" ? reshape_slope(graph, values, node) : Status();
}

}  // namespace

Status raise_opset_6(Graph& graph) {
  graph.opset = 7;
  Propagation values(graph);
  values.set_inputs(graph, 1);  // PRelu needs ranks only
  for (Node& node : graph.nodes) {
    if (!node.domain.empty()) continue;
    if (Status s = raise(graph, values, node); !s.ok()) return s;
    // Where shapes are not known, a PRelu that needs them says so.
    (void)values.visit(node);
  }
  return {};
}

}  // namespace octavo
