#include <algorithm>
#include <cmath>

#include "rewrite.h"

namespace octavo::net {
namespace {

bool is_bytes(DType t) { return t == DType::u8 || t == DType::s8; }

bool is_op(const Op& op, const char* type) {
  return op.kind == Kind::generic && op.node.domain.empty() && op.node.op_type == type;
}

// Add, or Sum of two.
bool is_add(const Op& op) {
  return (is_op(op, "Add") || is_op(op, "Sum")) && op.in.size() == 2 && op.in[0] >= 0 && op.in[1] >= 0;
}

// The quantized tensor behind a DequantizeLinear; -1 if value is no such thing.
int bytes_behind(const Net& net, int value, QParams& params) {
  const Op* dq = net.producer(value);
  if (!dq || dq->kind != Kind::dequantize || !is_bytes(net.values[dq->in[0]].dtype) || net.values[dq->in[0]].constant) return -1;
  params = dq->in_q[0];
  return dq->in[0];
}

// Takes over Relu and Clip behind op's output.
void absorb_clamps(Net& net, int id) {
  for (int user; (user = net.only_user(net.ops[id].out[0])) >= 0;) {
    const auto limits = clamp_of(net, net.ops[user]);
    if (!limits || net.ops[user].in[0] != net.ops[id].out[0]) return;
    Op& op = net.ops[id];
    op.lo = std::min(std::max(op.lo, limits->first), limits->second);
    op.hi = std::min(std::max(op.hi, limits->first), limits->second);
    net.absorb(id, user);
  }
}

// The QuantizeLinear that alone uses op's output, or that alone uses the clamps behind it; -1 if there is none.
int quantize_behind(const Net& net, int value) {
  int user = net.only_user(value);
  while (user >= 0 && net.ops[user].kind == Kind::generic && clamp_of(net, net.ops[user]) && net.ops[user].in[0] == value) {
    value = net.ops[user].out[0];
    user = net.only_user(value);
  }
  return user >= 0 && net.ops[user].kind == Kind::quantize ? user : -1;
}

void absorb_quantize(Net& net, int id) {
  const int user = net.only_user(net.ops[id].out[0]);
  if (user < 0 || net.ops[user].kind != Kind::quantize) return;
  net.ops[id].out_q = net.ops[user].out_q;
  net.absorb(id, user);
}

void absorb_bias(Net& net, int id) {
  const int y = net.ops[id].out[0], user = net.only_user(y);
  const Linear& linear = *net.ops[id].linear;
  if (user < 0 || !is_add(net.ops[user]) || !linear.bias.empty() || !linear.bias_s32.empty()) return;
  const size_t side = net.ops[user].in[0] == y ? 1 : 0;
  const Tensor* c = net.constant(net.ops[user], side);
  const Shape& shape = net.values[y].shape;
  if (!c || net.values[net.ops[user].out[0]].shape != shape) return;
  const std::optional<std::vector<float>> bias = per_channel(*c, shape.size(), linear.conv ? 1 : shape.size() - 1, linear.oc);
  if (!bias) return;
  net.ops[id].linear->bias = *bias;
  net.absorb(id, user);
}

void absorb_residual(Net& net, int id) {
  const int y = net.ops[id].out[0], user = net.only_user(y);
  if (user < 0 || !is_add(net.ops[user])) return;
  const int r = net.ops[user].in[net.ops[user].in[0] == y ? 1 : 0];
  const Value& other = net.values[r];
  if (r == y || other.constant || other.shape != net.values[y].shape || other.dtype != DType::f32) return;
  // Two linear operators meet: the later one takes the Add, so that the earlier one runs before it.
  const Op* rival = net.producer(r);
  if (rival && rival->kind == Kind::linear && rival->order > net.ops[id].order && net.only_user(r) == user) return;
  const bool quantized = quantize_behind(net, net.ops[user].out[0]) >= 0 && !net.ops[id].in_q.empty();
  QParams params;
  const int bytes = bytes_behind(net, r, params);
  if (quantized && bytes < 0) return;  // the plan has bytes for the residual where the output is bytes
  net.absorb(id, user);
  std::vector<int> in = net.ops[id].in;
  in.push_back(quantized ? bytes : r);
  net.set_inputs(id, in);
  if (quantized) net.ops[id].in_q.push_back(params);
}

// Two quantized tensors, of which one may be broadcast to the other.
bool fuse_binary(Net& net, int id) {
  const Op& op = net.ops[id];
  const bool mul = is_op(op, "Mul");
  if ((!mul && !is_add(op)) || op.in.size() != 2) return false;
  QParams q[2];
  const int a = bytes_behind(net, op.in[0], q[0]), b = bytes_behind(net, op.in[1], q[1]);
  const int y = op.out[0];
  if (a < 0 || b < 0 || quantize_behind(net, y) < 0) return false;
  if (net.values[a].shape != net.values[y].shape && net.values[b].shape != net.values[y].shape) return false;
  absorb_clamps(net, id);
  absorb_quantize(net, id);
  Op& fused = net.ops[id];
  fused.kind = mul ? Kind::mul : Kind::add;
  fused.in_q = {q[0], q[1]};
  net.set_inputs(id, {a, b});
  return true;
}

bool fuse_average(Net& net, int id) {
  const Op& op = net.ops[id];
  QParams q;
  if (op.kind != Kind::pool || op.pool->kind != PoolKind::average) return false;
  const int x = bytes_behind(net, op.in[0], q), user = net.only_user(op.out[0]);
  if (x < 0 || user < 0 || net.ops[user].kind != Kind::quantize) return false;
  if (net.values[x].dtype != net.values[net.ops[user].out[0]].dtype) return false;
  absorb_quantize(net, id);
  net.ops[id].in_q = {q};
  net.set_inputs(id, {x});
  return true;
}

// A Concat of channels of bytes becomes one of those bytes, each part in its own parameters: one for each channel. -1: it is none.
int concat_of_bytes(Net& net, int value, std::vector<QParams>& channels) {
  const int id = net.values[value].producer;
  if (id < 0 || !is_op(net.ops[id], "Concat") || net.only_user(value) < 0) return -1;
  const Shape shape = net.values[value].shape;
  const int64_t axis = net.ops[id].node.get_int("axis", 0);
  if (shape.size() < 2 || (axis < 0 ? axis + int64_t(shape.size()) : axis) != 1) return -1;
  std::vector<int> parts;
  for (int v : net.ops[id].in) {
    QParams q;
    parts.push_back(v < 0 ? -1 : bytes_behind(net, v, q));
    if (parts.back() < 0 || net.values[parts.back()].dtype != net.values[parts[0]].dtype) return -1;
    channels.insert(channels.end(), size_t(net.values[v].shape[1]), q);
  }
  net.set_inputs(id, parts);
  const int bytes = net.add_value(net.values[value].name + "/bytes", net.values[parts[0]].dtype, shape);
  net.values[value].producer = -1;
  net.ops[id].out = {bytes};
  net.values[bytes].producer = id;
  return bytes;
}

// A batch norm between bytes. Behind a Concat, as in DenseNet, its parts need no parameters in common.
bool fuse_affine(Net& net, int id) {
  QParams q;
  if (net.ops[id].kind != Kind::affine || quantize_behind(net, net.ops[id].out[0]) < 0) return false;
  int x = bytes_behind(net, net.ops[id].in[0], q);
  std::vector<QParams> params = {q};
  if (x < 0) {
    params.clear();
    x = concat_of_bytes(net, net.ops[id].in[0], params);
  }
  if (x < 0) return false;
  absorb_clamps(net, id);
  absorb_quantize(net, id);
  net.ops[id].in_q = params;
  net.set_inputs(id, {x});
  return true;
}

// Mul or Add by channel constants behind an affine operator.
bool absorb_affine(Net& net, int id) {
  const int y = net.ops[id].out[0], user = net.only_user(y);
  if (user < 0) return false;
  const bool mul = is_op(net.ops[user], "Mul");
  if ((!mul && !is_add(net.ops[user])) || net.ops[user].in.size() != 2) return false;
  const Shape& shape = net.values[y].shape;
  const Tensor* c = net.constant(net.ops[user], net.ops[user].in[0] == y ? 1 : 0);
  if (!c || net.values[net.ops[user].out[0]].shape != shape) return false;
  const std::optional<std::vector<float>> v = per_channel(*c, shape.size(), 1, shape[1]);
  if (!v) return false;
  Op& op = net.ops[id];
  for (size_t i = 0; i < v->size(); ++i) {
    op.channel_bias[i] = mul ? op.channel_bias[i] * (*v)[i] : op.channel_bias[i] + (*v)[i];
    if (mul) op.channel_scale[i] *= (*v)[i];
  }
  net.absorb(id, user);
  return true;
}

}  // namespace

Status fuse_epilogues(Net& net) {
  for (int id : net.sorted()) {
    if (net.ops[id].dead || net.ops[id].kind != Kind::linear) continue;
    absorb_bias(net, id);
    if (Status s = absorb_function(net, id); !s.ok()) return s;
    if (!net.ops[id].function) absorb_residual(net, id);
    absorb_clamps(net, id);
    const bool f32_residual = net.ops[id].in.size() > 1 && net.ops[id].in_q.size() < 2;
    if (!net.ops[id].in_q.empty() && !f32_residual) absorb_quantize(net, id);
  }
  net.sweep();
  return {};
}

void fuse_quantized(Net& net) {
  for (int id : net.sorted()) {
    if (net.ops[id].dead) continue;
    if (!fuse_binary(net, id) && !fuse_average(net, id)) fuse_affine(net, id);
  }
  net.sweep();
}

void fuse_float(Net& net) {
  for (int id : net.sorted()) {
    if (net.ops[id].dead || net.ops[id].out.empty() || net.ops[id].out[0] < 0 ||
        net.values[net.ops[id].out[0]].dtype != DType::f32)
      continue;
    const Op& op = net.ops[id];
    if (op.kind == Kind::affine) {
      while (absorb_affine(net, id)) {
      }
      absorb_clamps(net, id);
    } else if (is_add(op) || is_op(op, "Sub") || is_op(op, "Mul") || is_op(op, "Div")) {
      absorb_clamps(net, id);
    }
  }
}

Status explain(Net& net, bool strict) {
  for (int id : net.sorted()) {
    Op& op = net.ops[id];
    const bool float_op = op.kind == Kind::generic || (op.kind == Kind::rows && op.in_q.empty()) ||
                          (op.kind == Kind::matmul && op.in_q.empty()) || op.kind == Kind::affine || op.kind == Kind::pool || op.kind == Kind::linear;
    if (!float_op || op.out.empty() || op.out[0] < 0 || net.values[op.out[0]].dtype != DType::f32) continue;
    if (op.kind == Kind::linear && op.why_not_int8.empty()) continue;  // int8 with f32 output
    bool all_in = true, all_out = true;
    std::string bare;
    for (int v : op.in) {
      QParams params;
      if (v < 0 || net.values[v].constant || bytes_behind(net, v, params) >= 0) continue;
      all_in = false;
      if (bare.empty()) bare = net.values[v].name;
    }
    for (int v : op.out) {
      if (v < 0) continue;
      all_out &= !net.values[v].output && !net.values[v].users.empty();
      for (int user : net.values[v].users) all_out &= net.ops[user].kind == Kind::quantize;
    }
    if (op.why_not_int8.empty()) {
      if (!all_in)
        op.why_not_int8 = "input '" + bare + "' has no QuantizeLinear";
      else if (!all_out)
        op.why_not_int8 = "output '" + net.values[op.out[0]].name + "' has no QuantizeLinear";
      else
        op.why_not_int8 = "operator " + op.node.op_type + " has no int8 kernel";
    }
    if (strict && all_in && all_out)
      return Status::error(Code::unsupported, "node '%s' (%s) cannot run in int8: %s", op.node.name.c_str(),
                           op.node.op_type.c_str(), op.why_not_int8.c_str());
  }
  return {};
}

}  // namespace octavo::net
