// What prepare() decides: which values are quantized, which of them share parameters, and which nodes work on them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "octavo/graph.h"
#include "octavo/recipe.h"
#include "pointwise.h"

namespace octavo {

struct QuantizedWeight {
  size_t input = 1;  // position among the node's inputs
  int64_t axis = 0;  // of the output channels
  TensorConfig config;
  std::optional<size_t> bias;  // position of the bias
  bool one_scale = false;      // whatever the config says: groups share the axis
};

struct NodePlan {
  bool quantized = false;
  std::string reason;                     // where not quantized
  QuantConfig config;                     // where there is a weight
  std::optional<QuantizedWeight> weight;  // Conv, ConvTranspose, Gemm, MatMul; the table of a Gather
  std::optional<QuantizedWeight> state_weight;  // LSTM, GRU: R beside W
  std::vector<size_t> dequantized;        // inputs that are read through QuantizeLinear-DequantizeLinear
};

struct QuantizedValue {
  std::string name;
  TensorConfig config;
  size_t group;   // values of one group have the same parameters: those of all the observers in it
  bool observed;  // false: its elements are elements of other values of its group
};

struct DerivedGroup {
  size_t from;  // another group
  float factor;
};

struct QuantPlan {
  std::vector<NodePlan> nodes;         // as graph.nodes
  std::vector<QuantizedValue> values;  // graph inputs, then in the order of production
  // Groups whose parameters no observer chooses. Derivations have no cycle.
  std::map<size_t, QParams> fixed;
  std::map<size_t, DerivedGroup> derived;
  // Functions of one element between two quantized values, where nothing else reads the first, nor shares its parameters.
  std::vector<PointwiseRegion> functions;
};

// Conv, ConvTranspose, Gemm and MatMul with constant weights are quantized together with what one kernel computes with them:
//   linear -> [Add of a constant bias] -> [a function of one element | Add of a residual] -> [Relu | Clip],
// so values inside of such a region stay as they are; where two linear nodes meet in an Add, the later one takes it. Which functions,
// and behind which sums: QuantConfig::function_depth.
// Other nodes follow: Add of two int8 values; pools; and whatever only moves elements, which shares parameters.
// Nodes with dynamic ranges or quantized weights alone read and write float values, and no region grows from them.
// The table of a Gather of rows has a scale for each row: its result is float until somebody reads it in int8.
// A value is quantized only where somebody wants it in int8; the residual of a region with a float result stays float.
// Errors name a node whose config no kernel honours, a node that is already quantized, and a value whose rule cannot be met.
Expected<QuantPlan> annotate(const Graph& graph, const Recipe& recipe);

}  // namespace octavo
