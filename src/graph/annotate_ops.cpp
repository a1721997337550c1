#include "annotate_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops.h"
#include "pointwise.h"

namespace octavo {
namespace {

constexpr int64_t kOnnxFloat = 1;  // TensorProto.FLOAT
constexpr int64_t kMaxDepth = std::numeric_limits<int32_t>::max() / (255 * 128);

const Tensor* constant(const Graph& graph, const Node& node, size_t input) noexcept {
  if (input >= node.inputs.size()) return nullptr;
  const auto it = graph.initializers.find(node.inputs[input]);
  return it == graph.initializers.end() ? nullptr : &it->second;
}

bool absent(const Node& node, size_t input) noexcept { return input >= node.inputs.size() || node.inputs[input].empty(); }

bool is_scalar_or_absent(const Graph& graph, const Node& node, size_t input) noexcept {
  if (absent(node, input)) return true;
  const Tensor* t = constant(graph, node, input);
  return t && t->dtype() == DType::f32 && t->count() == 1;
}

// Zero is exact under every affine scheme, so padding with it shares parameters; padding with anything else need not.
bool pads_with_zero(const Graph& graph, const Node& node) noexcept {
  if (node.get_string("mode", "constant") != "constant") return true;
  if (node.get_float("value", 0) != 0 || !is_scalar_or_absent(graph, node, 2)) return false;
  return absent(node, 2) || *constant(graph, node, 2)->as<float>() == 0;
}

bool has_one_output(const Node& node) noexcept {
  return std::count_if(node.outputs.begin(), node.outputs.end(), [](const std::string& o) { return !o.empty(); }) == 1;
}

}  // namespace

Role role_of(const Graph& graph, const Node& node) noexcept {
  static constexpr struct {
    std::string_view op_type;
    Role role;
  } kRoles[] = {
      {"Conv", Role::linear},
      {"ConvTranspose", Role::linear},
      {"Gemm", Role::linear},
      {"MatMul", Role::linear},
      {"Add", Role::add},
      {"Sum", Role::add},
      {"Mul", Role::mul},
      {"Softmax", Role::softmax},
      {"LSTM", Role::recurrent},
      {"GRU", Role::recurrent},
      {"Relu", Role::clamp},
      {"Clip", Role::clamp},
      {"BatchNormalization", Role::affine},
      {"AveragePool", Role::average},
      {"GlobalAveragePool", Role::average},
      {"MaxPool", Role::max},
      {"GlobalMaxPool", Role::max},
      {"Reshape", Role::move},
      {"Flatten", Role::move},
      {"Squeeze", Role::move},
      {"Unsqueeze", Role::move},
      {"Transpose", Role::move},
      {"Slice", Role::move},
      {"Split", Role::move},
      {"Gather", Role::move},
      {"Expand", Role::move},
      {"Tile", Role::move},
      {"Concat", Role::move},
      {"Pad", Role::move},
      {"Identity", Role::move},
      {"Cast", Role::move},
      {"Dropout", Role::move},
      {"DepthToSpace", Role::move},
      {"SpaceToDepth", Role::move},
      {"Resize", Role::move},
  };
  if (!node.domain.empty() || absent(node, 0) || node.outputs.empty() || node.outputs[0].empty()) return Role::none;
  const auto* row = std::find_if(std::begin(kRoles), std::end(kRoles), [&](const auto& r) { return r.op_type == node.op_type; });
  if (row == std::end(kRoles)) return is_pointwise(node) ? Role::pointwise : Role::none;
  if ((row->role == Role::add || row->role == Role::mul) && (node.inputs.size() != 2 || node.inputs[1].empty())) return Role::none;
  for (size_t i = 1; row->role == Role::affine && i < node.inputs.size(); ++i)
    if (!constant(graph, node, i)) return Role::none;
  if (node.op_type == "Clip" && !(is_scalar_or_absent(graph, node, 1) && is_scalar_or_absent(graph, node, 2))) return Role::none;
  if (node.op_type == "Cast" && node.get_int("to", 0) != kOnnxFloat) return Role::none;  // what comes in bytes is f32 already
  if (node.op_type == "Resize" && !ops::copies_pixels(node)) return Role::none;
  if (node.op_type == "Pad" && !pads_with_zero(graph, node)) return Role::none;
  if (node.op_type != "Split" && row->role != Role::recurrent && !has_one_output(node)) return Role::none;  // MaxPool's Indices, Dropout's mask
  return row->role;
}

size_t activation_inputs(const Node& node, Role role) noexcept {
  if (role == Role::none) return 0;
  if (role == Role::softmax) return 0;
  if (role == Role::add || role == Role::mul || role == Role::matmul) return 2;
  return node.op_type == "Concat" ? node.inputs.size() : 1;
}

bool is_quantization(const Node& node) noexcept {
  static constexpr std::string_view kTypes[] = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv",
                                                "QLinearMatMul",  "ConvInteger",      "MatMulInteger"};
  return std::find(std::begin(kTypes), std::end(kTypes), node.op_type) != std::end(kTypes);
}

bool is_bias(const Graph& graph, const std::string& value, int64_t n) noexcept {
  const auto it = graph.initializers.find(value);
  if (it == graph.initializers.end() || it->second.dtype() != DType::f32 || it->second.shape().empty()) return false;
  return it->second.count() == n && it->second.shape().back() == n;
}

std::string find_weight(const Graph& graph, const Node& node, QuantizedWeight& weight) {
  if (constant(graph, node, 0)) return "its input is constant";
  const Tensor* w = constant(graph, node, 1);
  if (!w) return "its weights are not constant";
  if (w->dtype() != DType::f32) return std::string("its weights are ") + name_of(w->dtype()) + ", not f32";
  const bool spread = node.op_type == "ConvTranspose", conv = node.op_type == "Conv" || spread, gemm = node.op_type == "Gemm";
  const size_t rank = w->shape().size();
  if (conv ? rank != 3 && rank != 4 : rank != 2) return "weights of shape " + to_string(w->shape()) + " have no int8 kernel";
  if (w->count() == 0) return "its weights are empty";
  if (!std::all_of(w->as<float>(), w->as<float>() + w->count(), [](float x) { return std::isfinite(x); }))
    return "its weights contain NaN or infinity";
  if (gemm && node.get_int("transA", 0) != 0) return "transA has no int8 kernel";
  if (gemm && (node.get_float("alpha", 1) != 1 || node.get_float("beta", 1) != 1)) return "alpha or beta is not 1";

  weight.input = 1;
  weight.axis = (conv && !spread) || (gemm && node.get_int("transB", 0) != 0) ? 0 : 1;
  weight.bias.reset();
  // The weights of a ConvTranspose have the channels of one group along that axis.
  const int64_t groups = spread ? node.get_int("group", 1) : 1;
  if (groups < 1 || groups > w->shape()[0]) return "its groups do not fit its weights";
  weight.one_scale = groups > 1;
  const int64_t channels = w->shape()[size_t(weight.axis)] * groups, depth = w->count() / channels;
  if (depth > kMaxDepth) return "sums of " + std::to_string(depth) + " products can overflow int32";
  if (node.op_type == "MatMul" || absent(node, 2)) return "";
  if (!is_bias(graph, node.inputs[2], channels)) return "its bias is not one constant per channel";
  const Tensor& bias = *constant(graph, node, 2);
  if (!std::all_of(bias.as<float>(), bias.as<float>() + bias.count(), [](float x) { return std::isfinite(x); }))
    return "its bias contains NaN or infinity";
  weight.bias = 2;
  return "";
}

bool find_constant_operand(const Graph& graph, const Node& node, QuantizedWeight& weight) {
  if (node.op_type != "MatMul" || node.inputs.size() != 2) return false;
  const Tensor *a = constant(graph, node, 0), *b = constant(graph, node, 1), *t = a ? a : b;
  if (!t || (a && b) || t->dtype() != DType::f32 || t->shape().size() < 2 || t->count() == 0) return false;
  if (!std::all_of(t->as<float>(), t->as<float>() + t->count(), [](float x) { return std::isfinite(x); })) return false;
  weight = {};
  weight.input = a ? 0 : 1;
  weight.axis = 0;
  weight.one_scale = true;
  return true;
}

std::string find_recurrent_weights(const Graph& graph, const Node& node, QuantizedWeight& w, QuantizedWeight& r) {
  if (node.get_string("direction", "forward") == "bidirectional") return "two directions have no int8 kernel";
  if (node.get_int("layout", 0) != 0) return "batch-first sequences have no int8 kernel";
  if (node.op_type == "GRU" && node.get_int("linear_before_reset", 0) == 0) return "a reset gate before the product has no int8 kernel";
  if (!absent(node, 4) || !absent(node, 7)) return "sequence lengths and peepholes have no int8 kernel";
  if (constant(graph, node, 0)) return "its input is constant";
  QuantizedWeight* weights[] = {&w, &r};
  for (size_t i = 0; i < 2; ++i) {
    const Tensor* t = constant(graph, node, i + 1);
    if (!t || t->dtype() != DType::f32 || t->shape().size() != 3) return "its weights are no constants of f32";
    if (!std::all_of(t->as<float>(), t->as<float>() + t->count(), [](float x) { return std::isfinite(x); }))
      return "its weights contain NaN or infinity";
    if (t->count() == 0 || t->shape()[2] > kMaxDepth) return "weights of shape " + to_string(t->shape()) + " have no int8 kernel";
    weights[i]->input = i + 1;
    weights[i]->axis = 1;
    weights[i]->bias.reset();
  }
  if (!absent(node, 3) && !constant(graph, node, 3)) return "its bias is not constant";
  return "";
}

std::string find_table(const Graph& graph, const Node& node, QuantizedWeight& weight) {
  const Tensor* table = constant(graph, node, 0);
  if (!table) return "its table is not constant";
  if (table->dtype() != DType::f32) return std::string("its table is ") + name_of(table->dtype()) + ", not f32";
  if (table->shape().size() != 2 || node.get_int("axis", 0) != 0) return "it does not take rows of a matrix";
  if (table->count() == 0) return "its table is empty";
  if (!std::all_of(table->as<float>(), table->as<float>() + table->count(), [](float x) { return std::isfinite(x); }))
    return "its table contains NaN or infinity";
  weight.input = 0;
  weight.axis = 0;
  return "";
}

bool has_dynamic_form(const Node& node) noexcept {
  return node.domain.empty() && (node.op_type == "MatMul" || node.op_type == "Gemm" || node.op_type == "Conv");
}

}  // namespace octavo
