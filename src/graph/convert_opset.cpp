#include "convert_opset.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_set>

#include "control.h"
#include "shape.h"

namespace octavo {
namespace {

constexpr int64_t kTarget = 13;

// Operators whose meaning for a node written for opset 7 to 12 is the same in opset 13, attributes included. (ONNX has a
// LayerNormalization from opset 17 on; ONNX Runtime's optimizer writes it into older graphs.)
constexpr std::string_view kUnchanged[] = {"Abs",
                                           "Acos",
                                           "Acosh",
                                           "Add",
                                           "And",
                                           "ArgMax",
                                           "ArgMin",
                                           "Asin",
                                           "Asinh",
                                           "Atan",
                                           "Atanh",
                                           "AveragePool",
                                           "BitShift",
                                           "Cast",
                                           "Ceil",
                                           "Celu",
                                           "Compress",
                                           "Concat",
                                           "Constant",
                                           "ConstantOfShape",
                                           "Conv",
                                           "ConvInteger",
                                           "ConvTranspose",
                                           "Cos",
                                           "Cosh",
                                           "CumSum",
                                           "DepthToSpace",
                                           "DequantizeLinear",
                                           "Div",
                                           "DynamicQuantizeLinear",
                                           "Einsum",
                                           "Elu",
                                           "Equal",
                                           "Erf",
                                           "Exp",
                                           "Expand",
                                           "EyeLike",
                                           "Flatten",
                                           "Floor",
                                           "GRU",
                                           "Gather",
                                           "GatherElements",
                                           "GatherND",
                                           "Gemm",
                                           "GlobalAveragePool",
                                           "GlobalLpPool",
                                           "GlobalMaxPool",
                                           "Greater",
                                           "GreaterOrEqual",
                                           "HardSigmoid",
                                           "Identity",
                                           "If",
                                           "InstanceNormalization",
                                           "IsInf",
                                           "IsNaN",
                                           "LRN",
                                           "LSTM",
                                           "LayerNormalization",
                                           "LeakyRelu",
                                           "Less",
                                           "LessOrEqual",
                                           "Log",
                                           "Loop",
                                           "LpNormalization",
                                           "LpPool",
                                           "MatMul",
                                           "MatMulInteger",
                                           "Max",
                                           "MaxPool",
                                           "MaxRoiPool",
                                           "Mean",
                                           "Min",
                                           "Mod",
                                           "Mul",
                                           "Multinomial",
                                           "Neg",
                                           "NonMaxSuppression",
                                           "NonZero",
                                           "Not",
                                           "OneHot",
                                           "Or",
                                           "PRelu",
                                           "Pow",
                                           "QLinearConv",
                                           "QLinearMatMul",
                                           "QuantizeLinear",
                                           "RNN",
                                           "Range",
                                           "Reciprocal",
                                           "ReduceL1",
                                           "ReduceL2",
                                           "ReduceLogSum",
                                           "ReduceLogSumExp",
                                           "ReduceMax",
                                           "ReduceMean",
                                           "ReduceMin",
                                           "ReduceProd",
                                           "ReduceSumSquare",
                                           "Relu",
                                           "Reshape",
                                           "ReverseSequence",
                                           "RoiAlign",
                                           "Round",
                                           "ScatterElements",
                                           "ScatterND",
                                           "Selu",
                                           "Shape",
                                           "Shrink",
                                           "Sigmoid",
                                           "Sign",
                                           "Sin",
                                           "Sinh",
                                           "Size",
                                           "Softplus",
                                           "Softsign",
                                           "SpaceToDepth",
                                           "Sqrt",
                                           "Sub",
                                           "Sum",
                                           "Tan",
                                           "Tanh",
                                           "ThresholdedRelu",
                                           "Tile",
                                           "Transpose",
                                           "Unique",
                                           "Where",
                                           "Xor"};

class Raiser {
 public:
  explicit Raiser(Graph& graph) : graph_(graph) {
    for (const auto& [name, tensor] : graph.initializers) names_.insert(name);
    for (const ValueInfo& input : graph.inputs) names_.insert(input.name);
    for (const Node& node : graph.nodes) {
      names_.insert(node.name);
      names_.insert(node.outputs.begin(), node.outputs.end());
    }
  }

  Status run() {
    infer();
    std::vector<Node> old = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : old) {
      if (node.domain.empty())
        if (Status s = raise(node); !s.ok()) return s;
      graph_.nodes.push_back(std::move(node));
    }
    graph_.opset = kTarget;
    return {};
  }

 private:
  Status raise(Node& node) {
    const std::string& type = node.op_type;
    const int64_t opset = graph_.opset;
    if (std::find(std::begin(kUnchanged), std::end(kUnchanged), type) != std::end(kUnchanged)) return {};
    if (type == "Squeeze" || type == "Unsqueeze" || type == "ReduceSum") return ints_to_input(node, "axes", 1);
    if (type == "Split") return ints_to_input(node, "split", 1);
    if (type == "Softmax" || type == "LogSoftmax" || type == "Hardmax") return softmax(node);
    if (type == "Resize" || type == "Upsample") return opset < 11 || type == "Upsample" ? resize(node) : Status();
    if (type == "Clip") return opset < 11 ? clip(node) : Status();
    if (type == "Slice") return opset < 10 ? slice(node) : Status();
    if (type == "Pad") return opset < 11 ? pad(node) : Status();
    if (type == "Dropout") return opset < 12 ? dropout(node) : Status();
    if (type == "BatchNormalization") return batch_norm(node);
    return Status::error(Code::unsupported, "node '%.100s': operator %.60s of opset %lld cannot be rewritten for opset 13",
                         node.name.c_str(), type.c_str(), (long long)opset);
  }

  std::string unique(std::string name) {
    while (!names_.insert(name).second) name += "_";
    return name;
  }

  void set_input(Node& node, size_t position, const char* what, Tensor tensor) {
    if (node.inputs.size() <= position) node.inputs.resize(position + 1);
    node.inputs[position] = graph_.add_initializer(unique(node.name + "_" + what), std::move(tensor));
  }

  static Tensor ints(const std::vector<int64_t>& values) { return Tensor::from(DType::s64, {int64_t(values.size())}, values); }
  static Tensor scalar(float value) { return Tensor::from(DType::f32, {}, std::vector<float>{value}); }

  Status ints_to_input(Node& node, const char* attribute, size_t position) {
    if (node.has(attribute)) set_input(node, position, attribute, ints(node.get_ints(attribute)));
    node.attributes.erase(attribute);
    return {};
  }

  Status clip(Node& node) {
    const bool min = node.has("min"), max = node.has("max");
    if (min) set_input(node, 1, "min", scalar(node.get_float("min", 0)));
    if (max) set_input(node, 2, "max", scalar(node.get_float("max", 0)));
    node.attributes.clear();
    return {};
  }

  Status slice(Node& node) {
    for (auto [attribute, position] : {std::pair("starts", 1), std::pair("ends", 2), std::pair("axes", 3)})
      (void)ints_to_input(node, attribute, size_t(position));
    return {};
  }

  // Before opset 11 pixels were counted from their corners, and the nearest was the one on the left.
  Status resize(Node& node) {
    node.op_type = "Resize";
    if (node.has("scales")) {  // Upsample of opset 7
      const auto* scales = std::get_if<std::vector<float>>(&node.attributes["scales"]);
      if (!scales) return Status::error(Code::invalid_argument, "node '%.100s': scales must be floats", node.name.c_str());
      set_input(node, 2, "scales", Tensor::from(DType::f32, {int64_t(scales->size())}, *scales));
      node.attributes.erase("scales");
    } else if (node.inputs.size() == 2) {
      node.inputs.insert(node.inputs.begin() + 1, "");
    }
    node.attributes["coordinate_transformation_mode"] = std::string("asymmetric");
    node.attributes["nearest_mode"] = std::string("floor");
    return {};
  }

  Status pad(Node& node) {
    const float value = node.get_float("value", 0);
    (void)ints_to_input(node, "pads", 1);
    if (value != 0) set_input(node, 2, "value", scalar(value));
    node.attributes.erase("value");
    return {};
  }

  Status dropout(Node& node) {  // without training_mode it is the identity, whatever the ratio
    if (node.outputs.size() > 1 && !node.outputs[1].empty())
      return Status::error(Code::unsupported, "node '%.100s': the mask of Dropout changed its type before opset 13",
                           node.name.c_str());
    node.attributes.clear();
    return {};
  }

  Status batch_norm(Node& node) {
    if (node.get_int("spatial", 1) != 1)
      return Status::error(Code::unsupported, "node '%.100s': BatchNormalization with spatial = 0 has no form in opset 13",
                           node.name.c_str());
    node.attributes.erase("spatial");
    return {};
  }

  // Before opset 13 the dimensions from `axis` (by default 1) on were one; now `axis` is one dimension (by default the last).
  Status softmax(Node& node) {
    const int64_t axis = node.get_int("axis", 1);
    const auto it = shapes_.find(node.inputs[0]);
    if (it != shapes_.end()) {
      const Shape& shape = it->second.shape;
      const int64_t rank = int64_t(shape.size()), first = axis < 0 ? axis + rank : axis;
      const auto is_one = [&](int64_t i) { return shape[size_t(i)] == 1; };
      int64_t only = first;  // the one dimension from `first` on that is not 1
      while (only + 1 < rank && is_one(only)) ++only;
      bool simple = only < rank;
      for (int64_t i = only + 1; i < rank; ++i) simple &= is_one(i);
      if (simple) {
        node.attributes["axis"] = only == rank - 1 ? int64_t(-1) : only;
        return {};
      }
    }
    const std::string x = node.inputs[0], y = node.outputs[0], name = node.name;
    Node shape_of = make("Shape", name, {x}), flat = make("Flatten", name, {x});
    flat.attributes["axis"] = axis;
    Node softmax = node;
    softmax.name = unique(name + "_flat");
    softmax.inputs = {flat.outputs[0]};
    softmax.outputs = {unique(softmax.name + "_output")};
    softmax.attributes["axis"] = int64_t(-1);
    node.op_type = "Reshape";
    node.inputs = {softmax.outputs[0], shape_of.outputs[0]};
    node.attributes.clear();
    for (Node* n : {&shape_of, &flat, &softmax}) graph_.nodes.push_back(std::move(*n));
    return {};
  }

  Node make(const char* type, const std::string& of, std::vector<std::string> inputs) {
    Node node;
    node.op_type = type;
    node.name = unique(of + "_" + type);
    node.inputs = std::move(inputs);
    node.outputs = {unique(node.name + "_output")};
    return node;
  }

  // A dynamic dimension gets a size that no layer turns into 1 by chance, since 1 is what softmax() looks for.
  void infer() {
    std::map<std::string, Shape> inputs;
    for (const ValueInfo& v : graph_.inputs) {
      if (!v.has_shape) return;
      for (const Dim& d : v.dims) inputs[v.name].push_back(d.size < 0 ? kOpenDimension : d.size);
    }
    if (Expected<ShapeMap> shapes = infer_shapes(graph_, inputs)) shapes_ = *std::move(shapes);
  }

  Graph& graph_;
  ShapeMap shapes_;
  std::unordered_set<std::string> names_;
};

}  // namespace

Status raise_opset(Graph& graph) {
  if (graph.opset >= kTarget) return {};
  if (graph.opset < 7) return Status::error(Code::unsupported, "opset %lld is older than 7", (long long)graph.opset);
  if (Status s = change_subgraphs(graph, [](const Node&, Graph& inner) { return raise_opset(inner); }); !s.ok()) return s;
  return Raiser(graph).run();
}

}  // namespace octavo
