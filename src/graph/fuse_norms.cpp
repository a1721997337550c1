// Layer and RMS normalization as exporters spell them out where the opset has no operator for them (before 17, and 23):
//     d = x - ReduceMean(x)  [RMS: x],  s = Sqrt(ReduceMean(d * d) + epsilon),  y = d / s [* scale [+ bias]]
// y also as d * Reciprocal(s) and d * (1 / s), d * d also as Pow(d, 2), d of the quotient also computed by itself.
#include <algorithm>

#include "rewrite.h"

namespace octavo::net {
namespace {

bool is(const Op& op, const char* type) { return op.kind == Kind::generic && op.node.domain.empty() && op.node.op_type == type; }

// The only element of a constant of any numeric type.
std::optional<double> scalar(const Net& net, const Op& op, size_t index) {
  const Tensor* t = net.constant(op, index);
  if (!t || t->count() != 1) return std::nullopt;
  if (const std::vector<float> f = floats(*t); !f.empty()) return double(f[0]);
  if (const std::vector<int64_t> i = integers(*t); !i.empty()) return double(i[0]);
  return std::nullopt;
}

class Norm {
 public:
  // What ends in the Sqrt `root`, if it is one.
  Norm(Net& net, int root) : net_(net), root_(root) { found_ = read() && nobody_else_sees(); }
  bool found() const { return found_; }

  // The last of its operators becomes the normalization.
  void fuse() {
    std::vector<std::string> names;
    for (const int id : inside_)
      if (id != last_) names.push_back(net_.ops[id].node.name);
    std::vector<int> in = {x_, constant("/scale", scale_ ? *scale_ : std::vector<float>(size_t(channels()), 1.0f))};
    if (bias_) in.push_back(constant("/bias", *bias_));
    net_.set_inputs(last_, std::move(in));
    Op& op = net_.ops[last_];
    op.node.op_type = layer_ ? "LayerNormalization" : "RMSNormalization";
    op.node.attributes = {{"axis", int64_t{-1}}, {"epsilon", epsilon_}};
    op.fused = std::move(names);
  }

 private:
  const Op* producer(int value, const char* type) const {
    const Op* op = value < 0 ? nullptr : net_.producer(value);
    return op && is(*op, type) && op->out.size() == 1 ? op : nullptr;
  }
  // Notes an operator as one of the normalization; its result.
  int take(const Op* op) {
    const int id = net_.values[op->out[0]].producer;
    if (std::find(inside_.begin(), inside_.end(), id) == inside_.end()) inside_.push_back(id);
    return op->out[0];
  }

  // The value whose mean over the last axis `value` is.
  std::optional<int> averaged(int value) {
    const Op* mean = producer(value, "ReduceMean");
    if (!mean) return std::nullopt;
    Shape shape = net_.values[mean->in[0]].shape;
    if (shape.empty() || shape.back() < 1 || net_.values[mean->in[0]].dtype != DType::f32) return std::nullopt;
    shape.back() = 1;
    if (net_.values[value].shape != shape) return std::nullopt;  // axes of one element may be averaged too
    take(mean);
    return mean->in[0];
  }
  // The value that is squared.
  std::optional<int> squared(int value) {
    if (const Op* mul = producer(value, "Mul"); mul && mul->in[0] == mul->in[1]) return take(mul), mul->in[0];
    const Op* pow = producer(value, "Pow");
    if (!pow || scalar(net_, *pow, 1) != 2.0) return std::nullopt;
    take(pow);
    return pow->in[0];
  }
  // The other operand of an operator with a constant.
  std::optional<std::pair<int, size_t>> constant_operand(const Op& op) const {
    for (const size_t i : {size_t{1}, size_t{0}})
      if (net_.constant(op, i)) return std::pair(op.in[1 - i], i);
    return std::nullopt;
  }

  bool read() {
    const Op* root = &net_.ops[root_];
    const Op* add = producer(root->in[0], "Add");
    const auto sum = add ? constant_operand(*add) : std::nullopt;
    const auto epsilon = sum ? scalar(net_, *add, sum->second) : std::nullopt;
    if (!epsilon || !(*epsilon >= 0)) return false;
    epsilon_ = float(*epsilon);
    const auto square = averaged(sum->first);
    const auto centred = square ? squared(*square) : std::nullopt;
    if (!centred) return false;
    take(add);
    take(root);
    x_ = *centred;
    if (const Op* sub = producer(*centred, "Sub")) {
      const auto x = averaged(sub->in[1]);
      if (x && *x == sub->in[0]) {
        layer_ = true;
        x_ = *x;
        take(sub);
      }
    }
    if (!read_quotient(*centred)) return false;
    scale_ = affine("Mul");
    if (layer_) bias_ = affine("Add");
    return true;
  }

  // x - mean once more, or the same value.
  bool is_centred(int value, int centred) {
    if (value == centred) return true;
    const Op* sub = layer_ ? producer(value, "Sub") : nullptr;
    if (!sub || sub->in[0] != x_) return false;
    const auto x = averaged(sub->in[1]);
    if (!x || *x != x_) return false;
    take(sub);
    return true;
  }

  bool read_quotient(int centred) {
    int divisor = net_.ops[root_].out[0], user = net_.only_user(divisor);
    if (user < 0) return false;
    const Op* op = &net_.ops[user];
    const bool inverse = is(*op, "Reciprocal") || (is(*op, "Div") && op->in[1] == divisor && scalar(net_, *op, 0) == 1.0);
    if (inverse) {
      divisor = take(op);
      user = net_.only_user(divisor);
      if (user < 0) return false;
      op = &net_.ops[user];
    }
    if (!is(*op, inverse ? "Mul" : "Div")) return false;
    const size_t at = op->in[1] == divisor ? 1 : 0;
    if ((!inverse && at == 0) || !is_centred(op->in[1 - at], centred)) return false;
    last_ = user;
    take(op);
    return net_.values[op->out[0]].shape == net_.values[x_].shape;
  }

  // The constants of a Mul or Add that follows; without it the normalization ends before.
  std::optional<std::vector<float>> affine(const char* type) {
    const int value = net_.ops[last_].out[0], user = net_.only_user(value);
    if (user < 0 || !is(net_.ops[user], type)) return std::nullopt;
    const Op& op = net_.ops[user];
    const auto operand = constant_operand(op);
    const Shape& shape = net_.values[x_].shape;
    if (!operand || operand->first != value || net_.values[op.out[0]].shape != shape) return std::nullopt;
    auto values = per_channel(*net_.constant(op, operand->second), shape.size(), shape.size() - 1, channels());
    if (!values) return std::nullopt;
    last_ = user;
    take(&op);
    return values;
  }

  int64_t channels() const { return net_.values[x_].shape.back(); }
  int constant(const char* suffix, const std::vector<float>& values) {
    return net_.add_constant(net_.ops[last_].node.name + suffix, Tensor::from(DType::f32, {channels()}, values));
  }

  bool nobody_else_sees() const {
    const auto inside = [this](int user) { return std::find(inside_.begin(), inside_.end(), user) != inside_.end(); };
    return std::all_of(inside_.begin(), inside_.end(), [&](int id) {
      const Value& v = net_.values[net_.ops[id].out[0]];
      return id == last_ || (!v.output && !v.kept && std::all_of(v.users.begin(), v.users.end(), inside));
    });
  }

  Net& net_;
  const int root_;
  bool found_ = false, layer_ = false;
  int x_ = -1, last_ = -1;
  std::optional<std::vector<float>> scale_, bias_;
  float epsilon_ = 0;
  std::vector<int> inside_;
};

}  // namespace

void fuse_norms(Net& net) {
  for (const int id : net.sorted()) {
    if (net.ops[id].dead || !is(net.ops[id], "Sqrt") || net.ops[id].out.size() != 1) continue;
    if (Norm norm(net, id); norm.found()) norm.fuse();
  }
  net.sweep();
}

}  // namespace octavo::net
