#include "onnx/contrib.h"

#include <algorithm>

namespace octavo {
namespace contrib {

const std::string& Expansion::in(size_t input) const {
  static const std::string kAbsent;
  return has(input) ? node.inputs[input] : kAbsent;
}

std::optional<size_t> Expansion::rank(const std::string& value) const {
  const TypeShape* t = s_.values.type(value);
  return t ? std::optional(t->shape.size()) : std::nullopt;
}

std::string Expansion::unique(std::string name) {
  while (!s_.names.insert(name).second) name += "_";
  return name;
}

std::string Expansion::push(const char* op_type, std::string name, std::vector<std::string> inputs,
                            std::map<std::string, Attribute> attributes, size_t outputs) {
  Node made;
  made.op_type = op_type;
  made.name = std::move(name);
  while (!inputs.empty() && inputs.back().empty()) inputs.pop_back();
  made.inputs = std::move(inputs);
  made.attributes = std::move(attributes);
  for (size_t i = 0; i < outputs; ++i) made.outputs.push_back(unique(made.name + "_output" + (i ? std::to_string(i) : "")));
  // Where shapes are not known, whoever needs them says so.
  (void)s_.values.visit(made);
  s_.nodes.push_back(std::move(made));
  return s_.nodes.back().outputs[0];
}

std::string Expansion::add(const char* op_type, std::vector<std::string> inputs, std::map<std::string, Attribute> attributes,
                           size_t outputs) {
  return push(op_type, unique(node.name + "/" + op_type), std::move(inputs), std::move(attributes), outputs);
}

std::string Expansion::add_main(const char* op_type, std::vector<std::string> inputs, std::map<std::string, Attribute> attributes) {
  return push(op_type, node.name, std::move(inputs), std::move(attributes), 1);
}

void Expansion::finish(size_t output) {
  Node& last = s_.nodes.back();
  last.outputs[0] = node.outputs[output];
  (void)s_.values.visit(last);
}

void Expansion::replace(const char* op_type, std::vector<std::string> inputs) {
  Node made = node;
  made.op_type = op_type;
  made.domain.clear();
  made.inputs = std::move(inputs);
  while (!made.inputs.empty() && made.inputs.back().empty()) made.inputs.pop_back();
  (void)s_.values.visit(made);
  s_.nodes.push_back(std::move(made));
}

std::string Expansion::constant(const char* what, Tensor tensor) {
  const std::string& name = graph_.add_initializer(unique(node.name + "/" + what), std::move(tensor));
  s_.values.set_constant(name, graph_.initializers.at(name));
  return name;
}

std::string Expansion::ints(const std::vector<int64_t>& values) {
  return constant("ints", Tensor::from(DType::s64, {int64_t(values.size())}, values));
}

std::string Expansion::scalar(float value) { return constant("scalar", Tensor::from(DType::f32, {}, std::vector<float>{value})); }

std::string Expansion::transpose(const std::string& x, std::vector<int64_t> perm) {
  return add("Transpose", {x}, {{"perm", std::move(perm)}});
}

std::string Expansion::to_first(const std::string& x, size_t rank) {
  std::vector<int64_t> perm = {0, int64_t(rank) - 1};
  for (size_t d = 1; d + 1 < rank; ++d) perm.push_back(int64_t(d));
  return transpose(x, std::move(perm));
}

std::string Expansion::to_last(const std::string& x, size_t rank) {
  std::vector<int64_t> perm = {0};
  for (size_t d = 2; d < rank; ++d) perm.push_back(int64_t(d));
  perm.push_back(1);
  return transpose(x, std::move(perm));
}

Status Expansion::fail(const char* why) const {
  return Status::error(Code::unsupported, "com.microsoft.%.60s '%.100s': %.150s", node.op_type.c_str(), node.name.c_str(), why);
}

Status Expansion::expect_inputs(size_t min, size_t max) const {
  bool fits = node.inputs.size() >= min && node.inputs.size() <= max && !node.outputs.empty() && !node.outputs[0].empty();
  return fits ? Status()
              : Status::error(Code::invalid_argument, "com.microsoft.%.60s '%.100s': %zu inputs, expected %zu to %zu, and an output",
                              node.op_type.c_str(), node.name.c_str(), node.inputs.size(), min, max);
}

}  // namespace contrib

namespace {

using contrib::Rule;

const Rule* rule_of(const Node& node) {
  if (node.domain != "com.microsoft") return nullptr;
  for (const auto rules : {contrib::quantized_rules(), contrib::fused_rules(), contrib::attention_rules()})
    for (const Rule& rule : rules)
      if (node.op_type == rule.op_type) return &rule;
  return nullptr;
}

}  // namespace

bool has_contrib(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (rule_of(node)) return true;
    for (const auto& [name, attribute] : node.attributes)
      if (const Subgraph* inner = std::get_if<Subgraph>(&attribute); inner && *inner && has_contrib(**inner)) return true;
  }
  return false;
}

Status expand_contrib(Graph& graph) {
  if (std::none_of(graph.nodes.begin(), graph.nodes.end(), rule_of)) return {};

  contrib::State state{Propagation(graph), {}, {}, {}};
  state.values.set_inputs(graph, kOpenDimension);
  for (const ValueInfo& input : graph.inputs) state.names.insert(input.name);
  for (const auto& [name, tensor] : graph.initializers) state.names.insert(name);
  for (const ValueInfo& output : graph.outputs) state.read.insert(output.name);
  for (const Node& node : graph.nodes) {
    state.names.insert(node.name);
    state.names.insert(node.outputs.begin(), node.outputs.end());
    state.read.insert(node.inputs.begin(), node.inputs.end());
  }
  bool left = false;
  for (const Node& node : graph.nodes) {
    if (const Rule* rule = rule_of(node)) {
      contrib::Expansion expansion(node, graph, state);
      if (Status s = rule->expand(expansion); !s.ok()) return s;
      continue;
    }
    left |= node.domain == "com.microsoft";
    (void)state.values.visit(node);
    state.nodes.push_back(node);
  }
  graph.nodes = std::move(state.nodes);
  if (!left) graph.other_opsets.erase("com.microsoft");
  return {};
}

}  // namespace octavo
