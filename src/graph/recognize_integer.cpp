// Products of bytes as ONNX spells them without QDQ: QLinearConv and QLinearMatMul become the QDQ form that they abbreviate,
// ConvInteger and MatMulInteger with constant weights become linear operators.
#include <algorithm>
#include <cmath>

#include "rewrite.h"
#include "window.h"
#include "zero_points.h"

namespace octavo::net {
namespace {

bool is_op(const Op& op, const char* type) {
  return op.kind == Kind::generic && op.node.domain.empty() && op.node.op_type == type;
}

// An input that is absent, or a constant of one element.
bool is_scalar(const Net& net, const Op& op, size_t i) {
  if (i >= op.in.size() || op.in[i] < 0) return true;
  const Tensor* t = net.constant(op, i);
  return t && t->count() == 1;
}

bool is_constant(const Net& net, const Op& op, size_t i) { return i >= op.in.size() || op.in[i] < 0 || net.constant(op, i); }

// ---- QLinearConv, QLinearMatMul

int insert(Net& net, int before, const char* op_type, std::vector<int> in, DType dtype, const Shape& shape, int64_t axis) {
  Op op;
  op.node.op_type = op_type;
  op.node.name = net.ops[before].node.name + "/" + op_type;
  op.node.attributes["axis"] = axis;
  op.in = std::move(in);
  op.order = net.ops[before].order;
  op.out = {net.add_value(op.node.name, dtype, shape)};
  net.add_op(std::move(op));
  return net.ops.back().out[0];
}

// x at inputs i, i + 1 (scale), i + 2 (zero point)
int dequantized(Net& net, int id, size_t i, int64_t axis) {
  const std::vector<int> in = net.ops[id].in;
  return insert(net, id, "DequantizeLinear", {in[i], in[i + 1], in[i + 2]}, DType::f32, net.values[in[i]].shape, axis);
}

// The bias is in units of the products.
int dequantized_bias(Net& net, int id) {
  const std::vector<int> in = net.ops[id].in;
  const float x_scale = *net.values[in[1]].constant->as<float>();
  std::vector<float> scales = floats(*net.values[in[4]].constant);
  for (float& s : scales) s *= x_scale;
  const Shape shape = scales.size() == 1 ? Shape{} : Shape{int64_t(scales.size())};
  const int scale = net.add_constant(net.ops[id].node.name + "/bias_scale", Tensor::from(DType::f32, shape, scales));
  return insert(net, id, "DequantizeLinear", {in[8], scale, -1}, DType::f32, net.values[in[8]].shape, 0);
}

void spell_out(Net& net, int id, const char* op_type) {
  const bool conv = net.ops[id].node.op_type == "QLinearConv";
  const std::vector<int> in = net.ops[id].in;
  const int64_t channels = conv ? 0 : int64_t(net.values[in[3]].shape.size()) - 1;
  std::vector<int> operands = {dequantized(net, id, 0, 0), dequantized(net, id, 3, channels)};
  if (in.size() > 8 && in[8] >= 0) operands.push_back(dequantized_bias(net, id));
  const int y = net.ops[id].out[0];
  const int real = net.add_value(net.values[y].name + "/real", DType::f32, net.values[y].shape);
  net.set_inputs(id, operands);
  net.ops[id].node.op_type = op_type;
  net.ops[id].out = {real};
  net.values[real].producer = id;
  Op quantize;
  quantize.node.op_type = "QuantizeLinear";
  quantize.node.name = net.ops[id].node.name + "/QuantizeLinear";
  quantize.in = {real, in[6], in[7]};
  quantize.out = {y};
  quantize.order = net.ops[id].order;
  net.add_op(std::move(quantize));
}

// All parameters are constants, one for each tensor but for the weights, and the weights of a convolution are too.
bool has_qdq_form(const Net& net, const Op& op) {
  const bool conv = op.node.op_type == "QLinearConv";
  for (const size_t i : {1, 2, 6, 7})
    if (!is_scalar(net, op, i)) return false;
  if (!is_constant(net, op, 4) || !is_constant(net, op, 5)) return false;
  if (!conv) return net.constant(op, 3) || (is_scalar(net, op, 4) && is_scalar(net, op, 5));
  return net.constant(op, 3) && is_constant(net, op, 8);
}

// ---- ConvInteger, MatMulInteger

// Cast to f32 and Mul by a positive constant, one or one for each channel.
void absorb_scale(Net& net, int id) {
  const int cast = net.only_user(net.ops[id].out[0]);
  if (cast < 0 || !is_op(net.ops[cast], "Cast") || net.values[net.ops[cast].out[0]].dtype != DType::f32) return;
  const int real = net.ops[cast].out[0], mul = net.only_user(real);
  if (mul < 0 || !is_op(net.ops[mul], "Mul") || net.ops[mul].in.size() != 2) return;
  const Tensor* c = net.constant(net.ops[mul], net.ops[mul].in[0] == real ? 1 : 0);
  const Shape& shape = net.values[real].shape;
  if (!c || net.values[net.ops[mul].out[0]].shape != shape) return;
  const bool conv = net.ops[id].linear->conv;
  std::optional<std::vector<float>> scale = per_channel(*c, shape.size(), conv ? 1 : shape.size() - 1, net.ops[id].linear->oc);
  if (!scale || !std::all_of(scale->begin(), scale->end(), [](float s) { return s > 0 && std::isfinite(s); })) return;
  net.ops[id].linear->w_scale = *std::move(scale);
  net.absorb(id, cast);
  net.absorb(id, mul);
}

Status recognize_sums(Net& net, int id) {
  const Op& op = net.ops[id];
  const bool conv = op.node.op_type == "ConvInteger";
  const Tensor* zero = net.constant(op, 2);
  const Tensor* w = net.constant(op, 1);
  if (!w || w->count() == 0 || !is_constant(net, op, 3) || !is_scalar(net, op, 2)) return {};
  const Shape x = net.values[op.in[0]].shape, ws = w->shape();
  if (net.values[op.in[0]].constant || (conv ? ws.size() < 3 : ws.size() != 2 || x.size() < 2)) return {};
  Linear linear;
  linear.conv = conv;
  if (conv) {
    Expected<Window> window = window_of(op.node, x, net.values[op.out[0]].shape, Shape(ws.begin() + 2, ws.end()));
    if (!window) return window.status().code() == Code::unsupported ? Status() : window.status();  // three dimensions: generic
    linear.window = *window;
    linear.groups = op.node.get_int("group", 1);
    linear.ic = x[1];
    linear.oc = ws[0];
  } else {
    linear.ic = ws[0];
    linear.oc = ws[1];
  }
  const std::vector<int64_t> w_zero = net.constant(op, 3) ? integers(*net.constant(op, 3)) : std::vector<int64_t>();
  if (w_zero.size() > 1 && int64_t(w_zero.size()) != linear.oc) return {};
  const std::vector<Tensor> parts = less_zero_points(*w, w_zero, conv ? 0 : 1);
  // The plan's own bound: longer sums stay in the generic loops.
  if (w->count() / linear.oc * int64_t(parts.size()) > 65793) return {};
  linear.w_scale = {1};
  const QParams x_q = {1, zero ? int32_t(integers(*zero)[0]) : 0};
  const int bytes = take_parts(net, op.in[0], parts, op.order, linear);
  Op& target = net.ops[id];
  target.kind = Kind::linear;
  target.linear = std::move(linear);
  target.in_q = {x_q};
  net.set_inputs(id, {bytes});
  absorb_scale(net, id);
  return {};
}

}  // namespace

void spell_out_integer(Net& net) {
  for (int id : net.sorted()) {
    const Op& op = net.ops[id];
    if (is_op(op, "QLinearConv") && has_qdq_form(net, op))
      spell_out(net, id, "Conv");
    else if (is_op(op, "QLinearMatMul") && has_qdq_form(net, op))
      spell_out(net, id, "MatMul");
  }
}

Status recognize_integer(Net& net) {
  for (int id : net.sorted())
    if (!net.ops[id].dead && (is_op(net.ops[id], "ConvInteger") || is_op(net.ops[id], "MatMulInteger")))
      if (Status s = recognize_sums(net, id); !s.ok()) return s;
  net.sweep();
  return {};
}

}  // namespace octavo::net
