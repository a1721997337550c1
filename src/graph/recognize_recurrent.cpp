// LSTM and GRU between quantized sequences; LSTM of a sequence that is quantized at run time.
#include <cmath>

#include "rewrite.h"
#include "zero_points.h"

namespace octavo::net {
namespace {

constexpr int64_t kMaxDepth = 65793;  // of sums that fit int32

// Weights [1][rows][n] of bytes with positive scales, one or one for each row. zero: null if they must fit s8 without zero
// points.
bool take_weights(const Net& net, int value, Tensor& weights, std::vector<float>& scales, std::vector<int32_t>* zero = nullptr) {
  const std::optional<QuantizedConstant> c = quantized_constant(net, value);
  if (!c || (c->q->dtype() != DType::s8 && c->q->dtype() != DType::u8) || c->q->count() == 0 || c->q->shape()[0] != 1)
    return false;
  if ((c->scale.size() != 1 && c->axis != 1) || c->q->shape()[2] > kMaxDepth) return false;
  for (float s : c->scale)
    if (!(s > 0) || s > std::numeric_limits<float>::max()) return false;
  ByteWeights bytes = with_zero_points(*c->q, c->zero, c->axis);
  if (!zero && !bytes.zero.empty()) return false;
  weights = std::move(bytes.w);
  scales = c->scale;
  if (zero) *zero = std::move(bytes.zero);
  return true;
}

bool take_bias(const Net& net, const Op& op, int64_t rows, std::vector<float>& bias) {
  bias.assign(size_t(2 * rows), 0.0f);
  if (op.in.size() < 4 || op.in[3] < 0) return true;
  const Tensor* given = net.constant(op, 3);
  if (!given || given->dtype() != DType::f32 || given->count() != 2 * rows) return false;
  bias = floats(*given);
  return true;
}

bool absent(const Op& op, size_t input) { return input >= op.in.size() || op.in[input] < 0; }

// The first state as bytes with the parameters of Y, a constant too if they hold it; -1: nothing, which is zeros.
std::optional<int> first_state(Net& net, int value, DType type, QParams q) {
  if (value < 0) return -1;
  const Tensor* t = net.values[value].constant ? &*net.values[value].constant : nullptr;
  if (!t) {
    const Op* dq = net.producer(value);
    if (!dq || dq->kind != Kind::dequantize || net.values[dq->in[0]].dtype != type || dq->in_q[0] != q) return std::nullopt;
    return dq->in[0];
  }
  if (t->dtype() != DType::f32) return std::nullopt;
  std::vector<uint8_t> bytes;
  for (const float v : floats(*t)) {
    const float b = std::nearbyint(v / q.scale) + float(q.zero_point);
    if (!(b >= float(qmin_of(type)) && b <= float(qmax_of(type)))) return std::nullopt;
    bytes.push_back(uint8_t(int32_t(b)));
  }
  return net.add_constant(net.values[value].name + "/bytes", Tensor::from(type, t->shape(), bytes));
}

// The state that a step passes to the next one is a row of Y: where Y is quantized, so is the state, with the same parameters.
// One direction; of the outputs Y and the cell are used.
void recognize_one(Net& net, int id) {
  const Op& op = net.ops[id];
  const bool gru = op.node.op_type == "GRU";
  if (op.in.size() < 3 || op.in[0] < 0 || op.in[1] < 0 || op.in[2] < 0 || op.out.empty() || op.out[0] < 0) return;
  if (!absent(op, 4) || !absent(op, 7)) return;
  const auto is_used = [&](size_t i) {
    const int v = i < op.out.size() ? op.out[i] : -1;
    return v >= 0 && (net.values[v].output || net.values[v].kept || !net.values[v].users.empty());
  };
  if (is_used(1)) return;
  const int last_cell = is_used(2) ? op.out[2] : -1, first_cell = absent(op, 6) ? -1 : op.in[6];
  if (op.node.get_string("direction", "forward") == "bidirectional" || op.node.get_int("layout", 0) != 0) return;
  if (gru && op.node.get_int("linear_before_reset", 0) == 0) return;  // R would meet r * h, which is no row of Y
  const Op* dq = net.producer(op.in[0]);
  const int user = net.only_user(op.out[0]);
  if (!dq || dq->kind != Kind::dequantize || net.values[dq->in[0]].constant || user < 0 || net.ops[user].kind != Kind::quantize)
    return;
  const DType x_type = net.values[dq->in[0]].dtype, y_type = net.values[net.ops[user].out[0]].dtype;
  if (x_type == DType::s32 || x_type != y_type) return;
  Recurrence r;
  if (!take_weights(net, op.in[1], r.w, r.w_scale) || !take_weights(net, op.in[2], r.r, r.r_scale)) return;
  if (!take_bias(net, op, r.w.shape()[1], r.bias)) return;
  r.x_shape = net.values[dq->in[0]].shape;
  for (int64_t d : r.x_shape)
    if (d < 1) return;
  const int x = dq->in[0];
  const QParams x_q = dq->in_q[0];
  const std::optional<int> state = first_state(net, absent(op, 5) ? -1 : op.in[5], y_type, net.ops[user].out_q);
  if (!state) {
    net.ops[id].why_not_int8 = "its first state has not the parameters of its result";
    return;
  }
  Op& target = net.ops[id];
  target.out.resize(1);
  target.out_q = net.ops[user].out_q;
  target.in_q = {x_q};
  target.recurrence = std::move(r);
  target.kind = Kind::recurrent;
  net.absorb(id, user);
  if (last_cell >= 0) {
    net.ops[id].out.push_back(last_cell);
    net.values[last_cell].producer = id;
  }
  net.set_inputs(id, {x, *state, first_cell});
}

// An LSTM that reads what DynamicQuantizeLinear gives and DequantizeLinear makes floats again, as DynamicQuantizeLSTM is
// imported.
void recognize_dynamic_lstm(Net& net, int id) {
  const Op& op = net.ops[id];
  if (op.node.op_type != "LSTM" || op.in.size() < 3 || !absent(op, 4) || !absent(op, 7)) return;
  if (op.node.get_string("direction", "forward") == "bidirectional" || op.node.get_int("layout", 0) != 0) return;
  const Op* dq = net.producer(op.in[0]);
  if (!dq || dq->kind != Kind::generic || dq->node.op_type != "DequantizeLinear" || dq->in.size() != 3) return;
  const Op* range = net.producer(dq->in[0]);
  if (!range || range->node.op_type != "DynamicQuantizeLinear" || range->out != dq->in) return;
  Recurrence r;
  if (!take_weights(net, op.in[1], r.w, r.w_scale, &r.w_zero) || !take_weights(net, op.in[2], r.r, r.r_scale, &r.r_zero)) return;
  if (!take_bias(net, op, r.w.shape()[1], r.bias)) return;
  r.x_shape = net.values[dq->in[0]].shape;
  for (int64_t d : r.x_shape)
    if (d < 1) return;
  const std::vector<int> in = {dq->in[0], dq->in[1], dq->in[2], absent(op, 5) ? -1 : op.in[5], absent(op, 6) ? -1 : op.in[6]};
  net.ops[id].kind = Kind::dynamic_recurrent;
  net.ops[id].recurrence = std::move(r);
  net.set_inputs(id, in);
}

}  // namespace

void recognize_recurrent(Net& net) {
  for (int id : net.sorted()) {
    const Op& op = net.ops[id];
    if (op.dead || op.kind != Kind::generic || !op.node.domain.empty()) continue;
    if (op.node.op_type == "LSTM" || op.node.op_type == "GRU") recognize_one(net, id);
    if (net.ops[id].kind == Kind::generic) recognize_dynamic_lstm(net, id);
  }
  net.sweep();
}

}  // namespace octavo::net
