// Operators of ONNX Runtime's own domain, com.microsoft, as published models have them after its quantizer and its optimizer.
// Each becomes standard operators at import: quantized ones the QDQ form that they abbreviate, fused ones their parts. So
// everything behind the importer knows one form. Source: ContribOperators.md of ONNX Runtime.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "shape.h"

namespace octavo {

// Rewrites the nodes of that domain that are known; others stay, for whoever reads them to refuse. Such a graph must be sorted and of
// opset 13 at least. Errors name the node and what there is no standard form for.
Status expand_contrib(Graph& graph);
// Whether there is such a node, in subgraphs too.
bool has_contrib(const Graph& graph);

namespace contrib {

// What is known of the graph so far, and what has been made.
struct State {
  Propagation values;
  std::unordered_set<std::string> names;  // in use
  std::unordered_set<std::string> read;   // values that a node or an output of the graph reads
  std::vector<Node> nodes;
};

// One node while it is being replaced, and what is known of its inputs.
class Expansion {
 public:
  Expansion(const Node& node, Graph& graph, State& state) : node(node), graph_(graph), s_(state) {}

  const Node& node;

  int64_t opset() const { return graph_.opset; }
  bool has(size_t input) const { return input < node.inputs.size() && !node.inputs[input].empty(); }
  // "" where absent.
  const std::string& in(size_t input) const;
  const Tensor* constant(const std::string& value) const { return s_.values.constant(value); }
  const TypeShape* type(const std::string& value) const { return s_.values.type(value); }
  // Nothing where the shape is unknown.
  std::optional<size_t> rank(const std::string& value) const;
  bool output_used(size_t output) const {
    return output < node.outputs.size() && !node.outputs[output].empty() && s_.read.count(node.outputs[output]) != 0;
  }

  // A node named after this one and its operator; returns its first output.
  std::string add(const char* op_type, std::vector<std::string> inputs, std::map<std::string, Attribute> attributes = {},
                  size_t outputs = 1);
  // The outputs of the node that add() made last.
  const std::vector<std::string>& outputs() const { return s_.nodes.back().outputs; }
  // The same with this node's name, for the operator that computes what this one is about.
  std::string add_main(const char* op_type, std::vector<std::string> inputs, std::map<std::string, Attribute> attributes = {});
  // The node that was added last computes this node's output.
  void finish(size_t output = 0);
  // Another operator with this node's name, attributes and outputs.
  void replace(const char* op_type, std::vector<std::string> inputs);

  std::string ints(const std::vector<int64_t>& values);
  std::string scalar(float value);
  std::string constant(const char* what, Tensor tensor);

  std::string transpose(const std::string& x, std::vector<int64_t> perm);
  // [n, c, spatial...] <-> [n, spatial..., c]
  std::string to_first(const std::string& x, size_t rank);
  std::string to_last(const std::string& x, size_t rank);

  Status fail(const char* why) const;
  Status expect_inputs(size_t min, size_t max) const;

 private:
  std::string push(const char* op_type, std::string name, std::vector<std::string> inputs,
                   std::map<std::string, Attribute> attributes, size_t outputs);
  std::string unique(std::string name);

  Graph& graph_;
  State& s_;
};

struct Rule {
  const char* op_type;
  Status (*expand)(Expansion&);
};
// By file.
std::span<const Rule> quantized_rules() noexcept;
std::span<const Rule> fused_rules() noexcept;
std::span<const Rule> attention_rules() noexcept;

}  // namespace contrib
}  // namespace octavo
