#include "annotate.h"

#include <algorithm>

#include "annotator.h"
#include "recipe_check.h"

namespace octavo {
namespace {

std::string why_no_role(const Node& node) {
  if (node.domain.empty() && node.op_type == "If") return "its branches are graphs of their own";
  if (node.domain.empty() && node.op_type == "Loop") return "the run decides how often its body is computed: that stays float";
  return "operator " + node.op_type + " has no int8 kernel";
}

}  // namespace

Expected<QuantPlan> Annotator::run() {
  if (!recipe_.status().ok()) return recipe_.status();
  if (Status s = classify(); !s.ok()) return s;
  link_values();
  infer();
  grow_regions();
  find_pointwise_regions();
  grow_adds();
  find_able();
  demand_backwards();
  for (size_t n = 0; n < size(); ++n) explain(n);
  collect_values();
  if (Status s = apply_value_rules(); !s.ok()) return s;
  fix_softmax();
  collect_functions();
  return std::move(plan_);
}

Status Annotator::classify() {
  info_.resize(size());
  plan_.nodes.resize(size());
  for (size_t n = 0; n < size(); ++n) {
    const Node& node = graph_.nodes[n];
    if (is_quantization(node))
      return Status::error(Code::invalid_argument, "node '%.100s' (%.40s): the model is already quantized", node.name.c_str(),
                           node.op_type.c_str());
    info_[n].config = recipe_.match(node);
    if (!info_[n].config) {
      info_[n].why_not = "the recipe keeps it in float";
      continue;
    }
    if (Status s = check_config(*info_[n].config); !s.ok())
      return Status::error(s.code(), "config of node '%.100s': %s", node.name.c_str(), s.text());
    if (info_[n].config->mode != QuantMode::static_range || is_lookup(node)) {
      classify_float(n);
      continue;
    }
    info_[n].role = role_of(graph_, node);
    if (info_[n].role == Role::none) info_[n].why_not = why_no_role(node);
    if (info_[n].role == Role::recurrent) {
      classify_recurrent(n);
      continue;
    }
    if (info_[n].role != Role::linear) continue;
    if (is_product(node)) {
      info_[n].role = Role::matmul;
      continue;
    }
    QuantizedWeight weight;
    info_[n].why_not = find_weight(graph_, node, weight);
    if (!info_[n].why_not.empty() && find_constant_operand(graph_, node, weight)) {
      info_[n].role = Role::matmul;
      info_[n].why_not.clear();
      take_weight(n, weight);
      continue;
    }
    if (!info_[n].why_not.empty()) {
      info_[n].role = Role::none;
      continue;
    }
    take_weight(n, weight);
  }
  return {};
}

// The last cell of an LSTM stays float; a last state that is not taken from Y (split_directions.h) has no int8 form.
void Annotator::classify_recurrent(size_t n) {
  const Node& node = graph_.nodes[n];
  QuantizedWeight w, r;
  info_[n].why_not = find_recurrent_weights(graph_, node, w, r);
  for (const ValueInfo& output : graph_.outputs)
    if (output.name == node.outputs[0]) info_[n].why_not = "its result is an output of the graph";
  if (node.outputs.size() > 1 && is_read(node.outputs[1])) info_[n].why_not = "its output '" + node.outputs[1] + "' is used";
  if (!info_[n].why_not.empty()) {
    info_[n].role = Role::none;
    return;
  }
  take_weight(n, w);
  r.config = info_[n].config->weight;
  plan_.nodes[n].state_weight = r;
}

// What a recurrent node computes its first state from; empty if that is nothing, or a constant.
std::string Annotator::initial_state(int n) const {
  constexpr size_t kInitialH = 5;
  const std::vector<std::string>& inputs = node(n).inputs;
  return inputs.size() > kInitialH && !is_constant(inputs[kInitialH]) ? inputs[kInitialH] : "";
}

bool Annotator::is_read(const std::string& name) const {
  const auto reads = [&](const auto& list) { return std::find(list.begin(), list.end(), name) != list.end(); };
  return !name.empty() &&
         (std::any_of(graph_.nodes.begin(), graph_.nodes.end(), [&](const Node& node) { return reads(node.inputs); }) ||
          std::any_of(graph_.outputs.begin(), graph_.outputs.end(), [&](const ValueInfo& v) { return v.name == name; }));
}

// MatMul of two operands that are both computed.
bool Annotator::is_product(const Node& node) const {
  return node.op_type == "MatMul" && node.inputs.size() == 2 && !is_constant(node.inputs[0]) && !is_constant(node.inputs[1]);
}

void Annotator::take_weight(size_t n, QuantizedWeight weight) {
  weight.config = info_[n].config->weight;
  if (weight.one_scale) weight.config.per_channel = false;
  plan_.nodes[n].weight = weight;
  plan_.nodes[n].config = *info_[n].config;
}

// Gather from a constant of floats.
bool Annotator::is_lookup(const Node& node) const {
  if (node.op_type != "Gather" || !node.domain.empty() || node.inputs.empty()) return false;
  const auto table = graph_.initializers.find(node.inputs[0]);
  return table != graph_.initializers.end() && table->second.dtype() == DType::f32;
}

// Nodes that read float values, or indices: dynamic ranges, weights alone, tables.
void Annotator::classify_float(size_t n) {
  const Node& node = graph_.nodes[n];
  NodeInfo& i = info_[n];
  const bool dynamic = i.config->mode == QuantMode::dynamic_range;
  QuantizedWeight weight;
  if (is_lookup(node))
    i.why_not = find_table(graph_, node, weight);
  else if (dynamic ? has_dynamic_form(node) : role_of(graph_, node) == Role::linear)
    i.why_not = find_weight(graph_, node, weight);
  else
    i.why_not = std::string(dynamic ? "dynamic ranges are" : "quantized weights alone are") + " not for operator " + node.op_type;
  if (!i.why_not.empty()) return;
  take_weight(n, weight);
  plan_.nodes[n].quantized = true;
}

void Annotator::link_values() {
  for (size_t n = 0; n < size(); ++n) {
    for (const std::string& input : graph_.nodes[n].inputs)
      if (!input.empty()) value(input).users.push_back(int(n));
    for (const std::string& output : graph_.nodes[n].outputs)
      if (!output.empty()) value(output).producer = int(n);
  }
  for (const ValueInfo& v : graph_.inputs) value(v.name).able = v.dtype == DType::f32;
  for (const ValueInfo& v : graph_.outputs) value(v.name).output = true;
}

// Shapes for dynamic dimensions of size 1. A graph for which that fails is annotated as if no Add broadcast: then compile
// finds what it cannot fuse, and the values are the same.
void Annotator::infer() {
  std::map<std::string, Shape> inputs;
  for (const ValueInfo& v : graph_.inputs) {
    if (!v.has_shape) return;
    for (const Dim& d : v.dims) inputs[v.name].push_back(d.size < 0 ? 1 : d.size);
  }
  if (Expected<ShapeMap> shapes = infer_shapes(graph_, inputs)) shapes_ = *std::move(shapes);
}

bool Annotator::same_shape(const std::string& a, const std::string& b) const {
  const auto x = shapes_.find(a), y = shapes_.find(b);
  return x == shapes_.end() || y == shapes_.end() || x->second.shape == y->second.shape;
}

Expected<QuantPlan> annotate(const Graph& graph, const Recipe& recipe) { return Annotator(graph, recipe).run(); }

}  // namespace octavo
