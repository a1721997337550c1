// Operators that address elements by values of other tensors, and TopK, which makes such values.
#include <limits>

#include "ops/strided.h"

namespace octavo::ops {
namespace {

using std::vector;

bool is_index(DType t) { return t == DType::s64 || t == DType::s32; }

int64_t index_at(const View& v, int64_t i) {
  return v.dtype == DType::s64 ? static_cast<const int64_t*>(v.data)[i] : static_cast<const int32_t*>(v.data)[i];
}

// indices[i] counted from the start of a dimension of `dim`; -1, and `status` says so, if it is outside.
int64_t checked_index(const Node& node, const View& indices, int64_t i, int64_t dim, Status& status) {
  int64_t index = index_at(indices, i);
  const int64_t given = index;
  if (normalize_axis(index, dim)) return index;
  status = fail(node, Code::invalid_argument, "index %lld is out of range for a dimension of %lld", static_cast<long long>(given),
                static_cast<long long>(dim));
  return -1;
}

// ---- Scatter's reductions: what an update does to the element it meets

enum class Reduction : uint8_t { none, add, mul, max, min, unknown };

Reduction reduction_of(const Node& node) {
  static constexpr std::string_view kNames[] = {"none", "add", "mul", "max", "min"};
  return Reduction(std::find(std::begin(kNames), std::end(kNames), string_attribute(node, "reduction", "none")) - kNames);
}

Status check_reduction(const InferContext& ctx) {
  const Reduction r = reduction_of(ctx.node);
  if (r == Reduction::unknown)
    return fail(ctx.node, Code::unsupported, "reduction is none of none, add, mul, max and min");
  return r != Reduction::none && ctx.inputs[0]->dtype == DType::boolean ? bad_type(ctx, 0) : Status();
}

// Integers wrap around.
template <class T>
void reduce_into(Reduction r, T& element, T update) {
  using Wrapping = std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>;
  switch (r) {
    case Reduction::add: element = T(Wrapping(element) + Wrapping(update)); return;
    case Reduction::mul: element = T(Wrapping(element) * Wrapping(update)); return;
    case Reduction::max: element = std::max(element, update); return;
    case Reduction::min: element = std::min(element, update); return;
    case Reduction::none:
    case Reduction::unknown: break;
  }
  element = update;
}

// ---- Gather

Inferred infer_gather(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  const TypeShape &in = *ctx.inputs[0], &indices = *ctx.inputs[1];
  int64_t axis = int_attribute(ctx.node, "axis", 0);
  if (!normalize_axis(axis, int64_t(in.shape.size()))) return misshapen(ctx, "the axis is out of range");
  if (!is_index(indices.dtype)) return bad_type(ctx, 1);
  Shape shape(in.shape.begin(), in.shape.begin() + axis);
  shape.insert(shape.end(), indices.shape.begin(), indices.shape.end());
  shape.insert(shape.end(), in.shape.begin() + axis + 1, in.shape.end());
  return vector<TypeShape>{{in.dtype, std::move(shape)}};
}

Status eval_gather(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &indices = ctx.inputs[1];
  int64_t axis = int_attribute(ctx.node, "axis", 0);
  normalize_axis(axis, x.rank);
  const int64_t outer = product(x.dims, 0, int(axis)), dim = x.dims[axis], n = indices.count();
  const size_t inner = size_t(product(x.dims, int(axis) + 1, x.rank)) * size_of(x.dtype);
  char* out = static_cast<char*>(ctx.outputs[0].data);
  Status status;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < n; ++i, out += inner) {
      const int64_t index = checked_index(ctx.node, indices, i, dim, status);
      if (index < 0) return status;
      std::memcpy(out, static_cast<const char*>(x.data) + size_t(o * dim + index) * inner, inner);
    }
  }
  return {};
}

// ---- GatherElements, ScatterElements: indices of the rank of the data replace one coordinate

Inferred infer_elements(const InferContext& ctx) {
  const bool scatter = ctx.node.op_type != "GatherElements";
  if (Status s = expect_inputs(ctx, scatter ? 3 : 2, scatter ? 3 : 2); !s.ok()) return s;
  const TypeShape &x = *ctx.inputs[0], &indices = *ctx.inputs[1];
  int64_t axis = int_attribute(ctx.node, "axis", 0);
  if (!is_index(indices.dtype)) return bad_type(ctx, 1);
  if (x.shape.size() != indices.shape.size() || !normalize_axis(axis, int64_t(x.shape.size())))
    return misshapen(ctx, "data and indices need one rank, and the axis must be in it");
  for (size_t d = 0; d < x.shape.size(); ++d)
    if (int64_t(d) != axis && indices.shape[d] > x.shape[d]) return misshapen(ctx, "the indices are larger than the data");
  if (!scatter) return vector<TypeShape>{{x.dtype, indices.shape}};
  if (ctx.inputs[2]->dtype != x.dtype || ctx.inputs[2]->shape != indices.shape)
    return misshapen(ctx, "the updates need the type of the data and the shape of the indices");
  if (Status s = check_reduction(ctx); !s.ok()) return s;
  return vector<TypeShape>{x};
}

// f(offset into the data, flat position among the indices) in row-major order.
template <class F>
Status for_elements(const EvalContext& ctx, F&& f) {
  const View &x = ctx.inputs[0], &indices = ctx.inputs[1];
  int64_t axis = int_attribute(ctx.node, "axis", 0), strides[kMaxRank], position[kMaxRank] = {};
  normalize_axis(axis, x.rank);
  dense_strides(x, strides);
  const int64_t along = strides[axis];
  strides[axis] = 0;  // that coordinate comes from the indices
  Status status;
  for (int64_t i = 0, n = indices.count(), others = 0; i < n; ++i) {
    const int64_t index = checked_index(ctx.node, indices, i, x.dims[axis], status);
    if (index < 0) return status;
    f(others + index * along, i);
    for (int d = x.rank - 1; d >= 0; --d) {
      others += strides[d];
      if (++position[d] < indices.dims[d]) break;
      others -= position[d] * strides[d];
      position[d] = 0;
    }
  }
  return {};
}

Status eval_gather_elements(const EvalContext& ctx) {
  return visit_size(ctx.outputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    const T* in = static_cast<const T*>(ctx.inputs[0].data);
    T* out = static_cast<T*>(ctx.outputs[0].data);
    return for_elements(ctx, [&](int64_t offset, int64_t i) { out[i] = in[offset]; });
  });
}

Status eval_scatter_elements(const EvalContext& ctx) {
  std::memcpy(ctx.outputs[0].data, ctx.inputs[0].data, byte_count(ctx.outputs[0]));
  const Reduction reduction = reduction_of(ctx.node);
  return visit(ctx.outputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    const T* updates = static_cast<const T*>(ctx.inputs[2].data);
    T* out = static_cast<T*>(ctx.outputs[0].data);
    return for_elements(ctx, [&](int64_t offset, int64_t i) { reduce_into(reduction, out[offset], updates[i]); });
  });
}

// ---- GatherND, ScatterND: the last dimension of the indices holds whole coordinates

Inferred infer_nd(const InferContext& ctx) {
  const bool scatter = ctx.node.op_type == "ScatterND";
  if (Status s = expect_inputs(ctx, scatter ? 3 : 2, scatter ? 3 : 2); !s.ok()) return s;
  const TypeShape &x = *ctx.inputs[0], &indices = *ctx.inputs[1];
  if (indices.dtype != DType::s64) return bad_type(ctx, 1);
  const int64_t batch = scatter ? 0 : int_attribute(ctx.node, "batch_dims", 0), rank = int64_t(x.shape.size());
  if (indices.shape.empty() || batch < 0 || batch >= int64_t(indices.shape.size()) || batch >= rank ||
      !std::equal(x.shape.begin(), x.shape.begin() + batch, indices.shape.begin()))
    return misshapen(ctx, "batch_dims do not fit");
  const int64_t depth = indices.shape.back();
  if (depth < 1 || depth > rank - batch) return misshapen(ctx, "coordinates do not fit the data");
  Shape blocks(indices.shape.begin(), indices.shape.end() - 1);
  blocks.insert(blocks.end(), x.shape.begin() + batch + depth, x.shape.end());
  if (!scatter) return vector<TypeShape>{{x.dtype, std::move(blocks)}};
  if (ctx.inputs[2]->dtype != x.dtype || ctx.inputs[2]->shape != blocks)
    return misshapen(ctx, "the updates do not fit the indices");
  if (Status s = check_reduction(ctx); !s.ok()) return s;
  return vector<TypeShape>{x};
}

// f(byte offset of a block in the data, byte offset among the blocks that the indices name, bytes)
template <class F>
Status for_blocks_at(const EvalContext& ctx, int64_t batch_dims, F&& f) {
  const View &x = ctx.inputs[0], &indices = ctx.inputs[1];
  const int64_t depth = indices.dims[indices.rank - 1], count = product(indices.dims, 0, indices.rank - 1);
  const int64_t batches = product(x.dims, 0, int(batch_dims)), per_batch = batches ? count / batches : 0;
  int64_t strides[kMaxRank];
  dense_strides(x, strides);
  const size_t size = size_of(x.dtype), bytes = size_t(product(x.dims, int(batch_dims + depth), x.rank)) * size;
  const int64_t batch_size = product(x.dims, int(batch_dims), x.rank);
  Status status;
  for (int64_t i = 0; i < count; ++i) {
    int64_t offset = per_batch ? i / per_batch * batch_size : 0;
    for (int64_t d = 0; d < depth; ++d) {
      const int64_t index = checked_index(ctx.node, indices, i * depth + d, x.dims[batch_dims + d], status);
      if (index < 0) return status;
      offset += index * strides[batch_dims + d];
    }
    f(size_t(offset) * size, size_t(i) * bytes, bytes);
  }
  return {};
}

Status eval_gather_nd(const EvalContext& ctx) {
  const char* in = static_cast<const char*>(ctx.inputs[0].data);
  char* out = static_cast<char*>(ctx.outputs[0].data);
  return for_blocks_at(ctx, int_attribute(ctx.node, "batch_dims", 0),
                       [&](size_t data, size_t block, size_t n) { std::memcpy(out + block, in + data, n); });
}

Status eval_scatter_nd(const EvalContext& ctx) {
  const char* updates = static_cast<const char*>(ctx.inputs[2].data);
  char* out = static_cast<char*>(ctx.outputs[0].data);
  std::memcpy(out, ctx.inputs[0].data, byte_count(ctx.outputs[0]));
  const Reduction reduction = reduction_of(ctx.node);
  if (reduction == Reduction::none)
    return for_blocks_at(ctx, 0, [&](size_t data, size_t block, size_t n) { std::memcpy(out + data, updates + block, n); });
  return visit(ctx.outputs[0].dtype, [&](auto type) {
    using T = decltype(type);
    return for_blocks_at(ctx, 0, [&](size_t data, size_t block, size_t n) {
      T* elements = reinterpret_cast<T*>(out + data);
      const T* values = reinterpret_cast<const T*>(updates + block);
      for (size_t i = 0; i < n / sizeof(T); ++i) reduce_into(reduction, elements[i], values[i]);
    });
  });
}

// ---- OneHot, CumSum, Trilu

Inferred infer_one_hot(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 3, 3); !s.ok()) return s;
  if (!is_index(ctx.inputs[0]->dtype)) return bad_type(ctx, 0);
  const Tensor* depth = constant_of(ctx, 1);
  if (!depth || depth->count() != 1)
    return fail(ctx.node, Code::unsupported, "input 1 must be a constant: the output's shape depends on it");
  int64_t n = 0;
  visit(depth->dtype(), [&](auto type) { n = int64_t(depth->as<decltype(type)>()[0]); });
  Shape shape = ctx.inputs[0]->shape;
  int64_t axis = int_attribute(ctx.node, "axis", -1);
  if (n < 1 || !normalize_axis(axis, int64_t(shape.size()) + 1)) return misshapen(ctx, "bad depth or axis");
  if (ctx.inputs[2]->shape != Shape{2}) return misshapen(ctx, "values must be [off, on]");
  shape.insert(shape.begin() + axis, n);
  return vector<TypeShape>{{ctx.inputs[2]->dtype, std::move(shape)}};
}

Status eval_one_hot(const EvalContext& ctx) {
  const View &indices = ctx.inputs[0], &y = ctx.outputs[0];
  int64_t axis = int_attribute(ctx.node, "axis", -1);
  normalize_axis(axis, y.rank);
  const int64_t depth = y.dims[axis], inner = product(y.dims, int(axis) + 1, y.rank);
  visit_size(y.dtype, [&](auto type) {
    using T = decltype(type);
    const T* values = static_cast<const T*>(ctx.inputs[2].data);
    T* out = static_cast<T*>(y.data);
    std::fill_n(out, y.count(), values[0]);
    for (int64_t i = 0; i < indices.count(); ++i) {
      int64_t index = index_at(indices, i);
      if (normalize_axis(index, depth)) out[(i / inner * depth + index) * inner + i % inner] = values[1];
    }
  });
  return {};
}

Inferred infer_cum_sum(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  if (ctx.inputs[0]->dtype == DType::boolean) return bad_type(ctx, 0);
  if (!is_index(ctx.inputs[1]->dtype)) return bad_type(ctx, 1);
  if (!ctx.inputs[1]->shape.empty() && ctx.inputs[1]->shape != Shape{1}) return misshapen(ctx, "the axis must be one number");
  return vector<TypeShape>{*ctx.inputs[0]};
}

Status eval_cum_sum(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  int64_t axis = index_at(ctx.inputs[1], 0);
  if (!normalize_axis(axis, x.rank)) return fail(ctx.node, Code::invalid_argument, "the axis is out of range");
  const bool exclusive = int_attribute(ctx.node, "exclusive", 0) != 0, reverse = int_attribute(ctx.node, "reverse", 0) != 0;
  const int64_t n = x.dims[axis], inner = product(x.dims, int(axis) + 1, x.rank), outer = product(x.dims, 0, int(axis));
  visit(x.dtype, [&](auto type) {
    using T = decltype(type);
    using Sum = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 0; i < inner; ++i) {
        Sum sum = 0;
        for (int64_t k = 0; k < n; ++k) {
          const int64_t at = (o * n + (reverse ? n - 1 - k : k)) * inner + i;
          const Sum v = Sum(static_cast<const T*>(x.data)[at]);
          static_cast<T*>(y.data)[at] = T(exclusive ? sum : sum + v);
          sum += v;
        }
      }
  });
  return {};
}

Inferred infer_trilu(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 2); !s.ok()) return s;
  if (ctx.inputs[0]->shape.size() < 2) return misshapen(ctx, "matrices are needed");
  if (input_of(ctx, 1) &&
      (ctx.inputs[1]->dtype != DType::s64 || (!ctx.inputs[1]->shape.empty() && ctx.inputs[1]->shape != Shape{1})))
    return misshapen(ctx, "k must be one s64");
  return vector<TypeShape>{*ctx.inputs[0]};
}

Status eval_trilu(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], k_view = view_of(ctx, 1), &y = ctx.outputs[0];
  const int64_t rows = x.dims[x.rank - 2], columns = x.dims[x.rank - 1];
  const int64_t k = std::clamp<int64_t>(k_view.data ? index_at(k_view, 0) : 0, -rows - columns, rows + columns);
  const bool upper = int_attribute(ctx.node, "upper", 1) != 0;
  visit_size(y.dtype, [&](auto type) {
    using T = decltype(type);
    const T* in = static_cast<const T*>(x.data);
    T* out = static_cast<T*>(y.data);
    for (int64_t i = 0, n = x.count(); i < n; ++i) {
      const int64_t row = i / columns % rows, column = i % columns;
      out[i] = (upper ? column >= row + k : column <= row + k) ? in[i] : T(0);
    }
  });
  return {};
}

// ---- TopK: k is an attribute before opset 10

Inferred infer_top_k(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, ctx.opset < 10 ? 1 : 2, ctx.opset < 10 ? 1 : 2); !s.ok()) return s;
  TypeShape y = *ctx.inputs[0];
  if (y.dtype == DType::boolean) return bad_type(ctx, 0);
  int64_t axis = int_attribute(ctx.node, "axis", -1);
  if (!normalize_axis(axis, int64_t(y.shape.size()))) return misshapen(ctx, "the axis is out of range");
  int64_t k = int_attribute(ctx.node, "k", -1);
  if (ctx.opset >= 10) {
    Ints given;
    bool present;
    if (Status s = read_ints(ctx, 1, given, present); !s.ok()) return s;
    if (given.n != 1) return misshapen(ctx, "k must be one number");
    k = given[0];
  }
  if (k < 0 || k > y.shape[size_t(axis)]) return misshapen(ctx, "k is larger than the dimension");
  y.shape[size_t(axis)] = k;
  return vector<TypeShape>{y, {DType::s64, y.shape}};
}

// Slot i of one row of results. The row is a heap with the worst candidate on top, then sorted in place.
struct Slots {
  int64_t* first;
  int64_t step, n;
  int64_t& operator[](int64_t i) const { return first[i * step]; }

  // better(a, b): a comes before b. Lets slot `at` sink below those worse than it, among the first `size`.
  template <class Better>
  void sink(int64_t at, int64_t size, const Better& better) const {
    for (int64_t child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size && better((*this)[child], (*this)[child + 1])) ++child;
      if (!better((*this)[at], (*this)[child])) return;
      std::swap((*this)[at], (*this)[child]);
    }
  }
};

Status eval_top_k(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &values = ctx.outputs[0];
  if (ctx.outputs.size() < 2 || !ctx.outputs[1].data) return fail(ctx.node, Code::unsupported, "TopK without its second output");
  const bool largest = int_attribute(ctx.node, "largest", 1) != 0;
  int64_t axis = int_attribute(ctx.node, "axis", -1);
  normalize_axis(axis, x.rank);
  const int64_t dim = x.dims[axis], k = values.dims[axis], inner = product(x.dims, int(axis) + 1, x.rank);
  const int64_t outer = product(x.dims, 0, int(axis));
  if (k == 0) return {};
  visit(x.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t row = 0; row < outer * inner; ++row) {
      const T* in = static_cast<const T*>(x.data) + row / inner * dim * inner + row % inner;
      const int64_t base = row / inner * k * inner + row % inner;
      const Slots slots = {static_cast<int64_t*>(ctx.outputs[1].data) + base, inner, k};
      const auto better = [&](int64_t a, int64_t b) {
        const T u = in[a * inner], v = in[b * inner];
        return u != v ? (largest ? u > v : u < v) : a < b;
      };
      for (int64_t i = 0; i < k; ++i) slots[i] = i;
      for (int64_t i = k / 2; i-- > 0;) slots.sink(i, k, better);
      for (int64_t i = k; i < dim; ++i) {
        if (!better(i, slots[0])) continue;
        slots[0] = i;
        slots.sink(0, k, better);
      }
      for (int64_t size = k; --size > 0;) {
        std::swap(slots[0], slots[size]);
        slots.sink(0, size, better);
      }
      for (int64_t i = 0; i < k; ++i) static_cast<T*>(values.data)[base + i * inner] = in[slots[i] * inner];
    }
  });
  return {};
}

constexpr OpInfo kOps[] = {
    {"Gather", "", infer_gather, eval_gather},
    {"GatherElements", "", infer_elements, eval_gather_elements},
    {"ScatterElements", "", infer_elements, eval_scatter_elements},
    {"GatherND", "", infer_nd, eval_gather_nd},
    {"ScatterND", "", infer_nd, eval_scatter_nd},
    {"OneHot", "", infer_one_hot, eval_one_hot, 0b10},
    {"CumSum", "", infer_cum_sum, eval_cum_sum},
    {"Trilu", "", infer_trilu, eval_trilu},
    {"TopK", "", infer_top_k, eval_top_k, 0b10},
};

}  // namespace

std::span<const OpInfo> index_ops() noexcept { return kOps; }

}  // namespace octavo::ops
