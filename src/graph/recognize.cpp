#include <algorithm>
#include <cmath>

#include "rewrite.h"
#include "window.h"

namespace octavo::net {
namespace {

bool is_one_of(const std::string& s, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* n) { return s == n; });
}

// Constant per-tensor parameters become fields; per-axis and 16-bit forms stay generic.
Status recognize_quantization(Net& net, int id) {
  Op& op = net.ops[id];
  const bool quantizes = op.node.op_type == "QuantizeLinear";
  const Tensor* scale = net.constant(op, 1);
  const Tensor* zero = net.constant(op, 2);
  const DType q = net.values[quantizes ? op.out[0] : op.in[0]].dtype;
  const DType x = net.values[quantizes ? op.in[0] : op.out[0]].dtype;
  const bool small = q == DType::u8 || q == DType::s8;
  if (!(small || (q == DType::s32 && !quantizes)) || x != DType::f32) return {};
  if (!scale || scale->dtype() != DType::f32 || scale->count() != 1) return {};
  const bool has_zero = op.in.size() > 2 && op.in[2] >= 0;
  if (has_zero && (!zero || zero->count() != 1 || zero->dtype() != q)) return {};
  const float s = *scale->as<float>();
  if (!std::isfinite(s) || s <= 0)
    return Status::error(Code::invalid_argument, "node '%s' (%s): scale %g is not a positive number", op.node.name.c_str(),
                         op.node.op_type.c_str(), double(s));
  const QParams params = {s, has_zero ? int32_t(integers(*zero)[0]) : 0};
  op.kind = quantizes ? Kind::quantize : Kind::dequantize;
  if (quantizes)
    op.out_q = params;
  else
    op.in_q = {params};
  net.set_inputs(id, {op.in[0]});
  return {};
}

// Dropout's mask, MaxPool's indices: the operator stays generic then.
bool has_second_output(const Net& net, const Op& op) {
  return op.out.size() > 1 && op.out[1] >= 0 && (net.values[op.out[1]].output || !net.values[op.out[1]].users.empty());
}

Status make_alias(Net& net, int id) {
  Op& op = net.ops[id];
  if (has_second_output(net, op)) return {};
  if (const Tensor* training = op.node.op_type == "Dropout" ? net.constant(op, 2) : nullptr; training && training->as<uint8_t>()[0] != 0) return {};
  int64_t counts[2] = {1, 1};
  for (int64_t d : net.values[op.in[0]].shape) counts[0] *= d;
  for (int64_t d : net.values[op.out[0]].shape) counts[1] *= d;
  if (counts[0] != counts[1])
    return Status::error(Code::invalid_argument, "node '%s' (%s): %s does not fit into %s", op.node.name.c_str(),
                         op.node.op_type.c_str(), to_string(net.values[op.in[0]].shape).c_str(),
                         to_string(net.values[op.out[0]].shape).c_str());
  op.kind = Kind::alias;
  op.out.resize(1);
  net.set_inputs(id, {op.in[0]});
  return {};
}

// ReduceMean and ReduceMax over all spatial dimensions are global pools.
bool reduces_over_space(const Net& net, const Op& op) {
  const Shape& shape = net.values[op.in[0]].shape;
  if ((op.node.op_type != "ReduceMean" && op.node.op_type != "ReduceMax") || (shape.size() != 3 && shape.size() != 4)) return false;
  std::vector<int64_t> axes = op.node.get_ints("axes");
  if (const Tensor* t = net.constant(op, 1)) axes = integers(*t);
  for (int64_t& a : axes) a += a < 0 ? int64_t(shape.size()) : 0;
  std::sort(axes.begin(), axes.end());
  return shape.size() == 4 ? axes == std::vector<int64_t>{2, 3} : axes == std::vector<int64_t>{2};
}

Status recognize_pool(Net& net, int id) {
  const Node node = net.ops[id].node;
  const int x = net.ops[id].in[0], y = net.ops[id].out[0];
  const Shape in = net.values[x].shape;
  if (net.values[x].dtype != DType::f32 && net.values[x].dtype != DType::u8 && net.values[x].dtype != DType::s8) return {};
  const bool include_pad = node.get_int("count_include_pad", 0) != 0;
  if (has_second_output(net, net.ops[id]) || (include_pad && node.get_int("ceil_mode", 0) != 0)) return {};
  const bool global = node.op_type.rfind("Global", 0) == 0 || node.op_type.rfind("Reduce", 0) == 0;
  if (in.size() < 3)
    return Status::error(Code::invalid_argument, "node '%s' (%s): input %s", node.name.c_str(), node.op_type.c_str(),
                         to_string(in).c_str());
  const Shape kernel = global ? Shape(in.begin() + 2, in.end()) : node.get_ints("kernel_shape");
  Shape out = {in[0], in[1]};
  if (global)
    out.resize(in.size(), 1);
  else
    out = net.values[y].shape;
  Node plain = node;
  if (global) plain.attributes.clear();
  Expected<Window> window = window_of(plain, in, out, kernel);
  if (!window) return window.status().code() == Code::unsupported ? Status() : window.status();  // three dimensions: generic
  Op& op = net.ops[id];
  op.kind = Kind::pool;
  op.pool = Pool{node.op_type.find("Max") != std::string::npos ? PoolKind::max : PoolKind::average, *window, include_pad};
  op.out.resize(1);
  net.set_inputs(id, {x});
  if (net.values[y].shape != out) {  // keepdims = 0
    const int pooled = net.add_value(net.values[y].name + "/keepdims", net.values[y].dtype, out);
    net.ops[id].out = {pooled};
    net.values[pooled].producer = id;
    Op alias;
    alias.kind = Kind::alias;
    alias.node.name = node.name;
    alias.node.op_type = "Squeeze";
    alias.in = {pooled};
    alias.out = {y};
    alias.order = net.ops[id].order;
    net.add_op(std::move(alias));
  }
  return {};
}

Status recognize_batch_norm(Net& net, int id) {
  Op& op = net.ops[id];
  const Shape& shape = net.values[op.in[0]].shape;
  if (shape.size() < 2 || net.values[op.in[0]].dtype != DType::f32 || op.in.size() != 5) return {};
  const Tensor* t[4];
  for (size_t i = 0; i < 4; ++i) {
    t[i] = net.constant(op, i + 1);
    if (!t[i]) return {};
    if (t[i]->dtype() != DType::f32 || t[i]->count() != shape[1])
      return Status::error(Code::invalid_argument, "node '%s' (BatchNormalization): '%s' has shape %s, input %s",
                           op.node.name.c_str(), net.values[op.in[i + 1]].name.c_str(), to_string(t[i]->shape()).c_str(),
                           to_string(shape).c_str());
  }
  const double epsilon = double(op.node.get_float("epsilon", 1e-5f));
  for (int64_t c = 0; c < shape[1]; ++c) {
    const double scale = double(t[0]->as<float>()[c]) / std::sqrt(double(t[3]->as<float>()[c]) + epsilon);
    op.channel_scale.push_back(float(scale));
    op.channel_bias.push_back(float(double(t[1]->as<float>()[c]) - double(t[2]->as<float>()[c]) * scale));
  }
  op.kind = Kind::affine;
  net.set_inputs(id, {op.in[0]});
  op.out.resize(1);
  return {};
}

// [n, c, h, w] -> [n, g, c/g, h, w] -> perm 0 2 1 3 4 -> [n, c, h, w]; id is the Transpose.
void fuse_shuffle(Net& net, int id) {
  const Op& transpose = net.ops[id];
  if (transpose.node.get_ints("perm") != std::vector<int64_t>{0, 2, 1, 3, 4}) return;
  const int split = net.values[transpose.in[0]].producer, merge = net.only_user(transpose.out[0]);
  if (split < 0 || merge < 0 || net.ops[split].kind != Kind::alias || net.only_user(transpose.in[0]) != id) return;
  if (net.ops[merge].kind != Kind::alias) return;
  const int x = net.ops[split].in[0];
  const Shape& shape = net.values[x].shape;
  const Shape& grouped = net.values[transpose.in[0]].shape;
  if (shape.size() != 4 || net.values[net.ops[merge].out[0]].shape != shape || grouped.size() != 5) return;
  if (grouped[0] != shape[0] || grouped[3] != shape[2] || grouped[4] != shape[3]) return;
  Op& op = net.ops[id];
  op.kind = Kind::shuffle;
  op.groups = grouped[1];
  op.fused.push_back(net.ops[split].node.name);
  net.set_inputs(id, {x});
  net.absorb(id, merge);
}

}  // namespace

Status recognize(Net& net, bool simulate) {
  for (int id : net.sorted()) {
    if (net.ops[id].dead) continue;
    const std::string& type = net.ops[id].node.op_type;
    if (!net.ops[id].node.domain.empty() || net.ops[id].in.empty() || net.ops[id].in[0] < 0 || net.ops[id].out[0] < 0) continue;
    Status status;
    if (is_one_of(type, {"QuantizeLinear", "DequantizeLinear"}))
      status = simulate ? Status() : recognize_quantization(net, id);
    else if (is_one_of(type, {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}))
      status = make_alias(net, id);
    else if (is_one_of(type, {"MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"}) ||
             reduces_over_space(net, net.ops[id]))
      status = recognize_pool(net, id);
    else if (type == "BatchNormalization")
      status = recognize_batch_norm(net, id);
    if (!status.ok()) return status;
  }
  net.sweep();
  return {};
}

void fuse_shuffles(Net& net) {
  for (int id : net.sorted())
    if (net.ops[id].kind == Kind::generic && net.ops[id].node.op_type == "Transpose" && net.ops[id].node.domain.empty())
      fuse_shuffle(net, id);
}

std::optional<std::pair<float, float>> clamp_of(const Net& net, const Op& op) {
  if (op.kind != Kind::generic || !op.node.domain.empty() || op.out.empty() || op.out[0] < 0) return std::nullopt;
  if (net.values[op.out[0]].dtype != DType::f32) return std::nullopt;
  if (op.node.op_type == "Relu") return std::pair(0.0f, kInf);
  if (op.node.op_type != "Clip") return std::nullopt;
  float limits[2] = {op.node.get_float("min", -kInf), op.node.get_float("max", kInf)};
  for (size_t i = 0; i < 2; ++i) {
    if (i + 1 >= op.in.size() || op.in[i + 1] < 0) continue;
    const Tensor* t = net.constant(op, i + 1);
    if (!t || t->dtype() != DType::f32 || t->count() != 1 || std::isnan(*t->as<float>())) return std::nullopt;
    limits[i] = *t->as<float>();
  }
  if (std::isnan(limits[0]) || std::isnan(limits[1]) || limits[0] > limits[1]) return std::nullopt;
  return std::pair(limits[0], limits[1]);
}

bool is_unary(const Op& op) {
  return op.kind == Kind::generic && op.node.domain.empty() &&
         is_one_of(op.node.op_type,
                   {"Relu", "Clip", "LeakyRelu", "Elu",  "Sigmoid", "Tanh", "HardSigmoid", "HardSwish",  "Softplus", "Abs",
                    "Neg",  "Exp",  "Log",       "Sqrt", "Floor",   "Ceil", "Round",       "Reciprocal", "Erf",      "Gelu"});
}

}  // namespace octavo::net
