#include <algorithm>
#include <cmath>

#include "rewrite.h"

namespace octavo::net {
namespace {

bool is_op(const Op& op, const char* type) {
  return op.kind == Kind::generic && op.node.domain.empty() && op.node.op_type == type;
}

void recognize_one(Net& net, int id) {
  const int table = net.ops[id].in[0], indices = net.ops[id].in.size() > 1 ? net.ops[id].in[1] : -1;
  const std::optional<QuantizedConstant> c = quantized_constant(net, table);
  const DType index = indices < 0 ? DType::f32 : net.values[indices].dtype;
  if (!c || (c->q->dtype() != DType::u8 && c->q->dtype() != DType::s8) || (index != DType::s32 && index != DType::s64)) return;
  if (c->q->shape().size() != 2 || c->q->count() == 0 || net.ops[id].node.get_int("axis", 0) != 0) return;
  if (c->scale.size() != 1 && c->axis != 0) return;
  if (std::any_of(c->scale.begin(), c->scale.end(), [](float s) { return !(s > 0) || !std::isfinite(s); })) return;
  Embedding e;
  e.scale = c->scale;
  e.zero.assign(c->zero.begin(), c->zero.end());
  e.zero.resize(e.scale.size());
  Op& op = net.ops[id];
  op.kind = Kind::embedding;
  op.row = c->q->shape()[1];
  op.embedding = std::move(e);
  net.set_inputs(id, {net.producer(table)->in[0], indices});
  const int user = net.only_user(net.ops[id].out[0]);
  if (user < 0 || net.ops[user].kind != Kind::quantize) return;
  net.ops[id].out_q = net.ops[user].out_q;
  net.absorb(id, user);
}

}  // namespace

void recognize_embedding(Net& net) {
  for (int id : net.sorted())
    if (!net.ops[id].dead && is_op(net.ops[id], "Gather") && net.ops[id].in[0] >= 0) recognize_one(net, id);
  net.sweep();
}

}  // namespace octavo::net
