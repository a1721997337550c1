#include <algorithm>
#include <new>
#include <optional>
#include <tuple>
#include <unordered_set>

#include "branches.h"
#include "flat_range.h"
#include "observer.h"
#include "weight.h"

namespace octavo {
namespace {

struct ActivationParams {
  DType dtype;
  QParams q;
};

class Converter {
 public:
  Converter(const Graph& source, const QuantPlan& plan, const std::map<std::string, std::unique_ptr<Observer>>& observers,
            bool trainable)
      : source_(source), plan_(plan), observers_(observers), trainable_(trainable) {}

  Expected<Graph> run() {
    graph_ = source_;
    graph_.nodes.clear();
    reserve_names();
    if (Status s = choose_params(); !s.ok()) return s;
    for (const ValueInfo& input : source_.inputs) quantize(input.name);
    for (size_t n = 0; n < source_.nodes.size(); ++n) {
      Node node = source_.nodes[n];
      const NodePlan& plan = plan_.nodes[n];
      if (plan.weight && plan.config.mode == QuantMode::dynamic_range && node.op_type != "Gather") {
        if (Status s = multiply_dynamically(*plan.weight, plan.config.activation, node); !s.ok()) return s;
        for (const std::string& output : node.outputs) quantize(output);
        continue;
      }
      if (plan.weight)
        if (Status s = quantize_weight(*plan.weight, plan.config.mode, node); !s.ok()) return s;
      if (plan.state_weight)
        if (Status s = quantize_weight(*plan.state_weight, plan.config.mode, node); !s.ok()) return s;
      for (const size_t k : plan.dequantized) node.inputs[k] = dequantize(node.inputs[k], quantized_.at(node.inputs[k]));
      graph_.nodes.push_back(std::move(node));
      for (const std::string& output : source_.nodes[n].outputs) quantize(output);
    }
    remove_dead(graph_);
    if (!graph_.status.ok()) return graph_.status;
    return std::move(graph_);
  }

 private:
  void reserve_names() {
    for (const ValueInfo& v : source_.inputs) names_.insert(v.name);
    for (const auto& [name, tensor] : source_.initializers) names_.insert(name);
    for (const Node& node : source_.nodes) {
      names_.insert(node.name);
      names_.insert(node.outputs.begin(), node.outputs.end());
    }
  }

  std::string unique(const std::string& name) {
    std::string candidate = name;
    for (int i = 1; !names_.insert(candidate).second; ++i) candidate = name + "_" + std::to_string(i);
    return candidate;
  }

  // One set of parameters for each group, from all of its observers.
  Status choose_params() {
    std::map<size_t, std::unique_ptr<Observer>> merged;
    for (const QuantizedValue& v : plan_.values) {
      if (!v.observed) continue;
      std::unique_ptr<Observer>& total = merged[v.group];
      if (!total) total = Observer::create(v.config.observer);
      if (Status s = total->merge(*observers_.at(v.name)); !s.ok()) return s;
    }
    for (const QuantizedValue& v : plan_.values) {
      Expected<QParams> q = params_of(v.group, v.config, merged);
      if (!q)
        return Status::error(q.status().code(), "value '%.150s': %s; calibrate with samples first", v.name.c_str(),
                             q.status().text());
      params_[v.name] = {v.config.dtype, *q};
    }
    for (const PointwiseRegion& region : plan_.functions) narrow(region);
    return {};
  }

  // What a function reads needs no bytes where the function is flat. A quarter of a step of the result is below what rounding it
  // costs.
  void narrow(const PointwiseRegion& region) {
    const auto v = std::find_if(plan_.values.begin(), plan_.values.end(), [&](const auto& x) { return x.name == region.base; });
    const auto result = params_.find(source_.nodes[region.nodes.back()].outputs[0]);
    if (result == params_.end()) return;
    QParams& q = params_.at(region.base).q;
    const QRange bytes = range_of(v->config);
    const RealRange seen = {q.scale * float(bytes.lo - q.zero_point), q.scale * float(bytes.hi - q.zero_point)};
    const RealRange used = curved_range(source_, region, seen, result->second.q.scale / 4);
    if (used.lo > seen.lo || used.hi < seen.hi)
      q = choose_qparams(used.lo, used.hi, bytes.lo, bytes.hi, v->config.symmetric, v->config.eps);
  }

  Expected<QParams> params_of(size_t group, const TensorConfig& config,
                              const std::map<size_t, std::unique_ptr<Observer>>& merged) const {
    if (const auto it = plan_.fixed.find(group); it != plan_.fixed.end()) return it->second;
    const auto it = plan_.derived.find(group);
    if (it == plan_.derived.end()) return merged.at(group)->qparams(config);
    const auto from =
        std::find_if(plan_.values.begin(), plan_.values.end(), [&](const auto& v) { return v.group == it->second.from; });
    Expected<QParams> q = params_of(from->group, from->config, merged);
    if (q) q->scale *= it->second.factor;
    return q;
  }

  struct ParamNames {
    std::string quantized, scale, zero_point;
  };

  // Adds scale and zero point initializers beside a quantized value or constant.
  ParamNames add_params(const std::string& value, Tensor scale, Tensor zero_point) {
    ParamNames names = {unique(value + "_quantized"), unique(value + "_scale"), unique(value + "_zero_point")};
    graph_.add_initializer(names.scale, std::move(scale));
    graph_.add_initializer(names.zero_point, std::move(zero_point));
    return names;
  }

  // QuantizeLinear behind a value, if the plan has one.
  void quantize(const std::string& value) {
    const auto it = params_.find(value);
    if (it == params_.end()) return;
    const QParams& q = it->second.q;
    const Tensor zero_point = it->second.dtype == DType::s8
                                  ? Tensor::from(DType::s8, {}, std::vector<int8_t>{int8_t(q.zero_point)})
                                  : Tensor::from(DType::u8, {}, std::vector<uint8_t>{uint8_t(q.zero_point)});
    ParamNames names = add_params(value, Tensor::from(DType::f32, {}, std::vector<float>{q.scale}), zero_point);
    graph_.nodes.push_back(quantize_node(value, names, {}));
    quantized_[value] = std::move(names);
  }

  Node quantize_node(const std::string& value, const ParamNames& names, std::optional<int64_t> axis) {
    Node node;
    node.op_type = "QuantizeLinear";
    node.name = unique(value + "_QuantizeLinear");
    node.inputs = {value, names.scale, names.zero_point};
    node.outputs = {names.quantized};
    if (axis) node.attributes["axis"] = *axis;
    return node;
  }

  std::string dequantize(const std::string& value, const ParamNames& names, std::optional<int64_t> axis = {}) {
    Node node;
    node.op_type = "DequantizeLinear";
    node.name = unique(value + "_DequantizeLinear");
    node.inputs = {names.quantized, names.scale, names.zero_point};
    node.outputs = {unique(value + "_dequantized")};
    if (axis) node.attributes["axis"] = *axis;
    graph_.nodes.push_back(node);
    return node.outputs[0];
  }

  // Replaces an input of a node by DequantizeLinear of an s8 or s32 constant; nodes that need the same constant share it.
  // scales: one, or with an axis one for each of its elements.
  template <class Quantize>
  void quantize_constant(Node& node, size_t input, const std::vector<float>& scales, std::optional<int64_t> axis,
                         Quantize quantize) {
    const std::string name = node.inputs[input];
    for (const Constant& c : constants_[name]) {
      if (c.scales != scales || c.axis != axis) continue;
      node.inputs[input] = dequantize(name, c.names, axis);
      return;
    }
    const Shape shape = axis ? Shape{int64_t(scales.size())} : Shape{};
    Tensor data = quantize(source_.initializers.at(name));
    Tensor zero_point = data.dtype() == DType::s8 ? Tensor::from(DType::s8, shape, std::vector<int8_t>(scales.size()))
                                                  : Tensor::from(DType::s32, shape, std::vector<int32_t>(scales.size()));
    const ParamNames names = add_params(name, Tensor::from(DType::f32, shape, scales), std::move(zero_point));
    if (trainable_)
      graph_.nodes.push_back(quantize_node(name, names, axis));
    else
      graph_.add_initializer(names.quantized, std::move(data));
    constants_[name].push_back({scales, axis, names});
    node.inputs[input] = dequantize(name, names, axis);
  }

  // x_scale: of the input, for the bias; 0: the bias stays float.
  Expected<std::vector<float>> scales_of(const QuantizedWeight& plan, const Node& node, float x_scale) const {
    const std::string& name = node.inputs[plan.input];
    const Tensor* bias = plan.bias && x_scale > 0 ? &source_.initializers.at(node.inputs[*plan.bias]) : nullptr;
    Expected<std::vector<float>> scales = weight_scales(source_.initializers.at(name), plan.axis, plan.config, bias, x_scale);
    if (!scales) return Status::error(scales.status().code(), "weights '%.150s': %s", name.c_str(), scales.status().text());
    return scales;
  }

  Status quantize_weight(const QuantizedWeight& plan, QuantMode mode, Node& node) {
    const auto x = params_.find(node.inputs[0]);  // none of a table
    const float x_scale = mode == QuantMode::static_range && x != params_.end() ? x->second.q.scale : 0;
    const Expected<std::vector<float>> scales = scales_of(plan, node, x_scale);
    if (!scales) return scales.status();
    const auto axis = [&](int64_t a) { return plan.config.per_channel ? std::optional(a) : std::nullopt; };
    quantize_constant(node, plan.input, *scales, axis(plan.axis),
                      [&](const Tensor& w) { return quantize_weights(w, plan.axis, *scales, range_of(plan.config)); });
    if (!plan.bias || mode != QuantMode::static_range || trainable_) return {};
    const Tensor& bias = source_.initializers.at(node.inputs[*plan.bias]);
    std::vector<float> bias_scales;
    for (const float s : *scales) bias_scales.push_back(x_scale * s);
    quantize_constant(node, *plan.bias, bias_scales, axis(int64_t(bias.shape().size()) - 1),
                      [&](const Tensor& b) { return quantize_bias(b, bias_scales); });
    return {};
  }

  // ---- dynamic ranges -------------------------------------------------------------------------------------------------------

  std::string add_node(const char* op_type, const std::string& name, std::vector<std::string> inputs,
                       std::map<std::string, Attribute> attributes = {}) {
    const std::string output = unique(name);
    graph_.add_node(op_type, output, std::move(inputs), std::move(attributes));
    return output;
  }

  std::string add_constant(const std::string& name, Tensor tensor) {
    return graph_.add_initializer(unique(name), std::move(tensor));
  }

  // Bytes, scale and zero point ("" = 0) of a value, computed at run time. Nodes that need the same share it.
  //   whole: DynamicQuantizeLinear
  //   rows:  scale = max(max |x| over the last axis / qmax, eps), q = cast(round(x / scale)), s8
  const ParamNames& quantize_dynamically(const std::string& x, const TensorConfig& config) {
    ParamNames& names = dynamic_[{x, config.per_row, config.per_row ? config.eps : 0, range_of(config).hi}];
    if (!names.quantized.empty()) return names;
    if (!config.per_row) {
      Node node;
      node.op_type = "DynamicQuantizeLinear";
      node.name = unique(x + "_DynamicQuantizeLinear");
      names = {unique(x + "_quantized"), unique(x + "_scale"), unique(x + "_zero_point")};
      node.inputs = {x};
      node.outputs = {names.quantized, names.scale, names.zero_point};
      graph_.nodes.push_back(std::move(node));
      return names;
    }
    const auto scalar = [](float v) { return Tensor::from(DType::f32, {}, std::vector<float>{v}); };
    const std::string magnitude = add_node("Abs", x + "_magnitude", {x});
    std::string largest;
    if (graph_.opset >= 18)
      largest = add_node("ReduceMax", x + "_largest",
                         {magnitude, add_constant(x + "_last_axis", Tensor::from(DType::s64, {1}, std::vector<int64_t>{-1}))},
                         {{"keepdims", int64_t{1}}});
    else
      largest = add_node("ReduceMax", x + "_largest", {magnitude}, {{"axes", std::vector<int64_t>{-1}}, {"keepdims", int64_t{1}}});
    const std::string steps = add_constant(x + "_steps", scalar(float(range_of(config).hi)));
    const std::string share = add_node("Div", x + "_step", {largest, steps});
    names.scale = add_node("Max", x + "_scale", {share, add_constant(x + "_least_scale", scalar(config.eps))});
    const std::string units = add_node("Round", x + "_rounded", {add_node("Div", x + "_units", {x, names.scale})});
    constexpr int64_t kOnnxInt8 = 3;
    names.quantized = add_node("Cast", x + "_quantized", {units}, {{"to", kOnnxInt8}});
    return names;
  }

  // y = float(MatMulInteger(q, w, zero_point)) * (scale * w_scale[j]) + bias[j], or ConvInteger, whose padding needs one zero point
  // for all; for rows the scales are multiplied with one after the other, because ONNX Runtime (1.31) takes a product of scales for
  // that of whole tensors when it fuses.
  Status multiply_dynamically(const QuantizedWeight& plan, TensorConfig activation, const Node& node) {
    const Expected<std::vector<float>> scales = scales_of(plan, node, 0);
    if (!scales) return scales.status();
    const bool conv = node.op_type == "Conv", transposed = !conv && plan.axis == 0;
    if (conv) activation.per_row = false;
    const ParamNames x = quantize_dynamically(node.inputs[0], activation);
    const std::string& name = node.inputs[plan.input];
    const Tensor& weight = source_.initializers.at(name);
    Tensor w = quantize_weights(weight, plan.axis, *scales, range_of(plan.config));
    Shape channels = {weight.shape()[size_t(plan.axis)]};  // as a factor of the result
    if (conv) channels.resize(weight.shape().size() - 1, 1);
    // What reads the same weights may want them in the other order.
    std::optional<ParamNames>& names = matrices_[{name, transposed, *scales}];
    if (!names)
      names = {add_constant(name + "_quantized", transposed ? transpose(w) : std::move(w)),
               add_constant(name + "_scale", Tensor::from(DType::f32, plan.config.per_channel ? channels : Shape{}, *scales)), ""};
    const std::string& y = node.outputs[0];
    std::vector<std::string> operands = {x.quantized, names->quantized};
    if (!x.zero_point.empty()) operands.push_back(x.zero_point);
    Node product;
    product.op_type = conv ? "ConvInteger" : "MatMulInteger";
    product.name = node.name;
    if (conv) product.attributes = node.attributes;
    product.inputs = std::move(operands);
    product.outputs = {unique(y + "_sums")};
    const std::string sums = product.outputs[0];
    graph_.nodes.push_back(std::move(product));
    std::string real = add_node("Cast", y + "_cast", {sums}, {{"to", int64_t{1}}}), scale = names->scale;
    if (activation.per_row)
      real = add_node("Mul", y + "_rows", {real, x.scale});
    else
      scale = add_node("Mul", y + "_scales", {x.scale, names->scale});
    Node last;
    last.op_type = "Mul";
    last.name = unique(node.name + "_scaled");
    last.inputs = {real, scale};
    last.outputs = {plan.bias ? unique(y + "_scaled") : y};
    const std::string scaled = last.outputs[0];
    graph_.nodes.push_back(std::move(last));
    if (!plan.bias) return {};
    Node add;
    add.op_type = "Add";
    add.name = unique(node.name + "_bias");
    std::string bias = node.inputs[*plan.bias];
    if (conv) bias = add_constant(bias + "_channels", source_.initializers.at(bias).reshaped(channels));
    add.inputs = {scaled, bias};
    add.outputs = {y};
    graph_.nodes.push_back(std::move(add));
    return {};
  }

  struct Constant {
    std::vector<float> scales;
    std::optional<int64_t> axis;
    ParamNames names;
  };

  const Graph& source_;
  const QuantPlan& plan_;
  const std::map<std::string, std::unique_ptr<Observer>>& observers_;
  bool trainable_;
  Graph graph_;
  std::unordered_set<std::string> names_;
  std::map<std::string, ActivationParams> params_;          // by value
  std::map<std::string, ParamNames> quantized_;             // by value
  std::map<std::string, std::vector<Constant>> constants_;  // by float initializer
  std::map<std::tuple<std::string, bool, float, int32_t>, ParamNames> dynamic_;  // by value, per row, eps, largest integer
  std::map<std::tuple<std::string, bool, std::vector<float>>, std::optional<ParamNames>>
      matrices_;  // by initializer, order, scales
};

template <bool kTrainable>
Expected<Graph> convert_part(const Preparation& p) {
  Expected<Graph> graph = Converter(p.graph, p.plan, p.observers, kTrainable).run();
  if (!graph) return graph;
  if (Status s = convert_branches(p, *graph, convert_part<kTrainable>); !s.ok()) return s;
  return graph;
}

}  // namespace

Expected<Graph> convert(const Prepared& prepared) try {
  return convert_part<false>(prepared.impl_->root);
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "convert: out of memory");
}

Expected<Graph> prepare_qat(const Prepared& prepared) try {
  return convert_part<true>(prepared.impl_->root);
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "prepare_qat: out of memory");
}

}  // namespace octavo
