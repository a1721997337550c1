#include <algorithm>
#include <optional>

#include "evaluate.h"
#include "known_function.h"
#include "rewrite.h"

namespace octavo::net {
namespace {

constexpr size_t kMaxOps = 16;

// Operators that compute a function of the elements of one value, and of nothing else.
class Region {
 public:
  Region(const Net& net, int base) : net_(net), base_(base) {}

  const std::vector<int>& ops() const { return ops_; }

  // Takes the first operator that reads the base or results in the region; false if there is none.
  bool grow() {
    int next = -1;
    const auto consider = [&](int value) {
      for (const int user : net_.values[value].users)
        if (!contains(user) && fits(net_.ops[user]) && (next < 0 || net_.ops[user].order < net_.ops[next].order)) next = user;
    };
    consider(base_);
    for (const int id : ops_) consider(net_.ops[id].out[0]);
    if (next < 0 || ops_.size() >= kMaxOps) return false;
    ops_.push_back(next);
    return true;
  }

  // Whether nobody outside sees the base or any result but the last one.
  bool closed() const {
    return stays_inside(base_) &&
           std::all_of(ops_.begin(), ops_.end() - 1, [&](int id) { return stays_inside(net_.ops[id].out[0]); });
  }

 private:
  bool contains(int id) const { return std::find(ops_.begin(), ops_.end(), id) != ops_.end(); }

  bool fits(const Op& op) const {
    if (!is_pointwise(op) || net_.values[op.out[0]].dtype != DType::f32 ||
        net_.values[op.out[0]].shape != net_.values[base_].shape)
      return false;
    return std::all_of(op.in.begin(), op.in.end(), [&](int v) {
      if (v < 0 || v == base_) return true;
      const Value& value = net_.values[v];
      if (value.constant) return value.constant->count() == 1 && value.dtype == DType::f32;
      return value.producer >= 0 && contains(value.producer);
    });
  }

  bool stays_inside(int value) const {
    const Value& v = net_.values[value];
    return !v.output && !v.kept && std::all_of(v.users.begin(), v.users.end(), [&](int user) { return contains(user); });
  }

  const Net& net_;
  const int base_;
  std::vector<int> ops_;  // producers first
};

Expected<std::optional<Function>> function_of(const Net& net, const std::vector<int>& ids) {
  if (ids.size() == 1)
    if (const std::optional<Function> f = octavo::function_of(net.ops[ids[0]].node)) return f;
  const Expected<std::vector<float>> values = evaluate(net, ids, function_points());
  if (!values) return values.status();
  return known_function(*values);
}

}  // namespace

Status absorb_function(Net& net, int id) {
  const Op& linear = net.ops[id];
  // Float plans are called for few columns at a time: a pass of its own is no slower.
  if (linear.in_q.empty() || linear.in.size() > 1 || net.values[linear.out[0]].dtype != DType::f32) return {};
  Region region(net, linear.out[0]);
  std::vector<int> ops;
  std::optional<Function> function;
  while (region.grow()) {
    if (!region.closed()) continue;
    const Expected<std::optional<Function>> f = function_of(net, region.ops());
    if (!f) return f.status();
    if (*f) function = *f, ops = region.ops();
  }
  if (!function) return {};
  for (size_t i = 0; i + 1 < ops.size(); ++i) net.ops[id].fused.push_back(net.ops[ops[i]].node.name);
  net.absorb(id, ops.back());
  for (size_t i = ops.size() - 1; i-- > 0;) net.erase(ops[i]);
  net.ops[id].function = function;
  return {};
}

}  // namespace octavo::net
