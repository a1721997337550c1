// Control flow that is known before the graph runs becomes plain nodes, which can be quantized and fused like any others.
#include <algorithm>
#include <limits>
#include <optional>
#include <unordered_set>

#include "control.h"
#include "shape.h"

namespace octavo {
namespace {

// What one more copy of a graph costs of the budget.
int64_t size_of(const Graph& graph) {
  size_t size = 1 + graph.outputs.size() + graph.initializers.size();
  for (const Node& node : graph.nodes) size += node.inputs.size() + node.outputs.size();
  return int64_t(size);
}

class Inliner {
 public:
  Inliner(Graph& graph, int64_t& budget) : graph_(graph), budget_(budget), values_(graph) {
    for (const ValueInfo& input : graph.inputs) value_names_.insert(input.name);
    for (const auto& [name, tensor] : graph.initializers) value_names_.insert(name);
    for (const Node& node : graph.nodes) {
      node_names_.insert(node.name);
      value_names_.insert(node.outputs.begin(), node.outputs.end());
    }
  }

  void run(const std::map<std::string, Shape>& input_shapes) {
    for (const ValueInfo& input : graph_.inputs)
      if (Expected<TypeShape> type = input_shape(input, input_shapes)) values_.set_type(input.name, *std::move(type));
    std::vector<Node> old = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : old) add(std::move(node));
  }

 private:
  void add(Node node) {
    if (is_control(node) && check_control(node).ok() && (node.op_type == "If" ? choose(node) : unroll(node))) return;
    (void)values_.visit(node);  // shapes may be unknown here
    graph_.nodes.push_back(std::move(node));
  }

  // The value of a known tensor of one element.
  template <class T>
  std::optional<T> known(const std::string& value, DType dtype) const {
    const Tensor* t = values_.constant(value);
    return t && t->dtype() == dtype && t->count() == 1 ? std::optional<T>(*t->as<T>()) : std::nullopt;
  }

  // A name in use gets a number, from where the last one of that name left off: an unrolled body asks for each many times.
  std::string unique(std::unordered_set<std::string>& names, const std::string& name) {
    std::string candidate = name;
    while (!names.insert(candidate).second) candidate = name + "_" + std::to_string(++numbers_[name]);
    return candidate;
  }

  std::string add_constant(const std::string& name, Tensor tensor) {
    const std::string unused = unique(value_names_, name);
    values_.set_constant(unused, tensor);
    return graph_.add_initializer(unused, std::move(tensor));
  }

  // The nodes of a subgraph whose inputs are `inputs`; the names of its outputs, or nothing if it reads what it does not have.
  std::optional<std::vector<std::string>> splice(const Graph& graph, const std::vector<std::string>& inputs) {
    std::unordered_map<std::string, std::string> names = {{"", ""}};
    for (size_t i = 0; i < inputs.size(); ++i) names[graph.inputs[i].name] = inputs[i];
    std::vector<const std::string*> constants;  // sorted, so that one graph always gives the same names
    for (const auto& [name, tensor] : graph.initializers) constants.push_back(&name);
    std::sort(constants.begin(), constants.end(), [](const std::string* a, const std::string* b) { return *a < *b; });
    for (const std::string* name : constants) names[*name] = add_constant(*name, graph.initializers.at(*name));
    for (Node node : graph.nodes) {
      for (std::string& input : node.inputs) {
        const auto it = names.find(input);
        if (it == names.end()) return std::nullopt;
        input = it->second;
      }
      for (std::string& output : node.outputs)
        if (!output.empty()) output = names[output] = unique(value_names_, output);
      node.name = unique(node_names_, node.name);
      add(std::move(node));
    }
    std::vector<std::string> outputs;
    for (const ValueInfo& output : graph.outputs) {
      const auto it = names.find(output.name);
      if (it == names.end() || it->second.empty()) return std::nullopt;
      outputs.push_back(it->second);
    }
    return outputs;
  }

  // `value` under the name that the node gave its output.
  void give(const Node& node, size_t output, const std::string& value) {
    if (output >= node.outputs.size() || node.outputs[output].empty()) return;
    Node copy;
    copy.op_type = "Identity";
    copy.name = unique(node_names_, node.name + "/output" + std::to_string(output));
    copy.inputs = {value};
    copy.outputs = {node.outputs[output]};
    add(std::move(copy));
  }

  bool choose(const Node& node) {
    const std::optional<uint8_t> condition = known<uint8_t>(node.inputs[0], DType::boolean);
    if (!condition) return false;
    const size_t before = graph_.nodes.size();
    const std::optional<std::vector<std::string>> outputs =
        splice(*subgraph(node, *condition ? "then_branch" : "else_branch"), {node.inputs.begin() + 1, node.inputs.end()});
    if (!outputs) graph_.nodes.resize(before);
    for (size_t i = 0; outputs && i < outputs->size(); ++i) give(node, i, (*outputs)[i]);
    return outputs.has_value();
  }

  bool unroll(const Node& node) {
    const Graph& body = *subgraph(node, "body");
    const bool counted = !node.inputs[0].empty();
    const std::optional<int64_t> known_trips = known<int64_t>(node.inputs[0], DType::s64);
    const std::optional<uint8_t> condition = node.inputs[1].empty() ? uint8_t(1) : known<uint8_t>(node.inputs[1], DType::boolean);
    if ((counted && !known_trips) || !condition) return false;
    const int64_t trips = known_trips.value_or(std::numeric_limits<int64_t>::max());
    const size_t carried = carried_values(body);
    const int64_t size = size_of(body);
    if (trips <= kEndless && *condition && trips > budget_ / size) return false;

    const size_t before = graph_.nodes.size();
    std::vector<std::string> inputs = node.inputs;
    std::vector<std::vector<std::string>> stacked(body.outputs.size() - 1 - carried);
    bool go = *condition != 0;
    for (int64_t i = 0; go && i < trips; ++i) {
      budget_ -= size;
      inputs[0] = add_constant(node.name + "/iteration", Tensor::from(DType::s64, single_shape(body.inputs[0]), std::vector<int64_t>{i}));
      inputs[1] = add_constant(node.name + "/condition", Tensor::from(DType::boolean, single_shape(body.inputs[1]), std::vector<uint8_t>{1}));
      const std::optional<std::vector<std::string>> outputs = budget_ < 0 ? std::nullopt : splice(body, inputs);
      const std::optional<uint8_t> next = outputs ? known<uint8_t>((*outputs)[0], DType::boolean) : std::nullopt;
      if (!next || !keeps_types(inputs, *outputs, carried)) {
        graph_.nodes.resize(before);
        return false;
      }
      go = *next != 0;
      std::copy_n(outputs->begin() + 1, carried, inputs.begin() + 2);
      for (size_t k = 0; k < stacked.size(); ++k) stacked[k].push_back((*outputs)[1 + carried + k]);
    }
    for (size_t k = 0; k < stacked.size(); ++k) {
      if (carried + k >= node.outputs.size() || node.outputs[carried + k].empty()) continue;
      const std::string value = stacked[k].empty() ? nothing(node, carried + k) : stack(node, stacked[k]);
      if (value.empty()) {
        graph_.nodes.resize(before);
        return false;
      }
      give(node, carried + k, value);
    }
    for (size_t i = 0; i < carried; ++i) give(node, i, inputs[2 + i]);
    return true;
  }

  // A carried value may change its shape, not its type; infer says so of the Loop that stays.
  bool keeps_types(const std::vector<std::string>& inputs, const std::vector<std::string>& outputs, size_t carried) const {
    for (size_t i = 0; i < carried; ++i) {
      const TypeShape *a = values_.type(inputs[2 + i]), *b = values_.type(outputs[1 + i]);
      if (a && b && a->dtype != b->dtype) return false;
    }
    return true;
  }

  // What a Loop without iterations stacks; "" where its shape is not known.
  std::string nothing(const Node& node, size_t output) {
    if (!values_.visit(node).ok()) return "";
    const TypeShape* type = values_.type(node.outputs[output]);
    const Expected<Tensor> empty = Tensor::create(type->dtype, type->shape);
    return empty ? add_constant(node.name + "/nothing", *empty) : "";
  }

  std::string add_node(const Node& loop, const char* op_type, std::vector<std::string> inputs,
                       std::map<std::string, Attribute> attributes) {
    Node made;
    made.op_type = op_type;
    made.name = unique(node_names_, loop.name + "/" + op_type);
    made.inputs = std::move(inputs);
    made.outputs = {unique(value_names_, made.name + "_output")};
    made.attributes = std::move(attributes);
    std::string output = made.outputs[0];
    add(std::move(made));
    return output;
  }

  std::string stack(const Node& node, const std::vector<std::string>& parts) {
    std::vector<std::string> rows;
    for (const std::string& part : parts) {
      if (graph_.opset < 13)
        rows.push_back(add_node(node, "Unsqueeze", {part}, {{"axes", std::vector<int64_t>{0}}}));
      else
        rows.push_back(add_node(node, "Unsqueeze", {part, first_axis(node)}, {}));
    }
    return add_node(node, "Concat", std::move(rows), {{"axis", int64_t{0}}});
  }

  const std::string& first_axis(const Node& node) {
    if (first_axis_.empty()) first_axis_ = add_constant(node.name + "/axis", Tensor::from(DType::s64, {1}, std::vector<int64_t>{0}));
    return first_axis_;
  }

  Graph& graph_;
  int64_t& budget_;
  Propagation values_;
  std::unordered_set<std::string> value_names_, node_names_;
  std::unordered_map<std::string, int> numbers_;
  std::string first_axis_;  // a constant 0
};

}  // namespace

void inline_control(Graph& graph, const std::map<std::string, Shape>& input_shapes, int64_t& budget) {
  if (std::any_of(graph.nodes.begin(), graph.nodes.end(), is_control)) Inliner(graph, budget).run(input_shapes);
}

}  // namespace octavo
