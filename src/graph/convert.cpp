#include <cmath>
#include <new>
#include <unordered_set>

#include "prepare.h"
#include "weight.h"

namespace octavo {
namespace {

struct ActivationParams {
  DType dtype;
  QParams q;
};

class Converter {
 public:
  Converter(const Graph& source, const QuantPlan& plan, const std::map<std::string, std::unique_ptr<Observer>>& observers)
      : source_(source), plan_(plan), observers_(observers) {}

  Expected<Graph> run() {
    graph_ = source_;
    graph_.nodes.clear();
    reserve_names();
    if (Status s = choose_params(); !s.ok()) return s;
    for (const ValueInfo& input : source_.inputs) quantize(input.name);
    for (size_t n = 0; n < source_.nodes.size(); ++n) {
      Node node = source_.nodes[n];
      const NodePlan& plan = plan_.nodes[n];
      if (plan.weight)
        if (Status s = quantize_weight(*plan.weight, node); !s.ok()) return s;
      for (const size_t k : plan.dequantized) node.inputs[k] = dequantize(node.inputs[k], quantized_.at(node.inputs[k]));
      graph_.nodes.push_back(std::move(node));
      for (const std::string& output : source_.nodes[n].outputs) quantize(output);
    }
    remove_dead(graph_);
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
      Expected<QParams> q = merged.at(v.group)->qparams(v.config);
      if (!q)
        return Status::error(q.status().code(), "value '%.150s': %s; calibrate with samples first", v.name.c_str(),
                             q.status().text());
      params_[v.name] = {v.config.dtype, *q};
    }
    return {};
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
    Node node;
    node.op_type = "QuantizeLinear";
    node.name = unique(value + "_QuantizeLinear");
    node.inputs = {value, names.scale, names.zero_point};
    node.outputs = {names.quantized};
    graph_.nodes.push_back(std::move(node));
    quantized_[value] = std::move(names);
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
    graph_.add_initializer(names.quantized, std::move(data));
    constants_[name].push_back({scales, axis, names});
    node.inputs[input] = dequantize(name, names, axis);
  }

  Status quantize_weight(const QuantizedWeight& plan, Node& node) {
    const std::string name = node.inputs[plan.input];
    const Tensor* bias = plan.bias ? &source_.initializers.at(node.inputs[*plan.bias]) : nullptr;
    const float x_scale = params_.at(node.inputs[0]).q.scale;
    Expected<std::vector<float>> scales = weight_scales(source_.initializers.at(name), plan.axis, plan.config, bias, x_scale);
    if (!scales) return Status::error(scales.status().code(), "weights '%.150s': %s", name.c_str(), scales.status().text());
    const auto axis = [&](int64_t a) { return plan.config.per_channel ? std::optional(a) : std::nullopt; };
    quantize_constant(node, plan.input, *scales, axis(plan.axis),
                      [&](const Tensor& w) { return quantize_weights(w, plan.axis, *scales, range_of(plan.config)); });
    if (!bias) return {};
    std::vector<float> bias_scales;
    for (const float s : *scales) bias_scales.push_back(x_scale * s);
    quantize_constant(node, *plan.bias, bias_scales, axis(int64_t(bias->shape().size()) - 1),
                      [&](const Tensor& b) { return quantize_bias(b, bias_scales); });
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
  Graph graph_;
  std::unordered_set<std::string> names_;
  std::map<std::string, ActivationParams> params_;          // by value
  std::map<std::string, ParamNames> quantized_;             // by value
  std::map<std::string, std::vector<Constant>> constants_;  // by float initializer
};

}  // namespace

Expected<Graph> convert(const Prepared& prepared) try {
  return Converter(prepared.impl_->graph, prepared.impl_->plan, prepared.impl_->observers).run();
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "convert: out of memory");
}

}  // namespace octavo
