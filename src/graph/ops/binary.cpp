// Binary and n-ary operators with numpy broadcasting: arithmetic, comparison, logic, PRelu, Where.
#include <functional>
#include <limits>
#include <type_traits>

#include "ops/common.h"

namespace octavo::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

Inferred infer_arithmetic(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  if (ctx.inputs[0]->dtype == DType::boolean) return bad_type(ctx, 0);
  if (ctx.inputs[0]->dtype != ctx.inputs[1]->dtype) return misshapen(ctx, "types differ");
  return infer_broadcast(ctx, 0, 2, ctx.inputs[0]->dtype);
}

Inferred infer_nary(const InferContext& ctx) {
  const size_t n = ctx.inputs.size();
  if (Status s = expect_inputs(ctx, std::max<size_t>(n, 1), n); !s.ok()) return s;
  if (ctx.inputs[0]->dtype == DType::boolean) return bad_type(ctx, 0);
  for (const TypeShape* input : ctx.inputs)
    if (input->dtype != ctx.inputs[0]->dtype) return misshapen(ctx, "types differ");
  return infer_broadcast(ctx, 0, n, ctx.inputs[0]->dtype);
}

Inferred infer_compare(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  if (ctx.inputs[0]->dtype != ctx.inputs[1]->dtype) return misshapen(ctx, "types differ");
  return infer_broadcast(ctx, 0, 2, DType::boolean);
}

Inferred infer_logical(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  for (size_t i = 0; i < 2; ++i)
    if (ctx.inputs[i]->dtype != DType::boolean) return bad_type(ctx, i);
  return infer_broadcast(ctx, 0, 2, DType::boolean);
}

// y = f(a, b) over a broadcast pair of In.
template <class In, class Out, class F>
void map_pairs(const View& a, const View& b, const View& y, F&& f) {
  const View inputs[] = {a, b};
  BroadcastLoop<2>(y, inputs).for_rows([&](int64_t out, const int64_t(&in)[2], int64_t n, const int64_t(&step)[2]) {
    const In* pa = static_cast<const In*>(a.data) + in[0];
    const In* pb = static_cast<const In*>(b.data) + in[1];
    Out* py = static_cast<Out*>(y.data) + out;
    // A step is 1, or 0 for what is the same all along the row: both where a third input makes the row long.
    if (step[0] && step[1]) {
      for (int64_t i = 0; i < n; ++i) py[i] = f(pa[i], pb[i]);
    } else if (step[0]) {
      for (int64_t i = 0; i < n; ++i) py[i] = f(pa[i], *pb);
    } else if (step[1]) {
      for (int64_t i = 0; i < n; ++i) py[i] = f(*pa, pb[i]);
    } else {
      std::fill_n(py, n, f(*pa, *pb));
    }
  });
}

// Two's complement arithmetic wraps, as it does in numpy. Narrow unsigned types are widened, because they promote to int.
template <Binary kOp, class T>
T apply(T a, T b) {
  if constexpr (kOp == Binary::max) return a > b || a != a ? a : b;
  if constexpr (kOp == Binary::min) return a < b || a != a ? a : b;
  if constexpr (std::is_floating_point_v<T>) {
    if constexpr (kOp == Binary::add) return a + b;
    if constexpr (kOp == Binary::sub) return a - b;
    if constexpr (kOp == Binary::mul) return a * b;
    if constexpr (kOp == Binary::div) return a / b;
  } else {
    using U = std::common_type_t<std::make_unsigned_t<T>, unsigned>;
    if constexpr (kOp == Binary::add) return T(U(a) + U(b));
    if constexpr (kOp == Binary::sub) return T(U(a) - U(b));
    if constexpr (kOp == Binary::mul) return T(U(a) * U(b));
    if constexpr (kOp == Binary::div) return std::is_signed_v<T> && b == T(-1) ? T(U(0) - U(a)) : T(a / b);
  }
}

template <Binary kOp>
void binary_f32(const EltwiseKernels& eltwise, const View& a, const View& b, const View& y) {
  const View inputs[] = {a, b};
  BroadcastLoop<2>(y, inputs).for_rows([&](int64_t out, const int64_t(&in)[2], int64_t n, const int64_t(&step)[2]) {
    eltwise.binary(kOp, static_cast<const float*>(a.data) + in[0], int(step[0]), static_cast<const float*>(b.data) + in[1],
                   int(step[1]), static_cast<float*>(y.data) + out, size_t(n), -kInf, kInf);
  });
}

template <Binary kOp>
void binary(const EltwiseKernels& eltwise, const View& a, const View& b, const View& y) {
  if (a.dtype == DType::f32) return binary_f32<kOp>(eltwise, a, b, y);
  visit(a.dtype, [&](auto type) {
    using T = decltype(type);
    map_pairs<T, T>(a, b, y, [](T u, T v) { return apply<kOp, T>(u, v); });
  });
}

// True for an integer divisor that holds a zero.
bool divides_by_zero(const View& b) {
  if (is_float(b.dtype)) return false;
  return visit(b.dtype, [&](auto type) {
    const auto* p = static_cast<const decltype(type)*>(b.data);
    return std::find(p, p + b.count(), decltype(type)(0)) != p + b.count();
  });
}

template <Binary kOp>
Status eval_binary(const EvalContext& ctx) {
  if (kOp == Binary::div && ctx.outputs[0].count() > 0 && divides_by_zero(ctx.inputs[1]))
    return fail(ctx.node, Code::invalid_argument, "integer division by zero");
  binary<kOp>(ctx.eltwise, ctx.inputs[0], ctx.inputs[1], ctx.outputs[0]);
  return {};
}

template <Binary kOp>
Status eval_nary(const EvalContext& ctx) {
  const View& y = ctx.outputs[0];
  if (ctx.inputs.size() == 1) {
    std::memcpy(y.data, ctx.inputs[0].data, size_t(y.count()) * size_of(y.dtype));
    return {};
  }
  binary<kOp>(ctx.eltwise, ctx.inputs[0], ctx.inputs[1], y);
  for (size_t i = 2; i < ctx.inputs.size(); ++i) binary<kOp>(ctx.eltwise, y, ctx.inputs[i], y);
  return {};
}

Inferred infer_mean(const InferContext& ctx) {
  Inferred out = infer_nary(ctx);
  if (out && out->front().dtype != DType::f32) return bad_type(ctx, 0);
  return out;
}

Status eval_mean(const EvalContext& ctx) {
  Status status = eval_nary<Binary::add>(ctx);
  const View& y = ctx.outputs[0];
  const float n = float(ctx.inputs.size());
  ctx.eltwise.binary(Binary::div, static_cast<const float*>(y.data), 1, &n, 0, static_cast<float*>(y.data), size_t(y.count()),
                     -kInf, kInf);
  return status;
}

template <class Compare>
Status compare(const View& a, const View& b, const View& y) {
  visit(a.dtype, [&](auto type) {
    using T = decltype(type);
    map_pairs<T, uint8_t>(a, b, y, [](T u, T v) { return uint8_t(Compare()(u, v)); });
  });
  return {};
}
template <class Compare>
Status eval_compare(const EvalContext& ctx) { return compare<Compare>(ctx.inputs[0], ctx.inputs[1], ctx.outputs[0]); }
// a > b as b < a: NaN is neither.
template <class Compare>
Status eval_reversed(const EvalContext& ctx) { return compare<Compare>(ctx.inputs[1], ctx.inputs[0], ctx.outputs[0]); }

template <class F>
Status eval_logical(const EvalContext& ctx) {
  map_pairs<uint8_t, uint8_t>(ctx.inputs[0], ctx.inputs[1], ctx.outputs[0],
                              [](uint8_t a, uint8_t b) { return uint8_t(F()(a != 0, b != 0)); });
  return {};
}

// ---- operators on the bits of integers

Inferred infer_bitwise(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  const DType t = ctx.inputs[0]->dtype;
  if (t == DType::boolean || is_float(t)) return bad_type(ctx, 0);
  if (ctx.inputs[1]->dtype != t) return misshapen(ctx, "types differ");
  return infer_broadcast(ctx, 0, 2, t);
}

template <class F>
Status eval_bitwise(const EvalContext& ctx) {
  visit_size(ctx.inputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    map_pairs<T, T>(ctx.inputs[0], ctx.inputs[1], ctx.outputs[0], [](T a, T b) { return T(F()(a, b)); });
  });
  return {};
}

Inferred infer_shift(const InferContext& ctx) {
  Inferred out = infer_bitwise(ctx);
  if (!out) return out;
  const DType t = ctx.inputs[0]->dtype;
  if (t != DType::u8 && t != DType::u16 && t != DType::u32 && t != DType::u64 && t != DType::s32 && t != DType::s64)
    return bad_type(ctx, 0);
  const std::string_view direction = string_attribute(ctx.node, "direction", "");
  if (direction != "LEFT" && direction != "RIGHT")
    return fail(ctx.node, Code::invalid_argument, "direction is neither LEFT nor RIGHT");
  return out;
}

// Shifts by the width and more leave nothing, or the sign.
Status eval_shift(const EvalContext& ctx) {
  const bool left = string_attribute(ctx.node, "direction", "") == "LEFT";
  visit(ctx.inputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_integral_v<T>) {
      using U = std::make_unsigned_t<T>;
      constexpr U kWidth = U(8 * sizeof(T));
      map_pairs<T, T>(ctx.inputs[0], ctx.inputs[1], ctx.outputs[0], [left](T a, T b) {
        if (U(b) >= kWidth) return T(!left && a < T(0) ? -1 : 0);
        return left ? T(uint64_t(a) << b) : T(a >> b);
      });
    }
  });
  return {};
}

// ---- PRelu, Where

Inferred infer_prelu(const InferContext& ctx) {
  Inferred out = infer_arithmetic(ctx);
  if (out && out->front().shape != ctx.inputs[0]->shape) return misshapen(ctx, "the slope must broadcast to the input");
  return out;
}

// max(x, 0) + slope * min(x, 0): a slope for a whole row is LeakyRelu's.
void prelu_f32(const EltwiseKernels& k, const View& x, const View& slope, const View& y) {
  const View inputs[] = {x, slope};
  constexpr int64_t kBlock = 256;
  float below[kBlock];
  BroadcastLoop<2>(y, inputs).for_rows([&](int64_t at, const int64_t(&in)[2], int64_t n, const int64_t(&step)[2]) {
    const float *from = f32(x) + in[0], *s = f32(slope) + in[1];
    float* out = f32_out(y) + at;
    if (step[1] == 0) return k.unary(Unary::leaky_relu, from, out, size_t(n), *s, 0);
    for (int64_t i = 0; i < n; i += kBlock) {
      const size_t count = size_t(std::min(kBlock, n - i));
      k.clamp(from + i, below, count, -kInf, 0);
      k.binary(Binary::mul, below, 1, s + i, 1, below, count, -kInf, kInf);
      k.clamp(from + i, out + i, count, 0, kInf);
      k.binary(Binary::add, out + i, 1, below, 1, out + i, count, -kInf, kInf);
    }
  });
}

Status eval_prelu(const EvalContext& ctx) {
  if (ctx.inputs[0].dtype == DType::f32) {
    prelu_f32(ctx.eltwise, ctx.inputs[0], ctx.inputs[1], ctx.outputs[0]);
    return {};
  }
  visit(ctx.inputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    map_pairs<T, T>(ctx.inputs[0], ctx.inputs[1], ctx.outputs[0],
                    [](T x, T slope) { return apply<Binary::mul, T>(x, x < T(0) ? slope : T(1)); });
  });
  return {};
}

Inferred infer_where(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 3, 3); !s.ok()) return s;
  if (ctx.inputs[0]->dtype != DType::boolean) return bad_type(ctx, 0);
  if (ctx.inputs[1]->dtype != ctx.inputs[2]->dtype) return misshapen(ctx, "types differ");
  return infer_broadcast(ctx, 0, 3, ctx.inputs[1]->dtype);
}

Status eval_where(const EvalContext& ctx) {
  const View inputs[] = {ctx.inputs[0], ctx.inputs[1], ctx.inputs[2]};
  const View& y = ctx.outputs[0];
  visit_size(y.dtype, [&](auto type) {
    using T = decltype(type);
    BroadcastLoop<3>(y, inputs).for_rows([&](int64_t out, const int64_t(&in)[3], int64_t n, const int64_t(&step)[3]) {
      const uint8_t* c = static_cast<const uint8_t*>(inputs[0].data) + in[0];
      const T* a = static_cast<const T*>(inputs[1].data) + in[1];
      const T* b = static_cast<const T*>(inputs[2].data) + in[2];
      T* p = static_cast<T*>(y.data) + out;
      for (int64_t i = 0; i < n; ++i) p[i] = c[i * step[0]] ? a[i * step[1]] : b[i * step[2]];
    });
  });
  return {};
}

constexpr OpInfo kOps[] = {
    {"Add", "", infer_arithmetic, eval_binary<Binary::add>},
    {"Sub", "", infer_arithmetic, eval_binary<Binary::sub>},
    {"Mul", "", infer_arithmetic, eval_binary<Binary::mul>},
    {"Div", "", infer_arithmetic, eval_binary<Binary::div>},
    {"PRelu", "", infer_prelu, eval_prelu},
    {"Max", "", infer_nary, eval_nary<Binary::max>},
    {"Min", "", infer_nary, eval_nary<Binary::min>},
    {"Sum", "", infer_nary, eval_nary<Binary::add>},
    {"Mean", "", infer_mean, eval_mean},
    {"Equal", "", infer_compare, eval_compare<std::equal_to<>>},
    {"Greater", "", infer_compare, eval_reversed<std::less<>>},
    {"GreaterOrEqual", "", infer_compare, eval_reversed<std::less_equal<>>},
    {"Less", "", infer_compare, eval_compare<std::less<>>},
    {"LessOrEqual", "", infer_compare, eval_compare<std::less_equal<>>},
    {"And", "", infer_logical, eval_logical<std::logical_and<>>},
    {"Or", "", infer_logical, eval_logical<std::logical_or<>>},
    {"Xor", "", infer_logical, eval_logical<std::not_equal_to<>>},
    {"BitwiseAnd", "", infer_bitwise, eval_bitwise<std::bit_and<>>},
    {"BitwiseOr", "", infer_bitwise, eval_bitwise<std::bit_or<>>},
    {"BitwiseXor", "", infer_bitwise, eval_bitwise<std::bit_xor<>>},
    {"BitShift", "", infer_shift, eval_shift},
    {"Where", "", infer_where, eval_where},
};

}  // namespace

std::span<const OpInfo> binary_ops() noexcept { return kOps; }

}  // namespace octavo::ops
