// Products with one left operand, as one step. The parts stay plans of their own, one after the other over the same rows: an
// epilogue has one zero point and one range for its call, and results beside each other in one matrix would have to be read
// through strides. What is won is what would be won: A stays in the cache, and threads are woken once.
#include <map>

#include "rewrite.h"

namespace octavo::net {
namespace {

bool is_mergeable(const Net& net, const Op& op) {
  const bool is_plan = op.kind == Kind::linear && (!op.in_q.empty() || op.linear->weight.dtype() == DType::f32);
  return !op.dead && is_plan && !op.linear->conv && op.in.size() == 1 && op.out.size() == 1 && !op.function &&
         !net.values[op.in[0]].constant;
}

void merge(Net& net, const std::vector<int>& ids) {
  Op merged;
  merged.kind = Kind::linears;
  merged.node = net.ops[ids[0]].node;
  merged.in = net.ops[ids[0]].in;
  merged.in_q = net.ops[ids[0]].in_q;
  merged.order = net.ops[ids[0]].order;
  merged.why_not_int8 = net.ops[ids[0]].why_not_int8;
  for (const int id : ids) {
    const Op& part = net.ops[id];
    if (id != ids[0]) merged.fused.push_back(part.node.name);
    merged.fused.insert(merged.fused.end(), part.fused.begin(), part.fused.end());
    merged.out.push_back(part.out[0]);
    merged.parts.push_back(part);
  }
  for (const int id : ids) net.erase(id);
  net.add_op(std::move(merged));
}

}  // namespace

void merge_linear(Net& net) {
  std::map<int, std::vector<int>> by_input;
  for (const int id : net.sorted())
    if (is_mergeable(net, net.ops[id])) by_input[net.ops[id].in[0]].push_back(id);
  // Float and int8 ones of one input differ in what they read: a byte value has int8 readers alone.
  for (const auto& [input, ids] : by_input)
    if (ids.size() > 1) merge(net, ids);
}

}  // namespace octavo::net
