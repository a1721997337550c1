// Types, shapes and small constant values, carried from node to node: what infer_shapes and the rewrites share.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "ops.h"
#include "octavo/graph.h"

namespace octavo {

// The type and shape of a graph input: as given, else as the file has it. Errors name the input.
Expected<TypeShape> input_shape(const ValueInfo& input, const std::map<std::string, Shape>& given);

// Shape and Size read no data: their value is known as soon as the shape is.
bool reads_only_shapes(const Node& node);

// Computes the outputs of a node of known shapes. inputs: null = absent.
Expected<std::vector<Tensor>> evaluate(const ops::OpInfo& op, const Node& node, int64_t opset, const std::vector<const Tensor*>& inputs,
                                       const std::vector<TypeShape>& types);

class Propagation {
 public:
  // max_constant_bytes: a node is computed only if its inputs and outputs are no larger.
  Propagation(const Graph& graph, size_t max_constant_bytes);

  void set_type(const std::string& value, TypeShape type) { types_[value] = std::move(type); }
  void set_constant(const std::string& value, const Tensor& tensor);
  // Infers the types of the node's outputs, and their values where the inputs' are known.
  Status visit(const Node& node);

  const TypeShape* type(const std::string& value) const;
  const Tensor* constant(const std::string& value) const;
  ShapeMap take_types() { return std::move(types_); }

 private:
  int64_t opset_;
  size_t max_constant_bytes_;
  ShapeMap types_;
  std::unordered_map<std::string, Tensor> constants_;
};

}  // namespace octavo
