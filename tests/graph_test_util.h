// Tensors for tests of graphs, and graphs evaluated through the public API: with all inputs constant, fold_constants computes
// everything.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "octavo/graph.h"
#include "test_util.h"

namespace octavo {

// The values of all outputs of a graph whose inputs are given. DequantizeLinear stays a node by design: refused here.
inline Expected<std::vector<Tensor>> fold_all(Graph graph, const std::map<std::string, Tensor>& inputs = {}) {
  for (const auto& [name, tensor] : inputs) graph.add_initializer(name, tensor);
  graph.inputs.clear();
  // Nodes that produce graph outputs stay nodes: let others produce them.
  std::vector<ValueInfo> outputs = graph.outputs;
  for (const ValueInfo& output : outputs) {
    if (output.name.empty()) continue;
    graph.add_node("Identity", output.name + "/out", {output.name});
  }
  for (ValueInfo& output : graph.outputs) output.name += "/out";
  if (const Expected<ShapeMap> shapes = infer_shapes(graph, {}); !shapes) return shapes.status();
  if (Status status = fold_constants(graph); !status.ok()) return status;
  std::vector<Tensor> values;
  for (const ValueInfo& output : outputs) {
    const auto it = graph.initializers.find(output.name);
    if (it == graph.initializers.end())
      return Status::error(Code::internal, "'%.100s' was not computed", output.name.c_str());
    values.push_back(it->second);
  }
  return values;
}

// One node over constants; a default-constructed Tensor stands for an absent input.
inline Expected<std::vector<Tensor>> eval_node(const std::string& op, const std::vector<Tensor>& inputs,
                                               std::map<std::string, Attribute> attributes = {}, int64_t opset = 13, size_t outputs = 1) {
  Graph graph;
  graph.opset = opset;
  Node node;
  node.op_type = op;
  node.name = "n";
  node.attributes = std::move(attributes);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool absent = inputs[i].count() == 0 && inputs[i].shape().empty();
    node.inputs.push_back(absent ? "" : "x" + std::to_string(i));
    if (!absent) graph.add_initializer(node.inputs.back(), inputs[i]);
  }
  for (size_t i = 0; i < outputs; ++i) {
    node.outputs.push_back("y" + std::to_string(i));
    graph.outputs.push_back({node.outputs.back(), DType::f32, {}, false});
  }
  graph.nodes.push_back(std::move(node));
  return fold_all(std::move(graph));
}

inline Tensor f32(Shape shape, const std::vector<float>& values) { return Tensor::from(DType::f32, std::move(shape), values); }
inline Tensor s64(Shape shape, const std::vector<int64_t>& values) { return Tensor::from(DType::s64, std::move(shape), values); }
inline Tensor s64(const std::vector<int64_t>& values) { return s64({int64_t(values.size())}, values); }

// Random floats in [-size, size].
inline Tensor noise(Shape shape, uint64_t seed, float size = 1) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  test::Noise random(seed);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = random.real(-size, size);
  return Tensor::from(DType::f32, std::move(shape), v);
}

template <class T>
std::vector<T> values_of(const Tensor& tensor) {
  return {tensor.as<T>(), tensor.as<T>() + tensor.count()};
}

}  // namespace octavo
