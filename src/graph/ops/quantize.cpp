// QuantizeLinear and DequantizeLinear: per tensor, per axis, and in blocks along an axis.
#include "ops/common.h"

namespace octavo::ops {
namespace {

// Scale of one value for the whole tensor, or of one for each index of `axis`; the zero point has the scale's shape, or both are one
// value (ONNX Runtime's quantizer writes biases with a scale of [1] and a zero point of []).
Status check_parameters(const InferContext& ctx) {
  const Shape &in = ctx.inputs[0]->shape, &scale = ctx.inputs[1]->shape;
  if (ctx.inputs[1]->dtype != DType::f32) return bad_type(ctx, 1);
  // From opset 23 the arithmetic (Q) and the result (DQ) may be of another type than the scale.
  for (const char* name : {"precision", ctx.node.op_type == "DequantizeLinear" ? "output_dtype" : "precision"})
    if (const int64_t type = int_attribute(ctx.node, name, 0); type != 0 && type != 1)
      return fail(ctx.node, Code::unsupported, "%s %lld is not supported", name, static_cast<long long>(type));
  const auto is_one = [](const Shape& s) { return s.empty() || s == Shape{1}; };
  if (const TypeShape* zp = input_of(ctx, 2); zp && zp->shape != scale && !(is_one(zp->shape) && is_one(scale)))
    return misshapen(ctx, "the shapes of scale and zero point differ");
  int64_t axis = int_attribute(ctx.node, "axis", 1);
  if (const int64_t block = int_attribute(ctx.node, "block_size", 0); block != 0) {
    bool fits = block > 0 && scale.size() == in.size() && normalize_axis(axis, int64_t(in.size()));
    for (size_t d = 0; fits && d < in.size(); ++d)
      fits = scale[d] == (int64_t(d) == axis ? in[d] / block + (in[d] % block != 0) : in[d]);
    return fits ? Status() : misshapen(ctx, "one scale for each block along the axis is needed");
  }
  if (is_one(scale)) return {};
  if (scale.size() != 1 || !normalize_axis(axis, int64_t(in.size())) || in[size_t(axis)] != scale[0])
    return misshapen(ctx, "one scale, or one for each index of the axis, is needed");
  return {};
}

Inferred infer_quantize(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 3); !s.ok()) return s;
  if (Status s = check_parameters(ctx); !s.ok()) return s;
  if (ctx.inputs[0]->dtype != DType::f32) return bad_type(ctx, 0);
  DType dtype = DType::u8;
  if (input_of(ctx, 2)) {
    dtype = ctx.inputs[2]->dtype;
    if (dtype != DType::u8 && dtype != DType::s8) return bad_type(ctx, 2);
  } else if (const int64_t wanted = int_attribute(ctx.node, "output_dtype", 0); wanted != 0) {
    if (wanted != 2 && wanted != 3) return fail(ctx.node, Code::unsupported, "output_dtype %lld", static_cast<long long>(wanted));
    dtype = wanted == 2 ? DType::u8 : DType::s8;
  }
  return std::vector<TypeShape>{{dtype, ctx.inputs[0]->shape}};
}

Inferred infer_dequantize(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 3); !s.ok()) return s;
  if (Status s = check_parameters(ctx); !s.ok()) return s;
  const DType dtype = ctx.inputs[0]->dtype;
  if (dtype != DType::u8 && dtype != DType::s8 && dtype != DType::s32) return bad_type(ctx, 0);
  if (input_of(ctx, 2) && ctx.inputs[2]->dtype != dtype) return misshapen(ctx, "the types of input and zero point differ");
  return std::vector<TypeShape>{{DType::f32, ctx.inputs[0]->shape}};
}

int32_t zero_point_at(const View& zp, int64_t i) {
  if (!zp.data) return 0;
  if (zp.dtype == DType::u8) return static_cast<const uint8_t*>(zp.data)[i];
  if (zp.dtype == DType::s8) return static_cast<const int8_t*>(zp.data)[i];
  return static_cast<const int32_t*>(zp.data)[i];
}

// f(offset, count, scale, zero point) for each run of elements that share their parameters.
template <class F>
void for_runs(const EvalContext& ctx, F&& f) {
  const View &x = ctx.inputs[0], &scale = ctx.inputs[1], zp = view_of(ctx, 2);
  const float* scales = static_cast<const float*>(scale.data);
  const int64_t total = x.count(), groups = scale.count();
  if (groups == 1 && int_attribute(ctx.node, "block_size", 0) == 0) return f(int64_t(0), total, scales[0], zero_point_at(zp, 0));
  int64_t axis = int_attribute(ctx.node, "axis", 1), inner = 1;
  normalize_axis(axis, x.rank);
  for (int d = int(axis) + 1; d < x.rank; ++d) inner *= x.dims[d];
  if (inner == 0) return;
  if (const int64_t block = int_attribute(ctx.node, "block_size", 0); block > 0) {
    const int64_t dim = x.dims[axis], blocks = scale.dims[axis];
    for (int64_t row = 0; row < total / inner; ++row)  // one index of the axis
      for (int64_t i = 0; i < inner; ++i) {
        const int64_t s = (row / dim * blocks + row % dim / block) * inner + i;
        f(row * inner + i, int64_t(1), scales[s], zero_point_at(zp, s));
      }
    return;
  }
  for (int64_t offset = 0; offset < total; offset += inner) {
    const int64_t i = offset / inner % groups;
    f(offset, inner, scales[i], zero_point_at(zp, i));
  }
}

Status eval_quantize(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  for_runs(ctx, [&](int64_t offset, int64_t n, float scale, int32_t zp) {
    ctx.eltwise.quantize(static_cast<const float*>(x.data) + offset, static_cast<char*>(y.data) + offset, y.dtype, size_t(n), scale, zp);
  });
  return {};
}

Status eval_dequantize(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  for_runs(ctx, [&](int64_t offset, int64_t n, float scale, int32_t zp) {
    ctx.eltwise.dequantize(static_cast<const char*>(x.data) + offset * int64_t(size_of(x.dtype)), x.dtype,
                           static_cast<float*>(y.data) + offset, size_t(n), scale, zp);
  });
  return {};
}

constexpr OpInfo kOps[] = {
    {"QuantizeLinear", "", infer_quantize, eval_quantize},
    {"DequantizeLinear", "", infer_dequantize, eval_dequantize},
};

}  // namespace

std::span<const OpInfo> quantize_ops() noexcept { return kOps; }

}  // namespace octavo::ops
