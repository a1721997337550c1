#include "control.h"

#include <algorithm>

namespace octavo {
namespace {

Status fail(const Node& node, const char* why) noexcept {
  return Status::error(Code::invalid_argument, "%.40s '%.100s': %s", node.op_type.c_str(), node.name.c_str(), why);
}

Status fail(const Node& node, const char* what, size_t is, size_t expected) noexcept {
  return Status::error(Code::invalid_argument, "%.40s '%.100s': %zu %s, expected %zu", node.op_type.c_str(), node.name.c_str(), is,
                       what, expected);
}

// Without the captured ones, as the file has them.
size_t own_inputs(const Node& node, const Graph& graph) noexcept {
  return node.inputs.size() - std::min(node.inputs.size(), graph.captures);
}

Status check_if(const Node& node) noexcept {
  for (const char* name : {"then_branch", "else_branch"}) {
    const Graph* branch = subgraph(node, name);
    if (!branch) return fail(node, "it lacks a then_branch or an else_branch");
    if (branch->inputs.size() != branch->captures) return fail(node, "a branch has inputs");
    if (node.inputs.size() != branch->captures + 1) return fail(node, "inputs", own_inputs(node, *branch), 1);
    if (branch->outputs.size() != node.outputs.size())
      return fail(node, "outputs of a branch", branch->outputs.size(), node.outputs.size());
  }
  return node.inputs[0].empty() ? fail(node, "it has no condition") : Status();
}

Status check_loop(const Node& node) noexcept {
  const Graph* body = subgraph(node, "body");
  if (!body) return fail(node, "it has no body");
  if (body->inputs.size() < body->captures + 2) return fail(node, "its body lacks the inputs for iteration and condition");
  if (node.inputs.size() != body->inputs.size())
    return fail(node, "inputs", own_inputs(node, *body), body->inputs.size() - body->captures);
  if (body->outputs.size() < 1 + carried_values(*body)) return fail(node, "its body gives fewer values than it takes");
  if (node.outputs.size() + 1 > body->outputs.size()) return fail(node, "outputs", node.outputs.size(), body->outputs.size() - 1);
  if (std::find(node.inputs.begin() + 2, node.inputs.end(), "") != node.inputs.end()) return fail(node, "a carried value is absent");
  return {};
}

}  // namespace

bool is_control(const Node& node) noexcept { return node.domain.empty() && (node.op_type == "If" || node.op_type == "Loop"); }

const Graph* subgraph(const Node& node, const char* name) noexcept {
  for (const auto& [key, value] : node.attributes)
    if (key == name)
      if (const Subgraph* graph = std::get_if<Subgraph>(&value)) return graph->get();
  return nullptr;
}

Status check_control(const Node& node) noexcept { return node.op_type == "If" ? check_if(node) : check_loop(node); }

}  // namespace octavo
