// Unary, binary and n-ary operators with numpy broadcasting; Cast, Clip, Where.
#include <cmath>
#include <functional>
#include <limits>
#include <type_traits>

#include "ops/common.h"

namespace octavo::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// ---- unary

Inferred infer_unary(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

Inferred infer_float_unary(const InferContext& ctx) {
  Inferred out = infer_unary(ctx);
  if (out && out->front().dtype != DType::f32) return bad_type(ctx, 0);
  return out;
}

Inferred infer_number_unary(const InferContext& ctx) {
  Inferred out = infer_unary(ctx);
  if (out && out->front().dtype == DType::boolean) return bad_type(ctx, 0);
  return out;
}

Inferred infer_not(const InferContext& ctx) {
  Inferred out = infer_unary(ctx);
  if (out && out->front().dtype != DType::boolean) return bad_type(ctx, 0);
  return out;
}

struct UnaryDefaults {
  float alpha, beta;
};
constexpr UnaryDefaults defaults_of(Unary op) {
  switch (op) {
    case Unary::leaky_relu: return {0.01f, 0};
    case Unary::elu: return {1, 0};
    case Unary::hardsigmoid: return {0.2f, 0.5f};
    default: return {0, 0};
  }
}

template <Unary kOp>
Status eval_float_unary(const EvalContext& ctx) {
  constexpr UnaryDefaults defaults = defaults_of(kOp);
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  ctx.eltwise.unary(kOp, static_cast<const float*>(x.data), static_cast<float*>(y.data), size_t(x.count()),
                    float_attribute(ctx.node, "alpha", defaults.alpha), float_attribute(ctx.node, "beta", defaults.beta));
  return {};
}

Status eval_gelu(const EvalContext& ctx) {
  return string_attribute(ctx.node, "approximate", "none") == "tanh" ? eval_float_unary<Unary::gelu_tanh>(ctx)
                                                                     : eval_float_unary<Unary::gelu>(ctx);
}

// Operators that integers have too; f32 takes the vector routine.
template <Unary kOp, class Scalar>
Status eval_number_unary(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  if (x.dtype == DType::f32) return eval_float_unary<kOp>(ctx);
  visit(x.dtype, [&](auto type) {
    using T = decltype(type);
    const T* in = static_cast<const T*>(x.data);
    std::transform(in, in + x.count(), static_cast<T*>(y.data), Scalar());
  });
  return {};
}

struct AbsScalar {
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_floating_point_v<T>) return std::fabs(x);
    else return x < T(0) ? T(0 - std::make_unsigned_t<T>(x)) : x;  // the smallest integer stays itself
  }
};
struct NegScalar {
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_floating_point_v<T>) return -x;
    else return T(0 - std::make_unsigned_t<T>(x));
  }
};
struct ReluScalar {
  template <class T>
  T operator()(T x) const { return x > T(0) ? x : T(0); }
};

Status eval_sign(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  visit(x.dtype, [&](auto type) {
    using T = decltype(type);
    const T* in = static_cast<const T*>(x.data);
    std::transform(in, in + x.count(), static_cast<T*>(y.data), [](T v) { return T(T(v > T(0)) - T(v < T(0))); });
  });
  return {};
}

Status eval_not(const EvalContext& ctx) {
  const uint8_t* x = static_cast<const uint8_t*>(ctx.inputs[0].data);
  std::transform(x, x + ctx.inputs[0].count(), static_cast<uint8_t*>(ctx.outputs[0].data), [](uint8_t v) { return uint8_t(!v); });
  return {};
}

// ---- Clip: attributes before opset 11, then inputs

Inferred infer_clip(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, ctx.opset < 11 ? 1 : 3); !s.ok()) return s;
  if (ctx.inputs[0]->dtype == DType::boolean) return bad_type(ctx, 0);
  for (size_t i = 1; i < ctx.inputs.size(); ++i) {
    if (!ctx.inputs[i]) continue;
    const Expected<int64_t> count = element_count(ctx.inputs[i]->shape, ctx.inputs[i]->dtype);
    if (ctx.inputs[i]->dtype != ctx.inputs[0]->dtype || !count || *count != 1)
      return misshapen(ctx, "min and max must be scalars of the input's type");
  }
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

Status eval_clip(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  visit(x.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr bool kInfinite = std::numeric_limits<T>::has_infinity;
    T lo = kInfinite ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
    T hi = kInfinite ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
    if (const View min = view_of(ctx, 1); min.data) lo = *static_cast<const T*>(min.data);
    if (const View max = view_of(ctx, 2); max.data) hi = *static_cast<const T*>(max.data);
    if constexpr (std::is_same_v<T, float>) {
      lo = float_attribute(ctx.node, "min", lo);
      hi = float_attribute(ctx.node, "max", hi);
      ctx.eltwise.clamp(static_cast<const float*>(x.data), static_cast<float*>(y.data), size_t(x.count()), lo, hi);
    } else {
      const T* in = static_cast<const T*>(x.data);
      std::transform(in, in + x.count(), static_cast<T*>(y.data), [=](T v) { return std::min(std::max(v, lo), hi); });
    }
  });
  return {};
}

// ---- binary

Inferred infer_broadcast(const InferContext& ctx, size_t first, size_t count, DType dtype) {
  Shape shape;
  for (size_t i = first; i < first + count; ++i)
    if (!broadcast_shapes(shape, ctx.inputs[i]->shape, shape)) return misshapen(ctx, "shapes do not broadcast");
  return std::vector<TypeShape>{{dtype, std::move(shape)}};
}

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
    if (step[0] && step[1]) {
      for (int64_t i = 0; i < n; ++i) py[i] = f(pa[i], pb[i]);
    } else {
      for (int64_t i = 0; i < n; ++i) py[i] = f(pa[i * step[0]], pb[i * step[1]]);
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
Status eval_compare(const EvalContext& ctx) {
  visit(ctx.inputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    map_pairs<T, uint8_t>(ctx.inputs[0], ctx.inputs[1], ctx.outputs[0], [](T a, T b) { return uint8_t(Compare()(a, b)); });
  });
  return {};
}

struct LogicalXor {
  bool operator()(uint8_t a, uint8_t b) const { return (a != 0) != (b != 0); }
};

// ---- conversions

// Rounds toward zero; out of range gives the nearest value, NaN gives 0 (C++ leaves both undefined).
template <class To, class From>
To convert(From v) {
  if constexpr (std::is_floating_point_v<From> && !std::is_floating_point_v<To>) {
    if (!(v == v)) return 0;
    if (v <= From(std::numeric_limits<To>::lowest())) return std::numeric_limits<To>::lowest();
    if (v >= From(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  }
  return static_cast<To>(v);
}

void cast(const View& x, const View& y) {
  const int64_t n = x.count();
  visit(x.dtype, [&](auto from) {
    using From = decltype(from);
    const From* in = static_cast<const From*>(x.data);
    if (y.dtype == DType::boolean) {
      std::transform(in, in + n, static_cast<uint8_t*>(y.data), [](From v) { return uint8_t(v != From(0)); });
      return;
    }
    visit(y.dtype, [&](auto to) {
      using To = decltype(to);
      std::transform(in, in + n, static_cast<To*>(y.data), [](From v) { return convert<To>(v); });
    });
  });
}

// ONNX's number for the type, as in Cast's attribute `to`.
constexpr DType kOnnxTypes[] = {DType::f32, DType::u8,  DType::s8,  DType::u16,     DType::s16, DType::s32, DType::s64,
                                DType::f32, DType::boolean, DType::f32, DType::f64, DType::u32, DType::u64};

Inferred infer_cast(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const int64_t to = int_attribute(ctx.node, "to", 0);
  if (to < 1 || to > 13 || to == 8 || to == 10)
    return fail(ctx.node, Code::unsupported, "conversion to ONNX type %lld is not supported", static_cast<long long>(to));
  return std::vector<TypeShape>{{kOnnxTypes[to - 1], ctx.inputs[0]->shape}};
}

Inferred infer_cast_like(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  return std::vector<TypeShape>{{ctx.inputs[1]->dtype, ctx.inputs[0]->shape}};
}

Status eval_cast(const EvalContext& ctx) {
  cast(ctx.inputs[0], ctx.outputs[0]);
  return {};
}

// ---- Pow: the result has the base's type

Inferred infer_pow(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  for (size_t i = 0; i < 2; ++i)
    if (ctx.inputs[i]->dtype == DType::boolean || ctx.inputs[i]->dtype == DType::f64) return bad_type(ctx, i);
  return infer_broadcast(ctx, 0, 2, ctx.inputs[0]->dtype);
}

int64_t integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  uint64_t result = 1, square = uint64_t(base);
  for (; exponent > 0; exponent >>= 1, square *= square)
    if (exponent & 1) result *= square;
  return int64_t(result);
}

Status eval_pow(const EvalContext& ctx) {
  const View &a = ctx.inputs[0], &b = ctx.inputs[1], &y = ctx.outputs[0];
  if (a.dtype == DType::f32 && b.dtype == DType::f32) {
    binary_f32<Binary::pow>(ctx.eltwise, a, b, y);
    return {};
  }
  const View inputs[] = {a, b};
  const bool integers = a.dtype != DType::f32 && b.dtype != DType::f32;
  visit(a.dtype, [&](auto base_type) {
    visit(b.dtype, [&](auto exponent_type) {
      using A = decltype(base_type);
      using B = decltype(exponent_type);
      BroadcastLoop<2>(y, inputs).for_rows([&](int64_t out, const int64_t(&in)[2], int64_t n, const int64_t(&step)[2]) {
        const A* pa = static_cast<const A*>(a.data) + in[0];
        const B* pb = static_cast<const B*>(b.data) + in[1];
        A* py = static_cast<A*>(y.data) + out;
        constexpr int64_t kBlock = 64;
        float base[kBlock], exponent[kBlock];
        for (int64_t i = 0; i < n; i += kBlock) {
          const int64_t m = std::min(kBlock, n - i);
          if (integers) {
            for (int64_t j = i; j < i + m; ++j) py[j] = A(integer_power(int64_t(pa[j * step[0]]), int64_t(pb[j * step[1]])));
            continue;
          }
          for (int64_t j = 0; j < m; ++j) {
            base[j] = float(pa[(i + j) * step[0]]);
            exponent[j] = float(pb[(i + j) * step[1]]);
          }
          ctx.eltwise.binary(Binary::pow, base, 1, exponent, 1, base, size_t(m), -kInf, kInf);
          for (int64_t j = 0; j < m; ++j) py[i + j] = convert<A>(base[j]);
        }
      });
    });
  });
  return {};
}

// ---- PRelu, Where

Inferred infer_prelu(const InferContext& ctx) {
  Inferred out = infer_arithmetic(ctx);
  if (out && out->front().shape != ctx.inputs[0]->shape) return misshapen(ctx, "the slope must broadcast to the input");
  return out;
}

Status eval_prelu(const EvalContext& ctx) {
  visit(ctx.inputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    map_pairs<T, T>(ctx.inputs[0], ctx.inputs[1], ctx.outputs[0], [](T x, T slope) { return x < T(0) ? apply<Binary::mul, T>(x, slope) : x; });
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
    {"Abs", "", infer_number_unary, eval_number_unary<Unary::abs, AbsScalar>},
    {"Neg", "", infer_number_unary, eval_number_unary<Unary::neg, NegScalar>},
    {"Relu", "", infer_number_unary, eval_number_unary<Unary::relu, ReluScalar>},
    {"Sign", "", infer_number_unary, eval_sign},
    {"Exp", "", infer_float_unary, eval_float_unary<Unary::exp>},
    {"Log", "", infer_float_unary, eval_float_unary<Unary::log>},
    {"Sqrt", "", infer_float_unary, eval_float_unary<Unary::sqrt>},
    {"Reciprocal", "", infer_float_unary, eval_float_unary<Unary::reciprocal>},
    {"Floor", "", infer_float_unary, eval_float_unary<Unary::floor>},
    {"Ceil", "", infer_float_unary, eval_float_unary<Unary::ceil>},
    {"Round", "", infer_float_unary, eval_float_unary<Unary::round>},
    {"LeakyRelu", "", infer_float_unary, eval_float_unary<Unary::leaky_relu>},
    {"Elu", "", infer_float_unary, eval_float_unary<Unary::elu>},
    {"Sigmoid", "", infer_float_unary, eval_float_unary<Unary::sigmoid>},
    {"Tanh", "", infer_float_unary, eval_float_unary<Unary::tanh>},
    {"Erf", "", infer_float_unary, eval_float_unary<Unary::erf>},
    {"Gelu", "", infer_float_unary, eval_gelu},
    {"HardSigmoid", "", infer_float_unary, eval_float_unary<Unary::hardsigmoid>},
    {"HardSwish", "", infer_float_unary, eval_float_unary<Unary::hardswish>},
    {"Softplus", "", infer_float_unary, eval_float_unary<Unary::softplus>},
    {"Not", "", infer_not, eval_not},
    {"Clip", "", infer_clip, eval_clip},
    {"Add", "", infer_arithmetic, eval_binary<Binary::add>},
    {"Sub", "", infer_arithmetic, eval_binary<Binary::sub>},
    {"Mul", "", infer_arithmetic, eval_binary<Binary::mul>},
    {"Div", "", infer_arithmetic, eval_binary<Binary::div>},
    {"Pow", "", infer_pow, eval_pow},
    {"PRelu", "", infer_prelu, eval_prelu},
    {"Max", "", infer_nary, eval_nary<Binary::max>},
    {"Min", "", infer_nary, eval_nary<Binary::min>},
    {"Sum", "", infer_nary, eval_nary<Binary::add>},
    {"Mean", "", infer_mean, eval_mean},
    {"Equal", "", infer_compare, eval_compare<std::equal_to<>>},
    {"Greater", "", infer_compare, eval_compare<std::greater<>>},
    {"GreaterOrEqual", "", infer_compare, eval_compare<std::greater_equal<>>},
    {"Less", "", infer_compare, eval_compare<std::less<>>},
    {"LessOrEqual", "", infer_compare, eval_compare<std::less_equal<>>},
    {"And", "", infer_logical, eval_compare<std::logical_and<>>},
    {"Or", "", infer_logical, eval_compare<std::logical_or<>>},
    {"Xor", "", infer_logical, eval_compare<LogicalXor>},
    {"Where", "", infer_where, eval_where},
    {"Cast", "", infer_cast, eval_cast},
    {"CastLike", "", infer_cast_like, eval_cast},
};

}  // namespace

std::span<const OpInfo> elementwise_ops() noexcept { return kOps; }

}  // namespace octavo::ops
