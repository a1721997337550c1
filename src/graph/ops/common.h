// What the operator families share: error texts, attributes without allocation, dtype dispatch, broadcast loops.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops.h"

namespace octavo::ops {

using Inferred = Expected<std::vector<TypeShape>>;

std::span<const OpInfo> unary_ops() noexcept;
std::span<const OpInfo> binary_ops() noexcept;
std::span<const OpInfo> convert_ops() noexcept;
std::span<const OpInfo> math_ops() noexcept;
std::span<const OpInfo> reshape_ops() noexcept;
std::span<const OpInfo> move_ops() noexcept;
std::span<const OpInfo> index_ops() noexcept;
std::span<const OpInfo> make_ops() noexcept;
std::span<const OpInfo> resize_ops() noexcept;
std::span<const OpInfo> norm_ops() noexcept;
std::span<const OpInfo> attention_ops() noexcept;
std::span<const OpInfo> recurrent_ops() noexcept;
std::span<const OpInfo> reduce_ops() noexcept;
std::span<const OpInfo> nn_ops() noexcept;
std::span<const OpInfo> quantize_ops() noexcept;
std::span<const OpInfo> integer_ops() noexcept;
std::span<const OpInfo> einsum_ops() noexcept;
std::span<const OpInfo> grid_ops() noexcept;
std::span<const OpInfo> trigonometric_ops() noexcept;
std::span<const OpInfo> control_ops() noexcept;

// "Conv 'conv1': text"
[[gnu::format(printf, 3, 4)]] Status fail(const Node& node, Code code, const char* format, ...) noexcept;
// An invalid_argument that also shows the shapes and types of the inputs.
Status misshapen(const InferContext& ctx, const char* why);
// The input is of a type that the operator, or Octavo, does not take.
Status bad_type(const InferContext& ctx, size_t input);
// There are between min and max inputs, and the first `min` are not absent.
Status expect_inputs(const InferContext& ctx, size_t min, size_t max);

// The attribute of that name and type, or null. Allocates nothing.
template <class T>
const T* attribute(const Node& node, std::string_view name) noexcept {
  for (const auto& [key, value] : node.attributes)
    if (key == name) return std::get_if<T>(&value);
  return nullptr;
}
inline int64_t int_attribute(const Node& node, std::string_view name, int64_t fallback) noexcept {
  const int64_t* value = attribute<int64_t>(node, name);
  return value ? *value : fallback;
}
inline float float_attribute(const Node& node, std::string_view name, float fallback) noexcept {
  const float* value = attribute<float>(node, name);
  return value ? *value : fallback;
}
inline std::string_view string_attribute(const Node& node, std::string_view name, std::string_view fallback) noexcept {
  const std::string* value = attribute<std::string>(node, name);
  return value ? std::string_view(*value) : fallback;
}

inline const TypeShape* input_of(const InferContext& ctx, size_t i) { return i < ctx.inputs.size() ? ctx.inputs[i] : nullptr; }
inline const Tensor* constant_of(const InferContext& ctx, size_t i) { return i < ctx.constants.size() ? ctx.constants[i] : nullptr; }
inline View view_of(const EvalContext& ctx, size_t i) { return i < ctx.inputs.size() ? ctx.inputs[i] : View{}; }

// The values of a small integer tensor, or of an attribute: fixed memory, so that eval can use it too.
struct Ints {
  static constexpr int kMax = 2 * kMaxRank;
  int n = 0;
  int64_t v[kMax] = {};
  int64_t operator[](int i) const { return v[i]; }
  const int64_t* begin() const { return v; }
  const int64_t* end() const { return v + n; }
};
// False if there are more than Ints::kMax.
bool to_ints(const std::vector<int64_t>& values, Ints& ints) noexcept;
// False if the tensor is not s32 or s64, or too large.
bool to_ints(DType dtype, const void* data, int64_t count, Ints& ints) noexcept;
// Input i as integers. infer: it must be known; eval: read from its view. `present` is false for an absent input.
Status read_ints(const InferContext& ctx, size_t i, Ints& ints, bool& present);
Status read_ints(const EvalContext& ctx, size_t i, Ints& ints, bool& present);
// From the attribute of that name, else (a newer opset) from input i.
template <class Context>
Status read_ints(const Context& ctx, std::string_view name, size_t i, Ints& ints, bool& present) {
  const auto* values = attribute<std::vector<int64_t>>(ctx.node, name);
  if (!values) return read_ints(ctx, i, ints, present);
  present = true;
  if (!to_ints(*values, ints)) return fail(ctx.node, Code::unsupported, "attribute '%.40s' is too long", name.data());
  return {};
}

// Maps -rank..rank-1 to 0..rank-1; false if out of range.
inline bool normalize_axis(int64_t& axis, int64_t rank) noexcept {
  if (axis < -rank || axis >= rank) return false;
  if (axis < 0) axis += rank;
  return true;
}

// Numpy's rule, right-aligned. False if the shapes do not fit.
bool broadcast_shapes(const Shape& a, const Shape& b, Shape& out);
// One output of that type, in the shape that `count` inputs from `first` on broadcast to.
Inferred infer_broadcast(const InferContext& ctx, size_t first, size_t count, DType dtype);

inline const float* f32(const View& v) { return static_cast<const float*>(v.data); }
inline float* f32_out(const View& v) { return static_cast<float*>(v.data); }
// Every input is f32.
Status expect_f32(const InferContext& ctx);

inline bool is_float(DType t) { return t == DType::f32 || t == DType::f64; }

// Calls f with a value of the C++ type (uint8_t for boolean).
template <class F>
auto visit(DType dtype, F&& f) {
  switch (dtype) {
    case DType::u8: case DType::boolean: return f(uint8_t{});
    case DType::s8: return f(int8_t{});
    case DType::u16: return f(uint16_t{});
    case DType::s16: return f(int16_t{});
    case DType::s32: return f(int32_t{});
    case DType::u32: return f(uint32_t{});
    case DType::s64: return f(int64_t{});
    case DType::u64: return f(uint64_t{});
    case DType::f32: return f(float{});
    case DType::f64: break;
  }
  return f(double{});
}
// Calls f with an unsigned integer as wide as the elements: for what only moves them.
template <class F>
auto visit_size(DType dtype, F&& f) {
  switch (size_of(dtype)) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}

// N inputs broadcast to one output: neighbouring dimensions that all tensors walk alike are merged, so that the innermost
// row is long and every input's stride in it is 1 or 0.
template <int N>
struct BroadcastLoop {
  int rank = 1;
  int64_t dims[kMaxRank] = {1};
  int64_t strides[N][kMaxRank] = {};

  BroadcastLoop(const View& out, const View (&inputs)[N]) {
    rank = 0;
    int64_t step[N];
    std::fill_n(step, N, int64_t(1));
    for (int d = 0; d < out.rank; ++d) {  // from the last dimension outwards; stored reversed until the end
      const int64_t dim = out.dims[out.rank - 1 - d];
      int64_t stride[N];
      for (int i = 0; i < N; ++i) {
        const int64_t own = d < inputs[i].rank ? inputs[i].dims[inputs[i].rank - 1 - d] : 1;
        stride[i] = own == 1 ? 0 : step[i];
        step[i] *= own;
      }
      if (dim == 1) continue;
      bool merge = rank > 0;
      for (int i = 0; i < N && merge; ++i) merge = stride[i] == strides[i][rank - 1] * dims[rank - 1];
      if (merge) {
        dims[rank - 1] *= dim;
        continue;
      }
      dims[rank] = dim;
      for (int i = 0; i < N; ++i) strides[i][rank] = stride[i];
      ++rank;
    }
    if (rank == 0) rank = 1, dims[0] = 1;
    std::reverse(dims, dims + rank);
    for (auto& s : strides) std::reverse(s, s + rank);
  }

  // f(output offset, input offsets, row length, input steps in the row)
  template <class F>
  void for_rows(F&& f) const {
    const int64_t n = dims[rank - 1];
    int64_t rows = 1, index[kMaxRank] = {}, in[N] = {}, step[N];
    for (int d = 0; d + 1 < rank; ++d) rows *= dims[d];
    if (n == 0) return;
    for (int i = 0; i < N; ++i) step[i] = strides[i][rank - 1];
    for (int64_t row = 0; row < rows; ++row) {
      f(row * n, in, n, step);
      for (int d = rank - 2; d >= 0; --d) {
        for (int i = 0; i < N; ++i) in[i] += strides[i][d];
        if (++index[d] < dims[d]) break;
        for (int i = 0; i < N; ++i) in[i] -= strides[i][d] * dims[d];
        index[d] = 0;
      }
    }
  }
};

}  // namespace octavo::ops
