#include "branches.h"

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_set>

#include "control.h"
#include "observer.h"
#include "shape.h"

namespace octavo {
namespace {

constexpr const char* kBranches[] = {"then_branch", "else_branch"};

// Types where they can be told; shapes only if all of the inputs' are fixed.
class Types {
 public:
  explicit Types(const Graph& graph) : graph_(graph), values_(graph) {
    for (const ValueInfo& input : graph.inputs)
      fixed_ = fixed_ && input.has_shape && std::none_of(input.dims.begin(), input.dims.end(), [](const Dim& d) { return d.size < 0; });
    values_.set_inputs(graph, 1);
    for (const Node& node : graph.nodes) (void)values_.visit(node);
  }

  std::optional<ValueInfo> of(const std::string& value, const std::string& name) const {
    for (const ValueInfo& input : graph_.inputs)
      if (input.name == value) return ValueInfo{name, input.dtype, input.dims, input.has_shape};
    const TypeShape* type = values_.type(value);
    if (!type) return std::nullopt;
    ValueInfo info{name, type->dtype, {}, true};
    for (const int64_t size : type->shape) info.dims.push_back({fixed_ ? size : -1, ""});
    return info;
  }

 private:
  const Graph& graph_;
  Propagation values_;
  bool fixed_ = true;
};

std::string prefix_of(const Graph& graph, const Preparation::Branch& branch) {
  return graph.nodes[branch.node].name + "/" + branch.name + "/";
}

void collect(const std::string& prefix, Preparation& p, std::vector<std::pair<std::string, Preparation*>>& parts) {
  parts.emplace_back(prefix, &p);
  for (Preparation::Branch& branch : p.branches) collect(prefix + prefix_of(p.graph, branch), branch.part, parts);
}

void annotate_part(const Preparation& p, bool calibrated, bool seen, std::vector<Annotation>& annotations) {
  for (size_t n = 0; n < p.graph.nodes.size(); ++n) {
    const Node& node = p.graph.nodes[n];
    Annotation a{node.name, node.op_type, p.plan.nodes[n].quantized, p.plan.nodes[n].reason};
    if (a.quantized && !seen) a.quantized = false, a.reason = "no sample took its branch";
    annotations.push_back(std::move(a));
  }
  for (const Preparation::Branch& branch : p.branches)
    annotate_part(branch.part, calibrated, !calibrated || (seen && was_seen(branch.part)), annotations);
}

// Both branches of one node, as they are now or converted. Captured constants that the converted ones still have as they were
// are captured again, so that the branches share them.
Status replace(const Preparation& p, size_t n, Node& node, Expected<Graph> (*convert)(const Preparation&)) {
  struct New {
    Graph graph;
    std::map<size_t, std::string> captured;  // by input of the node
  };
  std::vector<New> branches;
  std::set<size_t> all;  // inputs of the node that a branch still captures
  const Node& old = p.graph.nodes[n];
  for (const char* name : kBranches) {
    const Graph& before = *subgraph(old, name);
    New branch{before, {}};
    for (size_t i = 0; i < before.inputs.size(); ++i) branch.captured[1 + i] = before.inputs[i].name;
    const auto prepared = std::find_if(p.branches.begin(), p.branches.end(), [&](const auto& b) { return b.node == n && b.name == name; });
    if (prepared != p.branches.end() && was_seen(prepared->part)) {
      Expected<Graph> converted = convert(prepared->part);
      if (!converted) return Status::error(converted.status().code(), "If '%.100s': %s: %s", node.name.c_str(), name, converted.status().text());
      branch.graph = *std::move(converted);
      for (size_t i = 0; i < before.inputs.size(); ++i) {
        const std::string& value = before.inputs[i].name;
        const auto constant = p.graph.initializers.find(old.inputs[1 + i]);
        if (constant == p.graph.initializers.end()) continue;
        const auto own = branch.graph.initializers.find(value);
        if (own == branch.graph.initializers.end() || own->second.data() != constant->second.data()) branch.captured.erase(1 + i);
        else branch.graph.initializers.erase(own);
      }
    }
    for (const auto& [input, value] : branch.captured) all.insert(input);
    branches.push_back(std::move(branch));
  }
  std::vector<std::string> inputs = {node.inputs[0]};
  for (const size_t input : all) inputs.push_back(node.inputs[input]);
  for (size_t b = 0; b < branches.size(); ++b) {
    Graph& graph = branches[b].graph;
    std::unordered_set<std::string> names;
    for (const auto& [input, value] : branches[b].captured) names.insert(value);
    for (const auto& [value, tensor] : graph.initializers) names.insert(value);
    for (const Node& x : graph.nodes) names.insert(x.outputs.begin(), x.outputs.end());
    graph.inputs.clear();
    for (const size_t input : all) {
      const auto it = branches[b].captured.find(input);
      // What the other branch alone captures has a name that nothing here has.
      std::string name = it != branches[b].captured.end() ? it->second : "unused_" + std::to_string(input);
      while (it == branches[b].captured.end() && !names.insert(name).second) name += "_";
      graph.inputs.push_back({std::move(name), DType::f32, {}, false, false});
    }
    graph.captures = graph.inputs.size();
    node.attributes[kBranches[b]] = std::make_shared<const Graph>(std::move(graph));
  }
  node.inputs = std::move(inputs);
  return {};
}

}  // namespace

Status prepare_branches(Preparation& p, const Recipe& recipe) {
  const Types types(p.graph);
  for (size_t n = 0; n < p.graph.nodes.size(); ++n) {
    const Node& node = p.graph.nodes[n];
    if (!is_control(node) || node.op_type != "If" || !check_control(node).ok()) continue;
    for (const char* name : kBranches) {
      Preparation::Branch branch;
      branch.node = n;
      branch.name = name;
      Graph graph = *subgraph(node, name);
      const std::vector<ValueInfo> captured = std::move(graph.inputs);
      graph.inputs.clear();
      graph.captures = 0;
      bool known = true;
      for (size_t i = 0; i < captured.size() && known; ++i) {
        const auto constant = p.graph.initializers.find(node.inputs[1 + i]);
        if (constant != p.graph.initializers.end()) {
          graph.initializers[captured[i].name] = constant->second;
          continue;
        }
        const std::optional<ValueInfo> info = types.of(node.inputs[1 + i], captured[i].name);
        known = info.has_value();
        if (!known) break;
        graph.inputs.push_back(*info);
        branch.in.emplace_back(1 + i, captured[i].name);
      }
      if (!known) continue;
      Expected<Preparation> prepared = prepare_graph(graph, recipe);
      if (!prepared)
        return Status::error(prepared.status().code(), "If '%.100s': %s: %s", node.name.c_str(), name, prepared.status().text());
      branch.part = *std::move(prepared);
      p.branches.push_back(std::move(branch));
    }
  }
  return {};
}

Expected<std::vector<BranchSamples>> sample_branches(const Preparation& p, const std::vector<Sample>& samples,
                                                     const std::vector<uint64_t>& numbers) {
  std::vector<BranchSamples> result(p.branches.size());
  if (result.empty()) return result;
  Graph probe = p.graph;
  probe.outputs.clear();
  std::map<std::string, size_t> index;
  const auto ask = [&](const std::string& value) {
    if (index.emplace(value, probe.outputs.size()).second) probe.outputs.push_back({value, DType::f32, {}, false});
  };
  for (const Preparation::Branch& branch : p.branches) {
    ask(p.graph.nodes[branch.node].inputs[0]);
    for (const auto& [input, name] : branch.in) ask(p.graph.nodes[branch.node].inputs[input]);
  }
  remove_dead(probe);
  Expected<Session> session = Session::create(std::move(probe));
  if (!session) return session.status();
  for (size_t s = 0; s < samples.size(); ++s) {
    const Expected<std::vector<Tensor>> values = session->run(samples[s]);
    if (!values) return Status::error(values.status().code(), "calibration sample %zu: %s", s, values.status().text());
    for (size_t b = 0; b < p.branches.size(); ++b) {
      const Preparation::Branch& branch = p.branches[b];
      const std::vector<std::string>& inputs = p.graph.nodes[branch.node].inputs;
      const Tensor& condition = (*values)[index.at(inputs[0])];
      if (condition.dtype() != DType::boolean || condition.count() != 1) continue;  // compile() says so
      if ((*condition.as<uint8_t>() != 0) != (branch.name == kBranches[0])) continue;
      Sample taken;
      for (const auto& [input, name] : branch.in) taken[name] = (*values)[index.at(inputs[input])];
      result[b].samples.push_back(std::move(taken));
      result[b].numbers.push_back(numbers[s]);
    }
  }
  return result;
}

std::vector<std::pair<std::string, Preparation*>> all_parts(Preparation& p) {
  std::vector<std::pair<std::string, Preparation*>> parts;
  collect("", p, parts);
  return parts;
}

bool was_seen(const Preparation& p) {
  bool needed = false;
  for (const QuantizedValue& v : p.plan.values) {
    if (!v.observed) continue;
    if (p.observers.at(v.name)->qparams(v.config)) return true;
    needed = true;
  }
  return !needed;
}

std::vector<Annotation> annotations_of(const Preparation& p, bool calibrated) {
  std::vector<Annotation> annotations;
  annotate_part(p, calibrated, true, annotations);
  return annotations;
}

Status convert_branches(const Preparation& p, Graph& graph, Expected<Graph> (*convert)(const Preparation&)) {
  for (size_t b = 0; b < p.branches.size(); ++b) {
    const size_t n = p.branches[b].node;
    if (b > 0 && p.branches[b - 1].node == n) continue;
    const auto node = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& x) { return x.name == p.graph.nodes[n].name; });
    if (node == graph.nodes.end()) continue;  // nothing needs it
    if (Status s = replace(p, n, *node, convert); !s.ok()) return s;
  }
  remove_dead(graph);
  return {};
}

}  // namespace octavo
