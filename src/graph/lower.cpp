#include "octavo/gemm.h"
#include "ops.h"
#include "step.h"

namespace octavo {
namespace {

using net::Kind;
using net::Net;

Status named(const net::Op& op, const Status& s) {
  return Status::error(s.code(), "node '%s' (%s): %s", op.node.name.c_str(), op.node.op_type.c_str(), s.text());
}

const char* precision_of(const Net& net, const net::Op& op) {
  const DType out = op.out.empty() || op.out[0] < 0 ? DType::f32 : net.values[op.out[0]].dtype;
  switch (op.kind) {
    case Kind::linear:
    case Kind::linears:
    case Kind::affine:
    case Kind::matmul:
      return op.in_q.empty() ? "float" : "int8";
    case Kind::rows:
      return op.in_q.empty() && out == DType::f32 ? "float" : "int8";
    case Kind::pool:
      return out == DType::f32 ? "float" : "int8";
    case Kind::embedding:
    case Kind::dynamic_linear:
    case Kind::quantize_rows:
    case Kind::quantize:
    case Kind::dequantize:
    case Kind::requantize:
    case Kind::add:
    case Kind::mul:
    case Kind::table:
    case Kind::recurrent:
    case Kind::dynamic_recurrent:
      return "int8";
    case Kind::shuffle:
    case Kind::repeat:
    case Kind::to_last:
    case Kind::to_first:
    case Kind::copy:
      return "copy";
    case Kind::generic:
      if (op.node.op_type == "DynamicQuantizeLinear") return "int8";
      for (const char* name :
           {"Concat", "Slice", "Split", "Pad", "Transpose", "Gather", "Tile", "Expand", "DepthToSpace", "SpaceToDepth"})
        if (op.node.op_type == name) return "copy";
      if (op.node.op_type == "Resize" && ops::copies_pixels(op.node)) return "copy";
      return "float";
    default:
      return "float";
  }
}

// Multiply-accumulates of what the generic loops compute; those of plans are known to the plan.
int64_t generic_macs(const Net& net, const net::Op& op) {
  const std::string& type = op.node.op_type;
  const bool matrix = type == "Gemm" || type.find("MatMul") != std::string::npos, transposed = type == "ConvTranspose";
  const bool conv = type == "Conv" || type == "ConvInteger" || type == "QLinearConv";
  const bool recurrent = type == "LSTM" || type == "GRU" || type == "RNN";
  if (!op.node.domain.empty() || !(matrix || conv || transposed || recurrent)) return 0;
  if (recurrent) {  // X and the state of each step times W and R
    const Shape &x = net.values[op.in[0]].shape, &w = net.values[op.in[1]].shape, &r = net.values[op.in[2]].shape;
    return x[0] * x[1] * (product(w) + product(r));
  }
  const Shape &a = net.values[op.in[0]].shape, &b = net.values[op.in[type.starts_with("QLinear") ? 3 : 1]].shape;
  const Shape& y = net.values[op.out[0]].shape;
  if (matrix) return product(y) * (type == "Gemm" && op.node.get_int("transA", 0) != 0 ? a.front() : a.back());
  return product(conv ? y : a) * product(b, 1, b.size());
}

}  // namespace

int64_t product(const Shape& shape, size_t begin, size_t end) {
  int64_t n = 1;
  for (size_t i = begin; i < end; ++i) n *= shape[i];
  return n;
}

Expected<Lowered> lower(const Net& net, const net::Op& op, Isa isa) {
  Lowered r;
  r.report.name = op.node.name;
  r.report.op_type = op.node.op_type;
  r.report.fused = op.fused;
  r.report.precision = precision_of(net, op);
  if (!op.out.empty() && op.out[0] >= 0) {
    const net::Value& y = net.values[op.out[0]];
    r.report.output_shape = y.shape;
    if (y.channels_last && y.shape.size() > 2)
      std::rotate(r.report.output_shape.begin() + 1, r.report.output_shape.end() - 1, r.report.output_shape.end());
  }
  if (r.report.precision == "float") r.report.why_not_int8 = op.why_not_int8;

  const EltwiseKernels& kernels = eltwise(isa);
  r.report.kernel = kernels.name;
  if (op.kind == Kind::linear) {
    Expected<std::unique_ptr<Step>> step = lower_linear(net, op, isa, r.report);
    if (!step) return named(op, step.status());
    r.step = *std::move(step);
  } else if (op.kind == Kind::linears) {
    Expected<std::unique_ptr<Step>> step = lower_linears(net, op, isa, r.report);
    if (!step) return named(op, step.status());
    r.step = *std::move(step);
  } else if (op.kind == Kind::embedding) {
    r.step = lower_embedding(net, op, kernels);
  } else if (op.kind == Kind::dynamic_linear) {
    Expected<std::unique_ptr<Step>> step = lower_dynamic(net, op, isa, r.report);
    if (!step) return named(op, step.status());
    r.step = *std::move(step);
  } else if (op.kind == Kind::matmul) {
    Expected<std::unique_ptr<Step>> step = lower_matmul(net, op, isa, r.report);
    if (!step) return named(op, step.status());
    r.step = *std::move(step);
  } else if (op.kind == Kind::recurrent) {
    Expected<std::unique_ptr<Step>> step = lower_recurrent(net, op, kernels, isa, r.report);
    if (!step) return named(op, step.status());
    r.step = *std::move(step);
  } else if (op.kind == Kind::dynamic_recurrent) {
    Expected<std::unique_ptr<Step>> step = lower_dynamic_recurrent(net, op, kernels, isa, r.report);
    if (!step) return named(op, step.status());
    r.step = *std::move(step);
  } else if (op.kind == Kind::rows) {
    r.step = lower_row_function(net, op, kernels);
  } else if (op.kind == Kind::pool) {
    Expected<std::unique_ptr<Step>> step = lower_pool(net, op, isa);
    if (!step) return named(op, step.status());
    r.step = *std::move(step);
  }
  // These take a first operand and a first result. An operator may lack them: a recurrent layer of which only the state is used.
  if (!op.in.empty() && op.in[0] >= 0 && !op.out.empty() && op.out[0] >= 0) {
    if (!r.step) r.step = lower_rows(net, op, kernels);
    if (!r.step) r.step = lower_quantized(net, op, kernels);
    if (!r.step) r.step = lower_float(net, op, kernels);
    if (!r.step) r.step = lower_movement(net, op, kernels);
  }
  if (!r.step) {
    Expected<std::unique_ptr<Step>> step = lower_generic(net, op, kernels);
    if (!step) return step.status();
    r.step = *std::move(step);
    r.report.kernel = "generic";
    r.report.macs = generic_macs(net, op);
    if (r.report.macs > 0 && r.report.why_not_int8.empty())
      r.report.why_not_int8 = "operator " + op.node.op_type + " has no int8 kernel";
  }
  return r;
}

}  // namespace octavo
