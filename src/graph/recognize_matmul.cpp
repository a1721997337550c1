// Products of two computed tensors, and operators on rows, with what surrounds them.
#include <algorithm>
#include <cmath>

#include "rewrite.h"

namespace octavo::net {
namespace {

bool is_op(const Op& op, const char* type) {
  return op.kind == Kind::generic && op.node.domain.empty() && op.node.op_type == type;
}

std::vector<int64_t> dense_strides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

// The permutation of a Transpose; empty if it has none of its own.
std::vector<int64_t> permutation(const Op& op) {
  return is_op(op, "Transpose") ? op.node.get_ints("perm") : std::vector<int64_t>();
}

// An operand as strides over `value`, which lies in memory row by row: transposes in front of it are read through.
struct Source {
  int value = -1;
  std::vector<int64_t> strides;  // one for each dimension of the operand
};

Source look_through(const Net& net, int v, bool last_is_dense) {
  Source best;
  std::vector<size_t> index(net.values[v].shape.size());  // dimension of the operand -> of `value`
  for (size_t d = 0; d < index.size(); ++d) index[d] = d;
  for (int value = v;;) {
    const std::vector<int64_t> dense = dense_strides(net.values[value].shape);
    Source here{value, {}};
    for (size_t d : index) here.strides.push_back(dense[d]);
    if (best.value < 0 || !last_is_dense || here.strides.back() == 1) best = here;
    const Op* op = net.producer(value);
    if (!op) return best;
    const std::vector<int64_t> perm = permutation(*op);
    if (perm.size() != index.size()) return best;
    for (size_t& d : index) d = size_t(perm[d]);
    value = op->in[0];
  }
}

// Strides of batch, head, row and column of an operand or the result; a dimension of 1 is broadcast. All that is left of the heads
// is one batch: nothing where the operand does not walk it in even steps.
std::optional<Matmul::Strides> matrix_strides(const Shape& shape, const std::vector<int64_t>& strides, const Shape& result) {
  const auto at = [&](size_t from_end) {
    return from_end > shape.size() || shape[shape.size() - from_end] == 1 ? 0 : strides[shape.size() - from_end];
  };
  int64_t batch = 0, steps = 1;
  for (size_t from_end = 4; from_end <= result.size(); ++from_end) {
    const int64_t dim = result[result.size() - from_end];
    if (dim == 1) continue;
    if (steps == 1) batch = at(from_end);
    else if (at(from_end) != batch * steps) return std::nullopt;
    steps *= dim;
  }
  return Matmul::Strides{batch, at(3), at(2), at(1)};
}

// Where an operand of a product of that result is read from, and its strides; as it is where transposes in front of it make the
// batch uneven.
std::optional<Source> operand(const Net& net, int v, bool last_is_dense, const Shape& result, Matmul::Strides& strides) {
  const Shape& shape = net.values[v].shape;
  for (const Source& source : {look_through(net, v, last_is_dense), Source{v, dense_strides(shape)}})
    if (const auto found = matrix_strides(shape, source.strides, result)) {
      strides = *found;
      return source;
    }
  return std::nullopt;
}

const Op* bytes_behind(const Net& net, int value) {
  const Op* dq = net.producer(value);
  if (!dq || dq->kind != Kind::dequantize) return nullptr;
  const DType t = net.values[dq->in[0]].dtype;
  return t == DType::u8 || t == DType::s8 ? dq : nullptr;
}

// The product times or divided by a positive constant.
void absorb_scale(Net& net, int id) {
  for (int user; (user = net.only_user(net.ops[id].out[0])) >= 0;) {
    const Op& op = net.ops[user];
    const bool mul = is_op(op, "Mul"), div = is_op(op, "Div");
    if ((!mul && !div) || op.in.size() != 2) return;
    const size_t side = op.in[0] == net.ops[id].out[0] ? 1 : 0;
    const Tensor* c = net.constant(op, side);
    if (!c || c->dtype() != DType::f32 || c->count() != 1 || (div && side == 0)) return;
    if (net.values[op.out[0]].shape != net.values[net.ops[id].out[0]].shape) return;
    const float v = *c->as<float>(), scale = mul ? net.ops[id].matmul->scale * v : net.ops[id].matmul->scale / v;
    if (!(scale > 0) || !std::isfinite(scale) || !std::isfinite(scale * net.ops[id].in_q[0].scale * net.ops[id].in_q[1].scale))
      return;
    net.ops[id].matmul->scale = scale;
    net.absorb(id, user);
  }
}

// A mask, or a bias for each distance, added to the scores.
void absorb_mask(Net& net, int id) {
  const int y = net.ops[id].out[0], user = net.only_user(y);
  if (user < 0 || !is_op(net.ops[user], "Add") || net.ops[user].in.size() != 2) return;
  const int r = net.ops[user].in[net.ops[user].in[0] == y ? 1 : 0];
  const Shape &shape = net.values[y].shape, &mask = net.values[r].shape;
  if (r == y || net.values[r].dtype != DType::f32 || net.values[net.ops[user].out[0]].shape != shape) return;
  if (mask.empty() || mask.size() > shape.size() || mask.back() != shape.back()) return;
  const std::optional<Matmul::Strides> residual = matrix_strides(mask, dense_strides(mask), shape);
  if (!residual) return;
  net.absorb(id, user);
  net.ops[id].matmul->residual = *residual;
  std::vector<int> in = net.ops[id].in;
  in.push_back(r);
  net.set_inputs(id, in);
}

// The heads' results side by side: a Transpose that leaves the last dimension in place only changes where rows are written.
void absorb_transpose(Net& net, int id) {
  const int user = net.only_user(net.ops[id].out[0]);
  if (user < 0) return;
  const std::vector<int64_t> perm = permutation(net.ops[user]);
  if (perm.empty() || perm.back() != int64_t(perm.size()) - 1) return;
  const Shape shape = net.values[net.ops[id].out[0]].shape;
  const std::vector<int64_t> dense = dense_strides(net.values[net.ops[user].out[0]].shape);
  std::vector<int64_t> strides(shape.size());
  for (size_t d = 0; d < perm.size(); ++d) strides[size_t(perm[d])] = dense[d];
  const std::optional<Matmul::Strides> c = matrix_strides(shape, strides, shape);
  if (!c) return;
  net.absorb(id, user);
  net.ops[id].matmul->c = *c;
}

void absorb_quantize(Net& net, int id) {
  const int user = net.only_user(net.ops[id].out[0]);
  if (user < 0 || net.ops[user].kind != Kind::quantize) return;
  net.ops[id].out_q = net.ops[user].out_q;
  net.absorb(id, user);
}

void recognize_one(Net& net, int id) {
  const int a = net.ops[id].in[0], b = net.ops[id].in[1], y = net.ops[id].out[0];
  const Shape &sa = net.values[a].shape, &sb = net.values[b].shape, sy = net.values[y].shape;
  if (net.values[a].constant || net.values[b].constant || net.values[y].dtype != DType::f32) return;
  if (sa.size() < 2 || sb.size() < 2) return;
  Matmul m;
  m.m = sa[sa.size() - 2];
  m.k = sa.back();
  m.n = sb.back();
  for (size_t d = 0; d + 2 < sy.size(); ++d) (sy.size() - d >= 4 ? m.batch : m.heads) *= sy[d];
  // 255 * 255 * k must fit int32, the bound of the plan with any zero points.
  constexpr int64_t kMaxDepth = 33025;
  if (m.batch < 1 || m.heads < 1 || m.m < 1 || m.n < 1 || m.k < 1 || m.k > kMaxDepth) return;
  const Op *qa = bytes_behind(net, a), *qb = bytes_behind(net, b);
  const bool int8 = qa && qb;
  const std::optional<Source> from_a = operand(net, int8 ? qa->in[0] : a, true, sy, m.a),
                              from_b = operand(net, int8 ? qb->in[0] : b, false, sy, m.b);
  if (!from_a || !from_b) return;
  m.c = *matrix_strides(sy, dense_strides(sy), sy);
  Op& op = net.ops[id];
  if (int8)
    op.in_q = {qa->in_q[0], qb->in_q[0]}, op.why_not_int8.clear();
  else
    op.why_not_int8 = "input '" + net.values[qa ? b : a].name + "' has no QuantizeLinear";
  op.kind = Kind::matmul;
  op.matmul = m;
  net.set_inputs(id, {from_a->value, from_b->value});
  if (!int8) {
    absorb_mask(net, id);
    return absorb_transpose(net, id);
  }
  absorb_scale(net, id);
  absorb_mask(net, id);
  if (net.ops[id].in.size() == 2) absorb_quantize(net, id);
  absorb_transpose(net, id);
}

// Softmax, LayerNormalization and RMSNormalization over the innermost elements, one output.
bool is_row_operator(const Net& net, const Op& op, int64_t& n) {
  const bool softmax = is_op(op, "Softmax"), layer = is_op(op, "LayerNormalization"), rms = is_op(op, "RMSNormalization");
  if ((!softmax && !layer && !rms) || op.in[0] < 0 || op.out[0] < 0) return false;
  for (size_t i = 1; i < op.out.size(); ++i)
    if (op.out[i] >= 0 && (net.values[op.out[i]].output || !net.values[op.out[i]].users.empty())) return false;
  const Shape& shape = net.values[op.in[0]].shape;
  const int64_t rank = int64_t(shape.size()), given = op.node.get_int("axis", softmax && net.opset < 13 ? 1 : -1);
  const int64_t axis = given < 0 ? given + rank : given;
  if (axis < 0 || axis >= rank || net.values[op.in[0]].dtype != DType::f32 || (softmax && net.opset >= 13 && axis != rank - 1))
    return false;
  n = 1;
  int64_t count = 1;
  for (int64_t d = 0; d < rank; ++d) (d < axis ? count : n) *= shape[size_t(d)];
  return n > 0 && count > 0;
}

void recognize_rows(Net& net, int id) {
  int64_t n = 0;
  if (!is_row_operator(net, net.ops[id], n)) return;
  Op& op = net.ops[id];
  op.kind = Kind::rows;
  op.row = n;
  op.out.resize(1);
  if (const Op* dq = bytes_behind(net, op.in[0])) {
    op.in_q = {dq->in_q[0]};
    net.set_input(id, 0, dq->in[0]);
  }
  absorb_quantize(net, id);
}

}  // namespace

void recognize_matmul(Net& net) {
  for (int id : net.sorted())
    if (!net.ops[id].dead && is_op(net.ops[id], "MatMul")) recognize_one(net, id);
  for (int id : net.sorted())
    if (!net.ops[id].dead && net.ops[id].kind == Kind::generic) recognize_rows(net, id);
  net.sweep();
  dequantize_constants(net);  // operands of products that were none in bytes
}

}  // namespace octavo::net
