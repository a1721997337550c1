// Nodes that one kernel call computes: what follows a linear node or an Add, and functions of one element.
#include <algorithm>

#include "annotator.h"
#include "known_function.h"

namespace octavo {

// The node that alone reads the result of n, if the recipe wants it in int8.
int Annotator::only_user(int n) {
  const Value& v = result(n);
  if (v.output || v.users.size() != 1) return kNone;
  const int user = v.users[0];
  return info(user).config && info(user).head == kNone ? user : kNone;
}

void Annotator::take(int head, int n) {
  info(n).head = head;
  info(head).tail = n;
}

const std::string& Annotator::other_operand(int add, const std::string& operand) const {
  return node(add).inputs[node(add).inputs[0] == operand ? 1 : 0];
}

void Annotator::take_clamp(int head) {
  const int user = only_user(info(head).tail);
  if (user != kNone && info(user).role == Role::clamp) take(head, user);
}

void Annotator::grow_regions() {
  for (int n = int(size()) - 1; n >= 0; --n) {  // backwards: of two that meet in an Add, the later one takes it
    if (info(n).role != Role::linear) continue;
    take(n, n);
    const QuantizedWeight& w = *plan_.nodes[size_t(n)].weight;
    const int64_t channels = graph_.initializers.at(node(n).inputs[w.input]).shape()[size_t(w.axis)];
    const bool conv = node(n).op_type == "Conv" || node(n).op_type == "ConvTranspose";
    int user = only_user(n);
    if (!conv && !w.bias && user != kNone && info(user).role == Role::add &&
        is_bias(graph_, other_operand(user, node(n).outputs[0]), channels)) {
      take(n, user);
      user = only_user(user);
    }
    if (user != kNone && info(user).role == Role::add) {
      const std::string& sum = node(info(n).tail).outputs[0];
      const std::string& other = other_operand(user, sum);
      if (!is_constant(other) && same_shape(sum, other)) take(n, user);
    }
    take_clamp(n);
  }
}

void Annotator::grow_adds() {
  for (int n = 0; n < int(size()); ++n) {
    if ((info(n).role != Role::add && info(n).role != Role::affine) || info(n).head != kNone) continue;
    take(n, n);
    take_clamp(n);
  }
}

// Products that a linear node sums for each of its results.
int64_t Annotator::depth(int n) const {
  const QuantizedWeight& w = *plan_.nodes[size_t(n)].weight;
  const Tensor& weight = graph_.initializers.at(node(n).inputs[w.input]);
  return weight.count() / std::max<int64_t>(1, weight.shape()[size_t(w.axis)]);
}

// The linear head whose plan can compute the region on its own results; kNone if there is none.
int Annotator::linear_before(const PointwiseRegion& region) {
  const Value& base = value(region.base);
  const int head = info(base.producer).head;
  if (head == kNone || info(head).role != Role::linear || info(head).tail != base.producer || base.output) return kNone;
  const bool bias = info(base.producer).role == Role::add && is_constant(other_operand(base.producer, node(head).outputs[0]));
  const bool alone = std::all_of(base.users.begin(), base.users.end(), [&](int user) {
    return std::find(region.nodes.begin(), region.nodes.end(), size_t(user)) != region.nodes.end();
  });
  if ((base.producer != head && !bias) || !alone || depth(head) < info(head).config->function_depth) return kNone;
  if (region.nodes.size() == 1 && function_of(graph_.nodes[region.nodes[0]])) return head;
  return known_function(pointwise_values(graph_, region, function_points())) ? head : kNone;
}

// A clamp alone is left as it is: its result shares the parameters of its input.
void Annotator::find_pointwise_regions() {
  const auto takes = [&](size_t n) {
    const NodeInfo& i = info_[n];
    return i.role != Role::none && i.head == kNone && is_pointwise(graph_.nodes[n]);
  };
  const auto producer = [&](const std::string& name) { return value(name).producer; };
  const auto stays_inside = [&](const std::string& name, const std::vector<size_t>& nodes) {
    const Value& v = value(name);
    return !v.output && std::all_of(v.users.begin(), v.users.end(),
                                    [&](int user) { return std::find(nodes.begin(), nodes.end(), size_t(user)) != nodes.end(); });
  };
  for (size_t n = size(); n-- > 0;) {
    if (!takes(n)) continue;
    const PointwiseRegion region = find_pointwise(graph_, n, takes, producer, stays_inside);
    const bool alone = region.nodes.size() == 1;
    if (region.nodes.empty() || (alone && info_[n].role == Role::clamp) || value(region.base).producer == kNone ||
        !same_shape(region.base, graph_.nodes[n].outputs[0])) {
      if (info_[n].role == Role::pointwise) info_[n].role = Role::none;
      continue;
    }
    if (const int linear = linear_before(region); linear != kNone) {
      for (const size_t inner : region.nodes) take(linear, int(inner));
      continue;
    }
    const int head = int(region.nodes[0]);
    for (const size_t inner : region.nodes) info_[inner].head = head;
    info(head).role = Role::pointwise;
    info(head).tail = int(n);
    info(head).base = region.base;
    plan_.functions.push_back(region);
  }
  for (size_t n = 0; n < size(); ++n)
    if (info_[n].role == Role::none && info_[n].why_not.empty())
      info_[n].why_not = "operator " + graph_.nodes[n].op_type + " has no int8 kernel for these operands";
}

}  // namespace octavo
