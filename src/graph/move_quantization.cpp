#include <algorithm>

#include "ops.h"
#include "rewrite.h"

namespace octavo::net {
namespace {

bool is_bytes(DType t) { return t == DType::u8 || t == DType::s8; }

// Operators whose outputs hold elements of in[0] (and zeros): they commute with a monotonic map of the elements.
bool moves_elements(const Net& net, const Op& op) {
  if (op.kind == Kind::alias) return true;
  if (op.kind == Kind::pool) return op.pool->kind == PoolKind::max;
  if (op.kind != Kind::generic || !op.node.domain.empty()) return false;
  const std::string& type = op.node.op_type;
  if (type == "Pad") {  // its constant must be 0, which the zero point stands for
    if (op.node.get_float("value", 0) != 0 || (op.in.size() > 3 && op.in[3] >= 0)) return false;
    if (op.in.size() < 2 || op.node.get_string("mode", "constant") != "constant") return op.in.size() >= 2;
    if (op.in.size() < 3 || op.in[2] < 0) return true;
    const Tensor* value = net.constant(op, 2);
    return value && value->dtype() == DType::f32 && value->count() == 1 && *value->as<float>() == 0;
  }
  if (type == "Resize" && !ops::copies_pixels(op.node)) return false;
  for (const char* name : {"Resize", "Transpose", "Slice", "Split", "Gather", "Tile", "Expand", "DepthToSpace", "SpaceToDepth"})
    if (type == name) return true;
  return false;
}

// The operator now works on bytes with zero point zp.
void set_byte_type(Net& net, int id, DType dtype, int32_t zp) {
  if (net.ops[id].node.op_type != "Pad" || net.ops[id].kind != Kind::generic) return;
  const Tensor zero = dtype == DType::u8 ? Tensor::from(dtype, {}, std::vector<uint8_t>{uint8_t(zp)})
                                         : Tensor::from(dtype, {}, std::vector<int8_t>{int8_t(zp)});
  std::vector<int> in = net.ops[id].in;
  in.resize(std::max<size_t>(in.size(), 3), -1);
  in[2] = net.add_constant(net.ops[id].node.name + "/zero_point", zero);
  net.set_inputs(id, in);
}

Op conversion(Kind kind, const std::string& name, int64_t order) {
  Op op;
  op.kind = kind;
  op.node.name = name;
  op.node.op_type = kind == Kind::quantize ? "QuantizeLinear" : "DequantizeLinear";
  op.order = order;
  return op;
}

// DequantizeLinear -> op  becomes  op on bytes -> DequantizeLinear.
void sink(Net& net, int id) {
  const Op* dq = net.producer(net.ops[id].in[0]);
  if (!dq || dq->kind != Kind::dequantize || !is_bytes(net.values[dq->in[0]].dtype) || net.values[dq->in[0]].constant) return;
  const int q = dq->in[0];
  const DType dtype = net.values[q].dtype;
  const QParams params = dq->in_q[0];
  const std::string name = dq->node.name;
  net.set_input(id, 0, q);
  set_byte_type(net, id, dtype, params.zero_point);
  for (size_t i = 0; i < net.ops[id].out.size(); ++i) {
    const int y = net.ops[id].out[i];
    if (y < 0) continue;
    const int bytes = net.add_value(net.values[y].name + "/bytes", dtype, net.values[y].shape);
    net.ops[id].out[i] = bytes;
    net.values[bytes].producer = id;
    Op op = conversion(Kind::dequantize, name, net.ops[id].order);
    op.in_q = {params};
    op.in = {bytes};
    op.out = {y};
    net.add_op(std::move(op));
  }
}

// op -> QuantizeLinear  becomes  QuantizeLinear (on each input that holds elements) -> op on bytes.
void hoist(Net& net, int id) {
  const bool concat =
      net.ops[id].kind == Kind::generic && net.ops[id].node.op_type == "Concat" && net.ops[id].node.domain.empty();
  if ((!concat && !moves_elements(net, net.ops[id])) || net.ops[id].out.size() != 1) return;
  const int y = net.ops[id].out[0], user = net.only_user(y);
  if (user < 0 || net.ops[user].kind != Kind::quantize || net.values[y].dtype != DType::f32) return;
  const size_t inputs = concat ? net.ops[id].in.size() : 1;
  for (size_t i = 0; i < inputs; ++i) {
    const int x = net.ops[id].in[i];
    if (x < 0 || net.values[x].constant || net.values[x].kept || quantized_constant(net, x)) return;
  }
  const QParams params = net.ops[user].out_q;
  const std::string name = net.ops[user].node.name;
  const int q = net.ops[user].out[0];
  const DType dtype = net.values[q].dtype;
  for (size_t i = 0; i < inputs; ++i) {
    const int x = net.ops[id].in[i];
    Op op = conversion(Kind::quantize, name, net.ops[id].order);
    op.out_q = params;
    op.in = {x};
    op.out = {net.add_value(net.values[x].name + "/bytes", dtype, net.values[x].shape)};
    net.set_input(id, i, op.out[0]);
    net.add_op(std::move(op));
  }
  set_byte_type(net, id, dtype, params.zero_point);
  net.erase(user);
  net.values[y].producer = -1;
  net.ops[id].out = {q};
  net.values[q].producer = id;
}

// DequantizeLinear -> QuantizeLinear: nothing where the parameters agree, else one pass over the bytes.
void meet(Net& net, int id) {
  if (net.ops[id].kind != Kind::quantize) return;
  const int x = net.ops[id].in[0], y = net.ops[id].out[0];
  const Op* dq = net.producer(x);
  if (!dq || dq->kind != Kind::dequantize || !is_bytes(net.values[dq->in[0]].dtype) || net.values[dq->in[0]].constant) return;
  const int q = dq->in[0];
  if (dq->in_q[0] == net.ops[id].out_q && net.values[q].dtype == net.values[y].dtype) {
    net.replace_uses(y, q);
    net.erase(id);
    return;
  }
  net.ops[id].kind = Kind::requantize;
  net.ops[id].in_q = {dq->in_q[0]};
  net.set_input(id, 0, q);
  // f32 -> u8 -> s8 on one grid is f32 -> s8.
  Op& op = net.ops[id];
  const Op* source = net.producer(q);
  const auto offset = [](DType t) { return t == DType::s8 ? 128 : 0; };
  if (source && source->kind == Kind::quantize && source->out_q.scale == op.out_q.scale &&
      source->out_q.zero_point + offset(net.values[q].dtype) == op.out_q.zero_point + offset(net.values[y].dtype)) {
    op.kind = Kind::quantize;
    op.in_q.clear();
    net.set_input(id, 0, source->in[0]);
  }
}

}  // namespace

void move_quantization(Net& net) {
  for (int id : net.sorted())
    if (moves_elements(net, net.ops[id])) sink(net, id);
  std::vector<int> order = net.sorted();
  std::reverse(order.begin(), order.end());
  for (int id : order)
    if (!net.ops[id].dead) hoist(net, id);
  for (int id : net.sorted()) meet(net, id);
  net.sweep();
}

}  // namespace octavo::net
