// Operators that make tensors from shapes, bounds or attributes.
#include <cmath>

#include "ops/strided.h"

namespace octavo::ops {
namespace {

using std::vector;

// ---- Shape, Size: the value is known from the shape alone

Inferred infer_shape(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const int64_t rank = int64_t(ctx.inputs[0]->shape.size());
  const auto bound = [rank](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank); };
  const int64_t start = bound(int_attribute(ctx.node, "start", 0)), end = bound(int_attribute(ctx.node, "end", rank));
  return vector<TypeShape>{{DType::s64, {std::max<int64_t>(end - start, 0)}}};
}

Status eval_shape(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  const int64_t start = int_attribute(ctx.node, "start", 0);
  const int64_t first = std::clamp<int64_t>(start < 0 ? start + x.rank : start, 0, x.rank);
  std::copy_n(x.dims + first, y.dims[0], static_cast<int64_t*>(y.data));
  return {};
}

Inferred infer_size(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  return vector<TypeShape>{{DType::s64, {}}};
}

Status eval_size(const EvalContext& ctx) {
  *static_cast<int64_t*>(ctx.outputs[0].data) = ctx.inputs[0].count();
  return {};
}

// ---- Range, ConstantOfShape, Constant

// Number of values from start to limit by delta; -1: not a sane number.
int64_t range_size(double start, double limit, double delta) {
  const double n = std::ceil((limit - start) / delta);
  if (!(delta != 0) || !(n < 9e18)) return -1;
  return n > 0 ? int64_t(n) : 0;
}

Inferred infer_range(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 3, 3); !s.ok()) return s;
  const DType dtype = ctx.inputs[0]->dtype;
  if (dtype == DType::boolean) return bad_type(ctx, 0);
  double value[3];
  for (size_t i = 0; i < 3; ++i) {
    const Tensor* given = constant_of(ctx, i);
    if (ctx.inputs[i]->dtype != dtype) return misshapen(ctx, "types differ");
    if (!given || given->count() != 1) return fail(ctx.node, Code::unsupported, "input %zu must be a constant scalar", i);
    visit(dtype, [&](auto type) { value[i] = double(given->as<decltype(type)>()[0]); });
  }
  const int64_t n = range_size(value[0], value[1], value[2]);
  if (n < 0) return fail(ctx.node, Code::invalid_argument, "bad bounds or delta");
  return vector<TypeShape>{{dtype, {n}}};
}

Status eval_range(const EvalContext& ctx) {
  const View& y = ctx.outputs[0];
  visit(y.dtype, [&](auto type) {
    using T = decltype(type);
    const T start = *static_cast<const T*>(ctx.inputs[0].data), delta = *static_cast<const T*>(ctx.inputs[2].data);
    T* out = static_cast<T*>(y.data);
    for (int64_t i = 0; i < y.count(); ++i) {
      if constexpr (std::is_floating_point_v<T>) {
        out[i] = start + T(i) * delta;
      } else {
        out[i] = T(uint64_t(start) + uint64_t(i) * uint64_t(delta));
      }
    }
  });
  return {};
}

Inferred infer_constant_of_shape(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  Ints shape;
  bool present;
  if (Status s = read_ints(ctx, 0, shape, present); !s.ok()) return s;
  const Tensor* value = attribute<Tensor>(ctx.node, "value");
  if (value && value->count() != 1) return fail(ctx.node, Code::invalid_argument, "the value must be one element");
  return vector<TypeShape>{{value ? value->dtype() : DType::f32, Shape(shape.begin(), shape.end())}};
}

Status eval_constant_of_shape(const EvalContext& ctx) {
  const View& y = ctx.outputs[0];
  const Tensor* value = attribute<Tensor>(ctx.node, "value");
  visit_size(y.dtype, [&](auto type) {
    using T = decltype(type);
    std::fill_n(static_cast<T*>(y.data), y.count(), value ? *value->as<T>() : T(0));
  });
  return {};
}

// The attribute that holds the constant: a tensor, or (opset 12) a number or a list of numbers.
Inferred infer_constant(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 0, 0); !s.ok()) return s;
  const Node& node = ctx.node;
  if (const auto* v = attribute<Tensor>(node, "value")) return vector<TypeShape>{{v->dtype(), v->shape()}};
  if (attribute<float>(node, "value_float")) return vector<TypeShape>{{DType::f32, {}}};
  if (attribute<int64_t>(node, "value_int")) return vector<TypeShape>{{DType::s64, {}}};
  if (const auto* v = attribute<vector<float>>(node, "value_floats")) return vector<TypeShape>{{DType::f32, {int64_t(v->size())}}};
  if (const auto* v = attribute<vector<int64_t>>(node, "value_ints")) return vector<TypeShape>{{DType::s64, {int64_t(v->size())}}};
  return fail(node, Code::unsupported, "its value is of a kind that is not supported");
}

Status eval_constant(const EvalContext& ctx) {
  const View& y = ctx.outputs[0];
  const void* data = nullptr;
  if (const auto* tensor = attribute<Tensor>(ctx.node, "value")) data = tensor->data();
  else if (const auto* f = attribute<float>(ctx.node, "value_float")) data = f;
  else if (const auto* i = attribute<int64_t>(ctx.node, "value_int")) data = i;
  else if (const auto* floats = attribute<vector<float>>(ctx.node, "value_floats")) data = floats->data();
  else if (const auto* ints = attribute<vector<int64_t>>(ctx.node, "value_ints")) data = ints->data();
  if (y.count() > 0) std::memcpy(y.data, data, byte_count(y));
  return {};
}

// ---- EyeLike, NonZero

constexpr int64_t kOnnxTypes[] = {1, 2, 3, 6, 7, 9, 11};  // f32, u8, s8, s32, s64, boolean, f64
constexpr DType kTypes[] = {DType::f32, DType::u8, DType::s8, DType::s32, DType::s64, DType::boolean, DType::f64};

Inferred infer_eye_like(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  if (ctx.inputs[0]->shape.size() != 2) return misshapen(ctx, "a matrix is needed");
  TypeShape y = *ctx.inputs[0];
  if (const int64_t* wanted = attribute<int64_t>(ctx.node, "dtype")) {
    const auto* found = std::find(std::begin(kOnnxTypes), std::end(kOnnxTypes), *wanted);
    if (found == std::end(kOnnxTypes))
      return fail(ctx.node, Code::unsupported, "dtype %lld is not supported", static_cast<long long>(*wanted));
    y.dtype = kTypes[found - kOnnxTypes];
  }
  return vector<TypeShape>{y};
}

Status eval_eye_like(const EvalContext& ctx) {
  const View& y = ctx.outputs[0];
  const int64_t rows = y.dims[0], columns = y.dims[1], k = int_attribute(ctx.node, "k", 0);
  visit(y.dtype, [&](auto type) {
    using T = decltype(type);
    T* out = static_cast<T*>(y.data);
    std::fill_n(out, y.count(), T(0));
    if (k <= -rows || k >= columns) return;
    for (int64_t row = std::max<int64_t>(0, -k); row < rows && row + k < columns; ++row) out[row * columns + row + k] = T(1);
  });
  return {};
}

template <class F>
void for_non_zeros(DType dtype, const void* data, int64_t count, F&& f) {
  visit(dtype, [&](auto type) {
    const auto* x = static_cast<const decltype(type)*>(data);
    for (int64_t i = 0; i < count; ++i)
      if (x[i] != decltype(type)(0)) f(i);
  });
}

// [rank, how many]: coordinates in row-major order.
Inferred infer_non_zero(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const Tensor* given = constant_of(ctx, 0);
  if (!given) return fail(ctx.node, Code::unsupported, "input 0 must be a constant: the output's shape depends on it");
  int64_t n = 0;
  for_non_zeros(given->dtype(), given->data(), given->count(), [&](int64_t) { ++n; });
  return vector<TypeShape>{{DType::s64, {int64_t(given->shape().size()), n}}};
}

Status eval_non_zero(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  int64_t* out = static_cast<int64_t*>(y.data);
  int64_t n = 0;
  bool fits = true;
  for_non_zeros(x.dtype, x.data, x.count(), [&](int64_t at) {
    fits = fits && n < y.dims[1];
    for (int d = x.rank; fits && d-- > 0; at /= x.dims[d]) out[d * y.dims[1] + n] = at % x.dims[d];
    ++n;
  });
  if (fits && n == y.dims[1]) return {};
  return fail(ctx.node, Code::invalid_argument, "not the values that the shape was inferred from");
}

constexpr OpInfo kOps[] = {
    {"Shape", "", infer_shape, eval_shape},
    {"Size", "", infer_size, eval_size},
    {"Range", "", infer_range, eval_range, 0b111},
    {"ConstantOfShape", "", infer_constant_of_shape, eval_constant_of_shape, 0b1},
    {"Constant", "", infer_constant, eval_constant},
    {"EyeLike", "", infer_eye_like, eval_eye_like},
    {"NonZero", "", infer_non_zero, eval_non_zero, 0b1},
};

}  // namespace

std::span<const OpInfo> make_ops() noexcept { return kOps; }

}  // namespace octavo::ops
