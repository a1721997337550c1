// Graphs between a float one and its quantized twin.
#include <new>
#include <unordered_map>
#include <unordered_set>

#include "octavo/tune.h"

namespace octavo {
namespace {

int64_t integer_at(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DType::u8:
      return t.as<uint8_t>()[i];
    case DType::s8:
      return t.as<int8_t>()[i];
    case DType::s32:
      return t.as<int32_t>()[i];
    default:
      return 0;
  }
}

// The real values of a constant behind DequantizeLinear: one scale, or one for each index of the axis. An empty tensor: in blocks.
Tensor real_values(const Graph& graph, const Node& node, const Tensor& q) {
  const Tensor& scale = graph.initializers.at(node.inputs[1]);
  const bool has_zero = node.inputs.size() > 2 && !node.inputs[2].empty();
  const Tensor* zero = has_zero ? &graph.initializers.at(node.inputs[2]) : nullptr;
  int64_t axis = node.get_int("axis", 1), inner = 1;
  const int64_t rank = int64_t(q.shape().size());
  if (axis < 0) axis += rank;
  if (scale.count() > 1 && (axis < 0 || axis >= rank || q.shape()[size_t(axis)] != scale.count())) return {};
  for (int64_t d = axis + 1; d < rank; ++d) inner *= q.shape()[size_t(d)];
  std::vector<float> values(size_t(q.count()));
  for (int64_t i = 0; i < q.count(); ++i) {
    const int64_t j = scale.count() == 1 ? 0 : i / inner % scale.count();
    values[size_t(i)] = float(integer_at(q, i) - (zero ? integer_at(*zero, j) : 0)) * scale.as<float>()[j];
  }
  return Tensor::from(DType::f32, q.shape(), values);
}

bool is_constant(const Graph& graph, const Node& node, size_t input) {
  return input >= node.inputs.size() || node.inputs[input].empty() || graph.initializers.count(node.inputs[input]) != 0;
}

}  // namespace

Expected<Graph> dequantized(const Graph& graph) try {
  std::unordered_map<std::string, const Node*> quantizes;  // by output
  for (const Node& node : graph.nodes)
    if (node.op_type == "QuantizeLinear" && !node.outputs.empty()) quantizes[node.outputs[0]] = &node;
  std::unordered_set<std::string> outputs;
  for (const ValueInfo& output : graph.outputs) outputs.insert(output.name);

  Graph result = graph;
  result.nodes.clear();
  std::unordered_map<std::string, std::string> renamed;
  for (const Node& node : graph.nodes) {
    const bool dequantizes = node.op_type == "DequantizeLinear" && node.domain.empty() && node.inputs.size() >= 2 &&
                             is_constant(graph, node, 1) && is_constant(graph, node, 2) && !outputs.count(node.outputs[0]);
    const auto constant = dequantizes ? graph.initializers.find(node.inputs[0]) : graph.initializers.end();
    const auto quantize = dequantizes ? quantizes.find(node.inputs[0]) : quantizes.end();
    if (constant != graph.initializers.end()) {
      Tensor real = real_values(graph, node, constant->second);
      if (real.count() != constant->second.count())
        return Status::error(Code::unsupported, "node '%.150s': its constant is quantized in blocks", node.name.c_str());
      result.add_initializer(node.outputs[0], std::move(real));
      continue;
    }
    if (quantize != quantizes.end()) {
      renamed[node.outputs[0]] = quantize->second->inputs[0];
      continue;
    }
    result.nodes.push_back(node);
  }
  for (Node& node : result.nodes)
    for (std::string& input : node.inputs)
      for (auto it = renamed.find(input); it != renamed.end(); it = renamed.find(input)) input = it->second;
  remove_dead(result);
  if (Status s = sort_topologically(result); !s.ok()) return s;
  return result;
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "dequantized: out of memory");
}

Expected<Graph> mixed(const Graph& float_graph, const Graph& int8_graph, const std::set<std::string>& float_nodes) try {
  std::unordered_map<std::string, const Node*> by_name;
  for (const Node& node : float_graph.nodes) by_name[node.name] = &node;
  std::unordered_set<std::string> present;
  for (const Node& node : int8_graph.nodes) present.insert(node.name);
  Graph result = int8_graph;
  result.nodes.clear();
  std::unordered_set<std::string> replaced;
  for (const std::string& name : float_nodes) {
    const auto it = by_name.find(name);
    if (it == by_name.end() || !present.count(name))
      return Status::error(Code::invalid_argument, "node '%.150s' is not in both graphs", name.c_str());
    replaced.insert(it->second->outputs.begin(), it->second->outputs.end());
    for (const std::string& input : it->second->inputs)
      if (const auto constant = float_graph.initializers.find(input); constant != float_graph.initializers.end()) {
        result.add_initializer(input, constant->second);
        replaced.insert(input);
      }
  }
  // Each stands where its twin stood; what else produces its values goes: the last of several nodes that stand for it.
  for (const Node& node : int8_graph.nodes) {
    if (float_nodes.count(node.name)) {
      result.nodes.push_back(*by_name.at(node.name));
      continue;
    }
    bool same = false;
    for (const std::string& output : node.outputs) same |= !output.empty() && replaced.count(output) != 0;
    if (!same) result.nodes.push_back(node);
  }
  remove_dead(result);
  if (Status s = sort_topologically(result); !s.ok()) return s;
  return result;
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "mixed: out of memory");
}

}  // namespace octavo
