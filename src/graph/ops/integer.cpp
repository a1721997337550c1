// Products of 8-bit tensors as ONNX spells them without QDQ, and DynamicQuantizeLinear: exact int32 sums (modulo 2^32).
#include <cmath>

#include "dynamic_product.h"
#include "ops/common.h"
#include "ops/linear.h"

namespace octavo::ops {
namespace {

bool is_8_bit(DType t) { return t == DType::u8 || t == DType::s8; }

// Where an operator has its operands; -1: it has no such input.
struct Layout {
  int b, a_zero, b_zero;
  int a_scale = -1, b_scale = -1, y_scale = -1, y_zero = -1, bias = -1;
};
constexpr Layout kInteger = {1, 2, 3};
constexpr Layout kQLinear = {3, 2, 5, 1, 4, 6, 7, 8};

// A scale or zero point: one value, or one for each of `count` channels.
Status check_parameter(const InferContext& ctx, int i, DType dtype, int64_t count) {
  const TypeShape* p = i < 0 ? nullptr : input_of(ctx, size_t(i));
  if (!p) return {};
  if (p->dtype != dtype) return bad_type(ctx, size_t(i));
  if (p->shape.empty() || p->shape == Shape{1} || p->shape == Shape{count}) return {};
  return fail(ctx.node, Code::unsupported, "input %d of shape %s is not supported: one value, or %lld", i,
              to_string(p->shape).c_str(), static_cast<long long>(count));
}

// rows: 1 where A has one zero point only.
Expected<DType> check_parameters(const InferContext& ctx, const Layout& at, int64_t rows, int64_t columns) {
  const DType a = ctx.inputs[0]->dtype, b = ctx.inputs[size_t(at.b)]->dtype;
  Status checks[] = {check_parameter(ctx, at.a_zero, a, rows), check_parameter(ctx, at.b_zero, b, columns),
                     check_parameter(ctx, at.a_scale, DType::f32, rows), check_parameter(ctx, at.b_scale, DType::f32, columns),
                     check_parameter(ctx, at.y_scale, DType::f32, 1)};
  for (const Status& s : checks)
    if (!s.ok()) return s;
  if (at.y_zero < 0) return DType::s32;
  const DType y = ctx.inputs[size_t(at.y_zero)]->dtype;
  if (!is_8_bit(y)) return bad_type(ctx, size_t(at.y_zero));
  if (Status s = check_parameter(ctx, at.y_zero, y, 1); !s.ok()) return s;
  return y;
}

Status expect_operands(const InferContext& ctx, const Layout& at, bool conv) {
  const bool scaled = at.y_scale >= 0;
  if (Status s = expect_inputs(ctx, scaled ? 8 : 2, scaled ? (conv ? 9 : 8) : 4); !s.ok()) return s;
  for (int i : {0, at.b})
    if (!is_8_bit(ctx.inputs[size_t(i)]->dtype)) return bad_type(ctx, size_t(i));
  return {};
}

int32_t load(const View& v, int64_t i) {
  return v.dtype == DType::u8 ? static_cast<const uint8_t*>(v.data)[i] : static_cast<const int8_t*>(v.data)[i];
}
int32_t zero_of(const View& v, int64_t i) { return v.data ? load(v, v.count() == 1 ? 0 : i) : 0; }
float scale_of(const View& v, int64_t i) { return static_cast<const float*>(v.data)[v.count() == 1 ? 0 : i]; }

// The operands of one node, and how a sum becomes an element of the result.
struct Operands {
  View a, b, a_zero, b_zero, a_scale, b_scale, y_scale, y_zero, bias, y;

  Operands(const EvalContext& ctx, const Layout& at) {
    const auto input = [&](int i) { return i < 0 ? View() : view_of(ctx, size_t(i)); };
    a = input(0), b = input(at.b), a_zero = input(at.a_zero), b_zero = input(at.b_zero), a_scale = input(at.a_scale);
    b_scale = input(at.b_scale), y_scale = input(at.y_scale), y_zero = input(at.y_zero), bias = input(at.bias);
    y = ctx.outputs[0];
  }

  // y = saturate(round_half_even(sum * (a_scale * b_scale / y_scale)) + y_zero)
  void store(int64_t i, int64_t row, int64_t column, uint32_t sum) const {
    if (!y_scale.data) {
      static_cast<int32_t*>(y.data)[i] = int32_t(sum);
      return;
    }
    const float factor = scale_of(a_scale, row) * scale_of(b_scale, column) / scale_of(y_scale, 0);
    const float lo = y.dtype == DType::u8 ? 0 : -128, hi = lo + 255, zero = float(zero_of(y_zero, 0));
    const float q = std::nearbyint(float(int32_t(sum)) * factor);
    const int32_t result = int32_t(std::max(lo - zero, std::min(hi - zero, q)) + zero);
    static_cast<uint8_t*>(y.data)[i] = uint8_t(result);  // the two's complement of an s8
  }
};

// ---- MatMulInteger, QLinearMatMul: zero points and scales of A by row, of B by column

template <const Layout& kAt>
Inferred infer_matmul(const InferContext& ctx) {
  if (Status s = expect_operands(ctx, kAt, false); !s.ok()) return s;
  const Shape &a = ctx.inputs[0]->shape, &b = ctx.inputs[size_t(kAt.b)]->shape;
  Shape y;
  if (const char* why = matmul_shape(a, b, y)) return misshapen(ctx, why);
  const Expected<DType> dtype = check_parameters(ctx, kAt, a.size() > 1 ? a[a.size() - 2] : 1, b.size() > 1 ? b.back() : 1);
  if (!dtype) return dtype.status();
  return std::vector<TypeShape>{{*dtype, std::move(y)}};
}

template <const Layout& kAt>
Status eval_matmul(const EvalContext& ctx) {
  const Operands o(ctx, kAt);
  for_matrices(o.a, o.b, o.y, [&](int64_t a, int64_t b, int64_t y, const MatMulShape& s) {
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) {
        const int32_t az = zero_of(o.a_zero, i), bz = zero_of(o.b_zero, j);
        uint32_t sum = 0;
        for (int64_t p = 0; p < s.k; ++p) sum += uint32_t((load(o.a, a + i * s.k + p) - az) * (load(o.b, b + p * s.n + j) - bz));
        o.store(y + i * s.n + j, i, j, sum);
      }
  });
  return {};
}

// ---- ConvInteger, QLinearConv: padding is the zero point of x; zero points and scales of w by output channel

template <const Layout& kAt>
Inferred infer_conv(const InferContext& ctx) {
  if (Status s = expect_operands(ctx, kAt, true); !s.ok()) return s;
  const Shape &x = ctx.inputs[0]->shape, &w = ctx.inputs[size_t(kAt.b)]->shape;
  ConvShape c;
  if (Status s = conv_shape(ctx.node, x.data(), int(x.size()), w.data(), int(w.size()), false, c); !s.ok()) return s;
  const Expected<DType> dtype = check_parameters(ctx, kAt, 1, c.out_channels);
  if (!dtype) return dtype.status();
  if (const TypeShape* bias = kAt.bias < 0 ? nullptr : input_of(ctx, size_t(kAt.bias))) {
    if (bias->dtype != DType::s32) return bad_type(ctx, size_t(kAt.bias));
    if (bias->shape != Shape{c.out_channels}) return misshapen(ctx, "one bias for each output channel is needed");
  }
  Shape y = {c.batch, c.out_channels};
  y.insert(y.end(), c.window.narrow, c.window.narrow + c.window.rank);
  return std::vector<TypeShape>{{*dtype, std::move(y)}};
}

// Where tap `tap` of the window at `position` lies in the input; -1: in the padding.
int64_t wide_offset(const Window& w, int64_t position, const int64_t* tap) {
  int64_t index[kMaxRank], offset = 0;
  for (int d = w.rank - 1; d >= 0; --d) {
    index[d] = position % w.narrow[d] * w.stride[d] + tap[d] * w.dilation[d] - w.pad_begin[d];
    position /= w.narrow[d];
    if (index[d] < 0 || index[d] >= w.wide[d]) return -1;
  }
  for (int d = 0; d < w.rank; ++d) offset = offset * w.wide[d] + index[d];
  return offset;
}

template <const Layout& kAt>
Status eval_conv(const EvalContext& ctx) {
  const Operands o(ctx, kAt);
  ConvShape c;
  if (Status s = conv_shape(ctx.node, o.a.dims, o.a.rank, o.b.dims, o.b.rank, false, c); !s.ok()) return s;
  const int64_t taps = c.window.taps(), in_size = c.window.wide_count(), out_size = c.window.narrow_count();
  const int64_t depth = c.in_channels / c.groups, per_group = c.out_channels / c.groups;
  const int32_t xz = zero_of(o.a_zero, 0);
  for (int64_t plane = 0; plane < c.batch * c.out_channels; ++plane) {
    const int64_t oc = plane % c.out_channels, x = (plane / c.out_channels * c.in_channels + oc / per_group * depth) * in_size;
    const int32_t wz = zero_of(o.b_zero, oc);
    for (int64_t position = 0; position < out_size; ++position) {
      uint32_t sum = o.bias.data ? uint32_t(static_cast<const int32_t*>(o.bias.data)[oc]) : 0;
      for_taps(c.window, [&](const int64_t* tap, int64_t flat) {
        const int64_t offset = wide_offset(c.window, position, tap);
        for (int64_t i = 0; i < depth && offset >= 0; ++i)
          sum += uint32_t((load(o.a, x + i * in_size + offset) - xz) * (load(o.b, (oc * depth + i) * taps + flat) - wz));
      });
      o.store(plane * out_size + position, 0, oc, sum);
    }
  }
  return {};
}

// ---- DynamicQuantizeLinear

Inferred infer_dynamic_quantize(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  if (ctx.inputs[0]->dtype != DType::f32) return bad_type(ctx, 0);
  return std::vector<TypeShape>{{DType::u8, ctx.inputs[0]->shape}, {DType::f32, {}}, {DType::u8, {}}};
}

// scale = (max - min) / 255 over a range that holds 0; zero point = saturate(round_half_even(-min / scale))
Status eval_dynamic_quantize(const EvalContext& ctx) {
  const View& x = ctx.inputs[0];
  const float* values = static_cast<const float*>(x.data);
  float lo = 0, hi = 0;
  if (x.count() > 0) ctx.eltwise.min_max(values, size_t(x.count()), &lo, &hi);
  const auto [scale, zero] = dynamic_params(lo, hi);
  const auto out = [&](size_t i) { return i < ctx.outputs.size() ? ctx.outputs[i].data : nullptr; };
  if (out(0)) ctx.eltwise.quantize(values, out(0), DType::u8, size_t(x.count()), scale, zero);
  if (out(1)) *static_cast<float*>(out(1)) = scale;
  if (out(2)) *static_cast<uint8_t*>(out(2)) = uint8_t(zero);
  return {};
}

constexpr OpInfo kOps[] = {
    {"MatMulInteger", "", infer_matmul<kInteger>, eval_matmul<kInteger>},
    {"QLinearMatMul", "", infer_matmul<kQLinear>, eval_matmul<kQLinear>},
    {"ConvInteger", "", infer_conv<kInteger>, eval_conv<kInteger>},
    {"QLinearConv", "", infer_conv<kQLinear>, eval_conv<kQLinear>},
    {"DynamicQuantizeLinear", "", infer_dynamic_quantize, eval_dynamic_quantize},
};

}  // namespace

std::span<const OpInfo> integer_ops() noexcept { return kOps; }

}  // namespace octavo::ops
