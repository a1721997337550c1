// Products whose ranges are found at run time, as quantizers write them in standard operators.
#include <algorithm>
#include <cmath>

#include "rewrite.h"
#include "window.h"
#include "zero_points.h"

namespace octavo::net {
namespace {

bool is_op(const Op* op, const char* type) {
  return op && op->kind == Kind::generic && op->node.domain.empty() && op->node.op_type == type;
}

// The f32 constant with one element that `op` has beside `value`.
std::optional<float> scalar_beside(const Net& net, const Op& op, int value) {
  if (op.in.size() != 2) return std::nullopt;
  const Tensor* t = net.constant(op, op.in[0] == value ? 1 : 0);
  if (!t || t->dtype() != DType::f32 || t->count() != 1) return std::nullopt;
  return *t->as<float>();
}

// ---- quantize_rows

bool over_last_axis(const Net& net, const Op& op) {
  std::vector<int64_t> axes = op.node.get_ints("axes");
  if (const Tensor* t = net.constant(op, 1)) axes = integers(*t);
  const int64_t rank = int64_t(net.values[op.in[0]].shape.size());
  return axes.size() == 1 && (axes[0] == -1 || axes[0] == rank - 1) && op.node.get_int("keepdims", 1) != 0;
}

// Cast(Round(Div(x, scale))) with scale = Max(Div(ReduceMax(Abs(x)), steps), least); id is the Cast.
void fuse_rows(Net& net, int id) {
  const int q = net.ops[id].out[0];
  if (net.values[q].dtype != DType::s8) return;
  const Op* round = net.producer(net.ops[id].in[0]);
  if (!is_op(round, "Round")) return;
  const Op* units = net.producer(round->in[0]);
  if (!is_op(units, "Div")) return;
  const int x = units->in[0], scale = units->in[1];
  const Op* least = net.producer(scale);
  if (!is_op(least, "Max") || least->in.size() != 2) return;
  const int share = net.producer(least->in[0]) ? least->in[0] : least->in[1];
  const Op* step = net.producer(share);
  if (!is_op(step, "Div")) return;
  const Op* largest = net.producer(step->in[0]);
  if (!is_op(largest, "ReduceMax") || !over_last_axis(net, *largest)) return;
  const Op* magnitude = net.producer(largest->in[0]);
  if (!is_op(magnitude, "Abs") || magnitude->in[0] != x) return;
  const std::optional<float> eps = scalar_beside(net, *least, share), steps = scalar_beside(net, *step, step->in[0]);
  if (!eps || !steps || !(*eps > 0) || !(*steps >= 1) || !(*steps <= 127) || *steps != std::floor(*steps)) return;
  if (net.values[x].dtype != DType::f32 || net.values[x].shape.empty() || net.values[x].shape.back() < 1) return;
  // Nobody else may see what vanishes; the scale stays.
  for (const Op* op : {round, units, step, largest, magnitude})
    if (net.only_user(op->out[0]) < 0) return;
  Op rows;
  rows.kind = Kind::quantize_rows;
  rows.node = net.ops[id].node;
  rows.row_steps = *steps;
  rows.least_scale = *eps;
  rows.order = magnitude->order;
  std::vector<int> gone;
  for (const Op* op : {round, units, least, step, largest, magnitude}) {
    rows.fused.push_back(op->node.name);
    gone.push_back(int(op - net.ops.data()));
  }
  net.erase(id);
  for (const int op : gone) net.erase(op);
  rows.in = {x};
  rows.out = {q, scale};
  net.add_op(std::move(rows));
}

// ---- dynamic_linear

constexpr int64_t kMaxDepth = 65793;  // the plan's own bound

// The Muls behind `real` by a scale that is computed and by a constant one: by their product, or by one after the other.
struct Scales {
  int a = -1;
  const Tensor* w = nullptr;
  std::vector<int> muls;
};

std::optional<Scales> scales_behind(const Net& net, int real) {
  Scales r;
  while (r.a < 0 || !r.w) {
    const int mul = net.only_user(real);
    if (mul < 0 || !is_op(&net.ops[mul], "Mul") || net.ops[mul].in.size() != 2) return std::nullopt;
    const size_t side = net.ops[mul].in[0] == real ? 1 : 0;
    const int factor = net.ops[mul].in[side];
    if (factor < 0 || factor == real) return std::nullopt;
    const Op* product = net.producer(factor);
    const bool both = is_op(product, "Mul") && product->in.size() == 2 && r.muls.empty() && net.only_user(factor) == mul &&
                      (net.constant(*product, 0) || net.constant(*product, 1));
    if (both) {
      const size_t constant = net.constant(*product, 0) ? 0 : 1;
      r.w = net.constant(*product, constant);
      r.a = product->in[1 - constant];
      if (net.values[r.a].constant) return std::nullopt;
    } else if (const Tensor* w = net.constant(net.ops[mul], side)) {
      if (r.w) return std::nullopt;
      r.w = w;
    } else {
      if (r.a >= 0) return std::nullopt;
      r.a = factor;
    }
    r.muls.push_back(mul);
    real = net.ops[mul].out[0];
  }
  return r;
}

// Shape and window of the product; false: it stays generic.
bool set_geometry(const Net& net, const Op& op, const Shape& x, const Shape& w, Linear& linear) {
  linear.conv = op.node.op_type == "ConvInteger";
  int64_t depth;
  if (linear.conv) {
    if (w.size() < 3 || x.size() != w.size()) return false;
    const Expected<Window> window = window_of(op.node, x, net.values[op.out[0]].shape, Shape(w.begin() + 2, w.end()));
    if (!window) return false;  // three dimensions, or what inference has refused already
    linear.window = *window;
    linear.groups = op.node.get_int("group", 1);
    linear.ic = x[1];
    linear.oc = w[0];
    depth = w[1] * linear.window.kh * linear.window.kw;
  } else {
    if (w.size() != 2 || x.size() < 2 || x.back() != w[0]) return false;
    linear.ic = depth = w[0];
    linear.oc = w[1];
  }
  return depth <= kMaxDepth;
}

void fuse_product(Net& net, int id) {
  const Op& op = net.ops[id];
  const int a = op.in[0], zero = op.in.size() > 2 ? op.in[2] : -1;
  const Tensor *w = net.constant(op, 1), *w_zero = net.constant(op, 3);
  const Shape a_shape = net.values[a].shape;
  Linear linear;
  if (!w || w->count() == 0 || (op.in.size() > 3 && op.in[3] >= 0 && !w_zero)) return;
  if (net.values[a].constant || !set_geometry(net, op, a_shape, w->shape(), linear)) return;
  if (zero >= 0 && (net.values[zero].shape.size() > 1 || net.values[zero].dtype != net.values[a].dtype)) return;
  int64_t zeros = 1;
  for (int64_t d : zero >= 0 ? net.values[zero].shape : Shape{}) zeros *= d;
  if (zeros != 1) return;

  const int cast = net.only_user(op.out[0]);
  if (cast < 0 || !is_op(&net.ops[cast], "Cast") || net.values[net.ops[cast].out[0]].dtype != DType::f32) return;
  const std::optional<Scales> scales = scales_behind(net, net.ops[cast].out[0]);
  if (!scales) return;
  const int a_scale = scales->a;
  const Tensor* w_scale = scales->w;
  if (net.values[a_scale].dtype != DType::f32 || w_scale->dtype() != DType::f32) return;
  const int64_t n = linear.oc;
  const size_t rank = a_shape.size(), channels = linear.conv ? 1 : rank - 1;
  const std::optional<std::vector<float>> columns = per_channel(*w_scale, rank, channels, n);
  if (!columns) return;
  // One scale for all, or one for each row: [..., m, 1].
  const Shape& s = net.values[a_scale].shape;
  const bool whole = std::all_of(s.begin(), s.end(), [](int64_t d) { return d == 1; });
  Shape per_row = a_shape;
  per_row.back() = 1;
  if (!whole && (s != per_row || zero >= 0 || linear.conv)) return;

  // Where weights do not fit s8 without their zero points, a matrix keeps these.
  const std::vector<int64_t> w_zeros = w_zero ? integers(*w_zero) : std::vector<int64_t>();
  if (w_zeros.size() > 1 && int64_t(w_zeros.size()) != n) return;
  std::vector<Tensor> parts;
  if (linear.conv) {
    parts = less_zero_points(*w, w_zeros, 0);
    if (w->count() / n * int64_t(parts.size()) > kMaxDepth) return;
  } else {
    ByteWeights matrix = with_zero_points(*w, w_zeros, 1);
    parts = {std::move(matrix.w)};
    linear.w_zero = std::move(matrix.zero);
  }
  linear.w_scale = *columns;
  net.absorb(id, cast);
  for (const int mul : scales->muls) net.absorb(id, mul);
  const int y = net.ops[id].out[0];
  if (const int add = net.only_user(y); add >= 0 && is_op(&net.ops[add], "Add") && net.ops[add].in.size() == 2) {
    const Tensor* c = net.constant(net.ops[add], net.ops[add].in[0] == y ? 1 : 0);
    const auto bias = c ? per_channel(*c, rank, channels, n) : std::nullopt;
    if (bias && net.values[net.ops[add].out[0]].shape == net.values[y].shape) {
      linear.bias = *bias;
      net.absorb(id, add);
    }
  }
  for (int user; (user = net.only_user(net.ops[id].out[0])) >= 0;) {
    const auto limits = clamp_of(net, net.ops[user]);
    if (!limits || net.ops[user].in[0] != net.ops[id].out[0]) break;
    Op& target = net.ops[id];
    target.lo = std::min(std::max(target.lo, limits->first), limits->second);
    target.hi = std::min(std::max(target.hi, limits->first), limits->second);
    net.absorb(id, user);
  }
  const int bytes = take_parts(net, a, parts, net.ops[id].order, linear);
  Op& target = net.ops[id];
  target.kind = Kind::dynamic_linear;
  target.linear = std::move(linear);
  net.set_inputs(id, {bytes, a_scale, zero});
}

}  // namespace

void recognize_dynamic(Net& net) {
  for (int id : net.sorted()) {
    if (net.ops[id].dead || net.ops[id].out.empty() || net.ops[id].in.empty() || net.ops[id].in[0] < 0) continue;
    if (is_op(&net.ops[id], "Cast"))
      fuse_rows(net, id);
    else if (is_op(&net.ops[id], "MatMulInteger") || is_op(&net.ops[id], "ConvInteger"))
      fuse_product(net, id);
  }
  net.sweep();
}

}  // namespace octavo::net
