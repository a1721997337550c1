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

// Stands for an open dimension while shapes are inferred from the graph alone: a size that no constant has by chance.
constexpr int64_t kOpenDimension = 997;

// Shape and Size read no data: their value is known as soon as the shape is.
bool reads_only_shapes(const Node& node);

// Computes the outputs of a node of known shapes. inputs: null = absent.
Expected<std::vector<Tensor>> evaluate(const ops::OpInfo& op, const Node& node, int64_t opset, const std::vector<const Tensor*>& inputs,
                                       const std::vector<TypeShape>& types);

class Propagation {
 public:
  // A node is computed only if its inputs and outputs are no larger: shapes, axes, bounds and small masks, not what could be weights.
  static constexpr size_t kMaxConstantBytes = size_t(1) << 16;
  explicit Propagation(const Graph& graph);

  void set_type(const std::string& value, TypeShape type) { types_[value] = std::move(type); }
  // The types of inputs as the graph declares them, with `open` for open dimensions. Where only ranks matter 1 will do.
  void set_inputs(const Graph& graph, int64_t open);
  void set_constant(const std::string& value, const Tensor& tensor);
  // Infers the types of the node's outputs, and their values where the inputs' are known.
  Status visit(const Node& node);

  const TypeShape* type(const std::string& value) const;
  const Tensor* constant(const std::string& value) const;
  ShapeMap take_types() { return std::move(types_); }

 private:
  int64_t opset_;
  ShapeMap types_;
  std::unordered_map<std::string, Tensor> constants_;
};

}  // namespace octavo
