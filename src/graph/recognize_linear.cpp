#include <algorithm>
#include <cmath>

#include "rewrite.h"
#include "window.h"
#include "zero_points.h"

namespace octavo::net {
namespace {

Status malformed(const Net& net, const Op& op, const char* what) {
  std::string shapes;
  for (int v : op.in) shapes.append(v < 0 ? "-" : to_string(net.values[v].shape)).append(" ");
  return Status::error(Code::invalid_argument, "node '%s' (%s): %s; inputs %s", op.node.name.c_str(), op.node.op_type.c_str(),
                       what, shapes.c_str());
}

Tensor dequantize(const QuantizedConstant& c) {
  const std::vector<int64_t> q = integers(*c.q);
  std::vector<float> x(q.size());
  int64_t inner = 1;
  for (size_t d = size_t(c.axis) + 1; d < c.q->shape().size(); ++d) inner *= c.q->shape()[d];
  for (size_t i = 0; i < q.size(); ++i) {
    const size_t j = c.scale.size() == 1 ? 0 : size_t(int64_t(i) / inner) % c.scale.size();
    x[i] = float(q[i] - (c.zero.empty() ? 0 : c.zero[j])) * c.scale[j];
  }
  return Tensor::from(DType::f32, c.q->shape(), x);
}

// The operands of Conv, Gemm and MatMul under common names.
struct Operands {
  int x = -1, w = -1, bias = -1;
  int64_t oc_axis = 0;        // of w
  int64_t oc = 0, depth = 0;  // products for each output
};

// Empty: weights of bytes with positive scales, one or along oc_axis. parts: less_zero_points().
std::string why_weights_not_int8(const QuantizedConstant& w, const Operands& o, int64_t parts) {
  if (parts == 0) return std::string("weights are ") + name_of(w.q->dtype()) + ", not s8 or u8";
  for (float s : w.scale)
    if (!std::isfinite(s) || s <= 0) return "weights have the scale " + std::to_string(s);
  if (w.scale.size() != 1 && w.axis != o.oc_axis)
    return "weight scales lie along axis " + std::to_string(w.axis) + ", not the output channels";
  // The plan's own bound, met here so that such a node runs in float.
  if (o.depth * parts > 65793) return "sums of " + std::to_string(o.depth * parts) + " products can overflow int32";
  return "";
}

// bias -> linear.bias_s32 where it is s32 with the scale s_x * s_w, else linear.bias. False: not a constant vector over channels.
bool take_bias(const Net& net, const Operands& o, const std::optional<QParams>& x_q, float factor, Linear& linear) {
  if (o.bias < 0) return true;
  const std::optional<QuantizedConstant> c = quantized_constant(net, o.bias);
  if (c && x_q && factor == 1 && c->q->dtype() == DType::s32 && c->q->count() == o.oc && c->q->shape().size() == 1) {
    bool same = true;
    for (int64_t j = 0; j < o.oc; ++j) {
      const double expected = double(x_q->scale) * double(linear.w_scale[linear.w_scale.size() == 1 ? 0 : size_t(j)]);
      const double found = double(c->scale[c->scale.size() == 1 ? 0 : size_t(j)]);
      same &= std::abs(found - expected) <= 1e-6 * expected;  // a product of two floats, rounded once or twice
    }
    for (int64_t z : c->zero) same &= z == 0;
    if (same) {
      linear.bias_s32.assign(c->q->as<int32_t>(), c->q->as<int32_t>() + o.oc);
      return true;
    }
  }
  const std::optional<Tensor>& constant = net.values[o.bias].constant;
  if (!c && !constant) return false;
  const Tensor t = c ? dequantize(*c) : *constant;
  const std::optional<std::vector<float>> b =
      per_channel(t, std::max<size_t>(t.shape().size(), 1), std::max<size_t>(t.shape().size(), 1) - 1, o.oc);
  if (!b) return false;
  linear.bias = *b;
  for (float& v : linear.bias) v *= factor;
  return true;
}

// A node in front of `id`, with one output.
int insert(Net& net, int id, const char* op_type, std::vector<int> in, Shape shape,
           std::map<std::string, Attribute> attributes = {}) {
  Op op;
  op.node.name = net.ops[id].node.name + "/" + op_type;
  op.node.op_type = op_type;
  op.node.attributes = std::move(attributes);
  op.in = std::move(in);
  op.order = net.ops[id].order;
  const int y = net.add_value(op.node.name, DType::f32, std::move(shape));
  op.out = {y};
  net.add_op(std::move(op));
  return y;
}

Shape swapped(const Shape& s) { return {s[1], s[0]}; }

// Gemm's transA, a computed B, and a C that is no bias vector become nodes of their own.
Status normalize_gemm(Net& net, int id) {
  const Node node = net.ops[id].node;
  const float beta = node.get_float("beta", 1), alpha = node.get_float("alpha", 1);
  if (net.ops[id].in.size() < 2) return malformed(net, net.ops[id], "expects 2 or 3 inputs");
  if (node.get_int("transA", 0) != 0) {
    const int a = net.ops[id].in[0];
    if (net.values[a].shape.size() != 2) return malformed(net, net.ops[id], "A is no matrix");
    net.set_input(id, 0, insert(net, id, "Transpose", {a}, swapped(net.values[a].shape), {{"perm", std::vector<int64_t>{1, 0}}}));
    net.ops[id].node.attributes.erase("transA");
  }
  const int b = net.ops[id].in[1];
  const int c = net.ops[id].in.size() > 2 ? net.ops[id].in[2] : -1;
  const Shape y_shape = net.values[net.ops[id].out[0]].shape;
  const bool constant_b = net.values[b].constant || quantized_constant(net, b);
  const bool constant_c = c < 0 || net.values[c].constant || quantized_constant(net, c);
  const Shape c_shape = c < 0 ? Shape{} : net.values[c].shape;
  const bool row = c_shape.empty() || c_shape.back() == y_shape.back() || c_shape.back() == 1;
  int64_t count = 1;
  for (int64_t d : c_shape) count *= d;
  const bool is_bias = constant_c && row && (count == 1 || count == y_shape.back());
  if (constant_b && is_bias) return {};
  if (alpha != 1 || beta != 1) return {};
  if (c >= 0) {
    const int product = net.add_value(node.name + "/product", DType::f32, y_shape);
    const int y = net.ops[id].out[0];
    net.ops[id].out = {product};
    net.values[product].producer = id;
    Op add;
    add.node.name = node.name + "/Add";
    add.node.op_type = "Add";
    add.in = {product, c};
    add.out = {y};
    add.order = net.ops[id].order;
    net.add_op(std::move(add));
    net.set_inputs(id, {net.ops[id].in[0], b});
  }
  if (!constant_b) {
    int right = b;
    if (node.get_int("transB", 0) != 0) {
      if (net.values[b].shape.size() != 2) return malformed(net, net.ops[id], "B is no matrix");
      right = insert(net, id, "Transpose", {b}, swapped(net.values[b].shape), {{"perm", std::vector<int64_t>{1, 0}}});
    }
    net.set_inputs(id, {net.ops[id].in[0], right});
    net.ops[id].node.op_type = "MatMul";
    net.ops[id].node.attributes.clear();
  }
  return {};
}

Status recognize_one(Net& net, int id) {
  if (net.ops[id].node.op_type == "Gemm")
    if (Status s = normalize_gemm(net, id); !s.ok()) return s;
  const Op& op = net.ops[id];
  const Node& node = op.node;
  if (op.in.size() < 2 || op.in[0] < 0 || op.in[1] < 0 || op.out.empty() || op.out[0] < 0)
    return malformed(net, op, "an operand is missing");
  Operands o{op.in[0], op.in[1], op.in.size() > 2 ? op.in[2] : -1};
  const std::optional<QuantizedConstant> w_q = quantized_constant(net, o.w);
  const std::optional<Tensor>& w_f = net.values[o.w].constant;
  const Shape x_shape = net.values[o.x].shape, w_shape = net.values[o.w].shape, y_shape = net.values[op.out[0]].shape;
  const bool spread = node.op_type == "ConvTranspose", conv = node.op_type == "Conv" || spread, gemm = node.op_type == "Gemm";
  if (!w_q && !w_f) {
    net.ops[id].why_not_int8 = "weights '" + net.values[o.w].name + "' are no constant";
    return {};
  }
  if (!conv && (w_shape.size() != 2 || x_shape.size() < 2)) {
    if (gemm) return malformed(net, op, "A and B must be matrices");
    return {};
  }
  if (net.values[op.out[0]].dtype != DType::f32) return {};

  Linear linear;
  linear.conv = conv;
  if (conv) {
    if (w_shape.size() < 3 || x_shape.size() != w_shape.size()) return malformed(net, op, "ranks of input and weights differ");
    const Shape kernel(w_shape.begin() + 2, w_shape.end());
    if (node.get_ints("kernel_shape", kernel) != kernel) return malformed(net, op, "kernel_shape is not that of the weights");
    Status unsupported;
    if (spread) {
      Expected<TransposedWindow> window = transposed_window_of(node, x_shape, y_shape, kernel);
      if (window)
        linear.spread = *window;
      else
        unsupported = window.status();
    } else {
      Expected<Window> window = window_of(node, x_shape, y_shape, kernel);
      if (window)
        linear.window = *window;
      else
        unsupported = window.status();
    }
    if (!unsupported.ok()) {
      if (unsupported.code() != Code::unsupported) return unsupported;
      net.ops[id].why_not_int8 = unsupported.text();
      return {};
    }
    linear.groups = node.get_int("group", 1);
    linear.ic = x_shape[1];
    const int64_t given = w_shape[spread ? 0 : 1], per_group = w_shape[spread ? 1 : 0];
    const bool grouped = linear.groups >= 1 && linear.groups <= linear.ic && linear.ic % linear.groups == 0;
    linear.oc = o.oc = spread && grouped ? per_group * linear.groups : per_group;
    if (!grouped || o.oc < 1 || o.oc % linear.groups != 0 || given != (spread ? linear.ic : linear.ic / linear.groups))
      return malformed(net, op, "channels and groups do not fit");
    o.oc_axis = spread ? 1 : 0;
    o.depth = linear.ic / linear.groups;
    for (const int64_t k : kernel) o.depth *= k;
  } else {
    linear.transposed = gemm && node.get_int("transB", 0) != 0;
    o.oc_axis = linear.transposed ? 0 : 1;
    linear.oc = o.oc = w_shape[size_t(o.oc_axis)];
    linear.ic = o.depth = w_shape[size_t(1 - o.oc_axis)];
    if (x_shape.back() != linear.ic || linear.ic < 1 || linear.oc < 1) return malformed(net, op, "inner dimensions differ");
  }

  std::optional<QParams> x_q;
  const Op* dq = net.producer(o.x);
  const bool x_is_bytes =
      dq && dq->kind == Kind::dequantize && net.values[dq->in[0]].dtype != DType::s32 && !net.values[dq->in[0]].constant;
  std::vector<Tensor> parts;
  if (w_q && (w_q->q->dtype() == DType::u8 || w_q->q->dtype() == DType::s8))
    parts = less_zero_points(*w_q->q, w_q->zero, w_q->axis);
  const int64_t times = int64_t(parts.size());
  const std::string bad_weights =
      w_q ? why_weights_not_int8(*w_q, o, times) : "weights '" + net.values[o.w].name + "' are not quantized";
  // s8 stays s8 where the activations are floats, but for groups, whose weights are few, and ConvTranspose.
  const bool keeps_s8 = bad_weights.empty() && (x_is_bytes || (times == 1 && !spread && linear.groups == 1));
  std::string why = bad_weights;
  if (!x_is_bytes)
    why = "input '" + net.values[o.x].name + "' has no QuantizeLinear";

  const float alpha = gemm ? node.get_float("alpha", 1) : 1, beta = gemm ? node.get_float("beta", 1) : 1;
  if (keeps_s8) {
    if (x_is_bytes) x_q = dq->in_q[0];
    linear.w_scale = w_q->scale;
    // The groups of a transposed convolution share the scales of their channels.
    const size_t given = linear.w_scale.size();
    for (size_t j = given; spread && given > 1 && j < size_t(o.oc); ++j) linear.w_scale.push_back(linear.w_scale[j - given]);
    for (float& s : linear.w_scale) s *= alpha;
    for (float s : linear.w_scale)
      if (!(s > 0) || !std::isfinite(s)) return malformed(net, op, "alpha is no positive number");
  } else {
    linear.weight = w_q ? dequantize(*w_q) : *w_f;
    if (linear.weight.dtype() != DType::f32)
      return Status::error(Code::unsupported, "node '%s' (%s): weights are %s", node.name.c_str(), node.op_type.c_str(),
                           name_of(linear.weight.dtype()));
    if (alpha != 1) {
      std::vector<float> scaled = floats(linear.weight);
      for (float& v : scaled) v *= alpha;
      linear.weight = Tensor::from(DType::f32, linear.weight.shape(), scaled);
    }
  }
  if (!take_bias(net, o, x_q, beta, linear)) {
    net.ops[id].why_not_int8 = "the bias is no constant vector over the output channels";
    return {};
  }

  const int x = keeps_s8 ? take_parts(net, x_q ? dq->in[0] : o.x, parts, op.order, linear) : o.x;
  Op& target = net.ops[id];
  target.kind = Kind::linear;
  target.linear = std::move(linear);
  target.why_not_int8 = why;
  if (x_q) target.in_q = {*x_q};
  net.set_inputs(id, {x});
  return {};
}

// Of a MatMul that is no linear operator: recognize_matmul() reads its bytes.
bool is_operand(const Net& net, int value) {
  const int user = net.only_user(value);
  if (user < 0) return false;
  const Op& op = net.ops[user];
  return op.kind == Kind::generic && op.node.op_type == "MatMul" && op.node.domain.empty();
}

}  // namespace

std::optional<QuantizedConstant> quantized_constant(const Net& net, int value) {
  const Op* dq = net.producer(value);
  if (!dq || dq->node.op_type != "DequantizeLinear" || net.values[value].dtype != DType::f32) return std::nullopt;
  QuantizedConstant r;
  r.q = net.constant(*dq, 0);
  if (!r.q || integers(*r.q).size() != size_t(r.q->count())) return std::nullopt;
  if (dq->kind == Kind::dequantize) {
    r.scale = {dq->in_q[0].scale};
    r.zero = {dq->in_q[0].zero_point};
    return r;
  }
  const Tensor* scale = net.constant(*dq, 1);
  const Tensor* zero = net.constant(*dq, 2);
  if (dq->kind != Kind::generic || !scale || scale->dtype() != DType::f32 || (dq->in.size() > 2 && dq->in[2] >= 0 && !zero))
    return std::nullopt;
  r.axis = dq->node.get_int("axis", 1);
  r.axis += r.axis < 0 ? int64_t(r.q->shape().size()) : 0;
  r.scale = floats(*scale);
  if (zero) r.zero = integers(*zero);
  if (dq->node.get_int("block_size", 0) != 0 || scale->shape().size() > 1 || (zero && r.zero.size() != r.scale.size()))
    return std::nullopt;
  if (r.scale.size() != 1 &&
      (r.axis < 0 || r.axis >= int64_t(r.q->shape().size()) || r.q->shape()[size_t(r.axis)] != int64_t(r.scale.size())))
    return std::nullopt;
  return r;
}

void dequantize_constants(Net& net, int64_t max_count, bool but_operands) {
  for (int id : net.sorted()) {
    if (net.ops[id].node.op_type != "DequantizeLinear" || net.ops[id].out.empty()) continue;
    const int y = net.ops[id].out[0];
    const std::optional<QuantizedConstant> c = quantized_constant(net, y);
    if (!c || c->q->count() > max_count || net.values[y].output || (but_operands && is_operand(net, y))) continue;
    Tensor t = dequantize(*c);
    net.erase(id);
    net.values[y].constant = std::move(t);
  }
}

Status recognize_linear(Net& net) {
  for (int id : net.sorted()) {
    const Op& op = net.ops[id];
    if (op.kind != Kind::generic || !op.node.domain.empty()) continue;
    if (op.node.op_type == "Conv" || op.node.op_type == "ConvTranspose" || op.node.op_type == "Gemm" || op.node.op_type == "MatMul")
      if (Status s = recognize_one(net, id); !s.ok()) return s;
  }
  net.sweep();
  dequantize_constants(net, std::numeric_limits<int64_t>::max(), true);
  return {};
}

}  // namespace octavo::net
