// Operators that move elements by a pattern that shapes and attributes fix: they compute nothing, whatever the type.
#include <limits>

#include "ops/strided.h"

namespace octavo::ops {
namespace {

using std::vector;

// ---- Transpose

bool permutation(const Node& node, int rank, int64_t* perm) {
  const auto* given = attribute<vector<int64_t>>(node, "perm");
  bool seen[kMaxRank] = {};
  if (given && int(given->size()) != rank) return false;
  for (int d = 0; d < rank; ++d) {
    perm[d] = given ? (*given)[size_t(d)] : rank - 1 - d;
    if (perm[d] < 0 || perm[d] >= rank || seen[perm[d]]) return false;
    seen[perm[d]] = true;
  }
  return true;
}

Inferred infer_transpose(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const Shape& in = ctx.inputs[0]->shape;
  int64_t perm[kMaxRank];
  if (!permutation(ctx.node, int(in.size()), perm)) return misshapen(ctx, "perm is no permutation of the dimensions");
  Shape shape(in.size());
  for (size_t d = 0; d < in.size(); ++d) shape[d] = in[size_t(perm[d])];
  return vector<TypeShape>{{ctx.inputs[0]->dtype, std::move(shape)}};
}

Status eval_transpose(const EvalContext& ctx) {
  const View& x = ctx.inputs[0];
  int64_t perm[kMaxRank], dense[kMaxRank], strides[kMaxRank];
  permutation(ctx.node, x.rank, perm);
  dense_strides(x, dense);
  for (int d = 0; d < x.rank; ++d) strides[d] = dense[perm[d]];
  strided_copy(ctx.outputs[0], element(x, 0), strides);
  return {};
}

// ---- Slice: attributes before opset 10, then inputs

struct SliceRange {
  int64_t start[kMaxRank], step[kMaxRank], size[kMaxRank];
};

template <class Context>
Status read_slice(const Context& ctx, int rank, const int64_t* dims, SliceRange& range) {
  Ints starts, ends, axes, steps;
  bool has_starts, has_ends, has_axes, has_steps = false;
  if (Status s = read_ints(ctx, "starts", 1, starts, has_starts); !s.ok()) return s;
  if (Status s = read_ints(ctx, "ends", 2, ends, has_ends); !s.ok()) return s;
  if (Status s = read_ints(ctx, "axes", 3, axes, has_axes); !s.ok()) return s;
  if (Status s = read_ints(ctx, 4, steps, has_steps); !s.ok()) return s;
  if (!has_starts || !has_ends || starts.n != ends.n || (has_axes && axes.n != starts.n) || (has_steps && steps.n != starts.n))
    return fail(ctx.node, Code::invalid_argument, "starts, ends, axes and steps differ in length");
  for (int d = 0; d < rank; ++d) range.start[d] = 0, range.step[d] = 1, range.size[d] = dims[d];
  for (int i = 0; i < starts.n; ++i) {
    int64_t axis = has_axes ? axes[i] : i;
    const int64_t step = has_steps ? steps[i] : 1;
    if (!normalize_axis(axis, rank)) return fail(ctx.node, Code::invalid_argument, "axis %lld is out of range", static_cast<long long>(axis));
    if (step == 0 || step == std::numeric_limits<int64_t>::min()) return fail(ctx.node, Code::invalid_argument, "bad step");
    const int64_t dim = dims[axis];
    const auto from_end = [dim](int64_t i) { return i < 0 ? i + dim : i; };
    const int64_t start = std::clamp<int64_t>(from_end(starts[i]), 0, step > 0 ? dim : dim - 1);
    const int64_t end = std::clamp<int64_t>(from_end(ends[i]), step > 0 ? 0 : -1, dim);
    const int64_t span = step > 0 ? end - start : start - end, stride = step > 0 ? step : -step;
    range.start[axis] = start;
    range.size[axis] = dim == 0 || span <= 0 ? 0 : (span - 1) / stride + 1;
    range.step[axis] = range.size[axis] > 1 ? step : 1;  // a step beyond the dimension is of any size
  }
  return {};
}

Inferred infer_slice(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, ctx.opset < 10 ? 1 : 3, ctx.opset < 10 ? 1 : 5); !s.ok()) return s;
  const Shape& in = ctx.inputs[0]->shape;
  SliceRange range;
  if (Status s = read_slice(ctx, int(in.size()), in.data(), range); !s.ok()) return s;
  return vector<TypeShape>{{ctx.inputs[0]->dtype, Shape(range.size, range.size + in.size())}};
}

Status eval_slice(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  SliceRange range;
  if (Status s = read_slice(ctx, x.rank, x.dims, range); !s.ok()) return s;
  if (!std::equal(range.size, range.size + x.rank, y.dims))
    return fail(ctx.node, Code::invalid_argument, "the bounds are not those that the shapes were inferred from");
  int64_t strides[kMaxRank], offset = 0;
  dense_strides(x, strides);
  for (int d = 0; d < x.rank; ++d) {
    if (y.dims[d] == 0) return {};
    offset += range.start[d] * strides[d];
    strides[d] *= range.step[d];
  }
  strided_copy(y, element(x, offset), strides);
  return {};
}

// ---- Concat, Split

Inferred infer_concat(const InferContext& ctx) {
  const size_t n = ctx.inputs.size();
  if (Status s = expect_inputs(ctx, std::max<size_t>(n, 1), n); !s.ok()) return s;
  TypeShape out = *ctx.inputs[0];
  int64_t axis = int_attribute(ctx.node, "axis", 1);
  if (!normalize_axis(axis, int64_t(out.shape.size()))) return misshapen(ctx, "the axis is out of range");
  for (size_t i = 1; i < n; ++i) {
    const TypeShape& in = *ctx.inputs[i];
    if (in.dtype != out.dtype || in.shape.size() != out.shape.size()) return misshapen(ctx, "types or ranks differ");
    for (size_t d = 0; d < in.shape.size(); ++d) {
      if (int64_t(d) == axis) {
        if (__builtin_add_overflow(out.shape[d], in.shape[d], &out.shape[d])) return misshapen(ctx, "the result is too large");
      } else if (in.shape[d] != out.shape[d]) {
        return misshapen(ctx, "dimensions other than the axis differ");
      }
    }
  }
  return vector<TypeShape>{std::move(out)};
}

// Concat and Split walk the same blocks: part p holds, for each outer index, `inner` bytes of the whole's `total`.
template <class Copy>
void for_blocks(std::span<const View> parts, const View& whole, int axis, Copy&& copy) {
  const size_t size = size_of(whole.dtype);
  const int64_t outer = product(whole.dims, 0, axis);
  const size_t total = size_t(product(whole.dims, axis, whole.rank)) * size;
  size_t offset = 0;
  for (const View& part : parts) {
    const size_t inner = size_t(product(part.dims, axis, part.rank)) * size;
    if (part.data && inner > 0)
      for (int64_t i = 0; i < outer; ++i)
        copy(static_cast<char*>(part.data) + size_t(i) * inner, static_cast<char*>(whole.data) + size_t(i) * total + offset, inner);
    offset += inner;
  }
}

Status eval_concat(const EvalContext& ctx) {
  const View& y = ctx.outputs[0];
  int64_t axis = int_attribute(ctx.node, "axis", 1);
  normalize_axis(axis, y.rank);
  for_blocks(ctx.inputs, y, int(axis), [](char* part, char* whole, size_t n) { std::memcpy(whole, part, n); });
  return {};
}

Inferred infer_split(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, ctx.opset < 13 ? 1 : 2); !s.ok()) return s;
  const TypeShape& in = *ctx.inputs[0];
  int64_t axis = int_attribute(ctx.node, "axis", 0);
  if (!normalize_axis(axis, int64_t(in.shape.size()))) return misshapen(ctx, "the axis is out of range");
  const int64_t dim = in.shape[size_t(axis)], n = int64_t(ctx.node.outputs.size());
  vector<int64_t> sizes;
  if (ctx.opset < 13) {
    if (const auto* given = attribute<vector<int64_t>>(ctx.node, "split")) sizes = *given;
  } else if (input_of(ctx, 1)) {
    const Tensor* given = constant_of(ctx, 1);
    if (!given || given->dtype() != DType::s64) return fail(ctx.node, Code::unsupported, "the split sizes must be a constant");
    sizes.assign(given->as<int64_t>(), given->as<int64_t>() + given->count());
  }
  if (sizes.empty()) {
    if (n == 0 || int_attribute(ctx.node, "num_outputs", n) != n) return misshapen(ctx, "num_outputs does not match the outputs");
    // Uneven splits (opset 18): all parts but the last are of the rounded-up size.
    const int64_t part = (dim + n - 1) / n;
    if (dim % n != 0 && ctx.opset < 18) return misshapen(ctx, "the dimension does not split evenly");
    for (int64_t i = 0; i < n; ++i) sizes.push_back(std::clamp<int64_t>(dim - i * part, 0, part));
  }
  if (int64_t(sizes.size()) != n) return misshapen(ctx, "as many split sizes as outputs are needed");
  vector<TypeShape> outputs;
  int64_t left = dim;
  for (const int64_t size : sizes) {
    if (size < 0 || size > left) return misshapen(ctx, "the split sizes do not add up to the dimension");
    left -= size;
    outputs.push_back(in);
    outputs.back().shape[size_t(axis)] = size;
  }
  if (left != 0) return misshapen(ctx, "the split sizes do not add up to the dimension");
  return outputs;
}

Status eval_split(const EvalContext& ctx) {
  const View& x = ctx.inputs[0];
  int64_t axis = int_attribute(ctx.node, "axis", 0);
  normalize_axis(axis, x.rank);
  for_blocks(ctx.outputs, x, int(axis), [](char* part, char* whole, size_t n) { std::memcpy(part, whole, n); });
  return {};
}

// ---- Pad: attributes before opset 11, then inputs; axes from opset 18

template <class Context>
Status read_pads(const Context& ctx, int rank, int64_t (&before)[kMaxRank], int64_t (&after)[kMaxRank]) {
  Ints pads, axes;
  bool has_pads, has_axes;
  if (Status s = read_ints(ctx, "pads", 1, pads, has_pads); !s.ok()) return s;
  if (Status s = read_ints(ctx, 3, axes, has_axes); !s.ok()) return s;
  std::fill_n(before, kMaxRank, 0);
  std::fill_n(after, kMaxRank, 0);
  const int n = has_axes ? axes.n : rank;
  if (!has_pads || pads.n != 2 * n || n > rank)
    return fail(ctx.node, Code::invalid_argument, "%d pads for %d dimensions", pads.n, n);
  for (int i = 0; i < n; ++i) {
    int64_t axis = has_axes ? axes[i] : i;
    if (!normalize_axis(axis, rank)) return fail(ctx.node, Code::invalid_argument, "an axis is out of range");
    before[axis] = pads[i];
    after[axis] = pads[i + n];
  }
  return {};
}

enum class PadMode { constant, edge, reflect, wrap, unknown };
PadMode pad_mode(const Node& node) {
  const std::string_view mode = string_attribute(node, "mode", "constant");
  return mode == "constant" ? PadMode::constant
         : mode == "edge"   ? PadMode::edge
         : mode == "reflect" ? PadMode::reflect
         : mode == "wrap"   ? PadMode::wrap
                            : PadMode::unknown;
}

Inferred infer_pad(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, ctx.opset < 11 ? 1 : 2, ctx.opset < 11 ? 1 : 4); !s.ok()) return s;
  TypeShape out = *ctx.inputs[0];
  const int rank = int(out.shape.size());
  int64_t before[kMaxRank], after[kMaxRank];
  if (Status s = read_pads(ctx, rank, before, after); !s.ok()) return s;
  const PadMode mode = pad_mode(ctx.node);
  if (mode == PadMode::unknown) return fail(ctx.node, Code::unsupported, "unknown mode");
  if (const TypeShape* value = input_of(ctx, 2)) {
    const Expected<int64_t> count = element_count(value->shape, value->dtype);
    if (value->dtype != out.dtype || !count || *count != 1) return misshapen(ctx, "the pad value must be a scalar of the input's type");
  } else if (ctx.opset < 11 && out.dtype != DType::f32) {
    return bad_type(ctx, 0);
  }
  for (int d = 0; d < rank; ++d) {
    int64_t& dim = out.shape[size_t(d)];
    const int64_t in = dim;
    if (mode == PadMode::reflect && (before[d] >= std::max<int64_t>(in, 1) || after[d] >= std::max<int64_t>(in, 1)))
      return misshapen(ctx, "reflected pads must be smaller than the dimension");
    if (mode != PadMode::constant && in == 0 && (before[d] > 0 || after[d] > 0)) return misshapen(ctx, "nothing to pad from");
    if (before[d] < -in || after[d] < -in || __builtin_add_overflow(dim, before[d], &dim) ||
        __builtin_add_overflow(dim, after[d], &dim) || dim < 0)
      return misshapen(ctx, "bad pads");
  }
  return vector<TypeShape>{std::move(out)};
}

int64_t pad_source(PadMode mode, int64_t i, int64_t n) {
  if (mode == PadMode::edge) return std::clamp<int64_t>(i, 0, n - 1);
  if (mode == PadMode::wrap) return ((i % n) + n) % n;
  return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
}

Status eval_pad(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  const int rank = x.rank;
  int64_t before[kMaxRank], after[kMaxRank];
  if (Status s = read_pads(ctx, rank, before, after); !s.ok()) return s;
  for (int d = 0; d < rank; ++d)
    if (before[d] + x.dims[d] + after[d] != y.dims[d])
      return fail(ctx.node, Code::invalid_argument, "the pads are not those that the shapes were inferred from");
  const PadMode mode = pad_mode(ctx.node);
  visit_size(y.dtype, [&](auto type) {
    using T = decltype(type);
    T value = 0;
    if (const View given = view_of(ctx, 2); given.data) {
      value = *static_cast<const T*>(given.data);
    } else if (const float f = float_attribute(ctx.node, "value", 0); f != 0) {
      std::memcpy(&value, &f, std::min(sizeof value, sizeof f));  // opset < 11: f32 only
    }
    const T* in = static_cast<const T*>(x.data);
    T* out = static_cast<T*>(y.data);
    if (rank == 0) {
      *out = *in;
      return;
    }
    int64_t strides[kMaxRank], index[kMaxRank] = {};
    dense_strides(x, strides);
    const int last = rank - 1;
    const int64_t width = y.dims[last], in_width = x.dims[last], rows = product(y.dims, 0, last);
    for (int64_t row = 0; row < rows && width > 0; ++row, out += width) {
      bool inside = true;
      int64_t offset = 0;
      for (int d = 0; d < last; ++d) {
        int64_t i = index[d] - before[d];
        if (mode != PadMode::constant) i = pad_source(mode, i, x.dims[d]);
        inside = inside && i >= 0 && i < x.dims[d];
        offset += i * strides[d];
      }
      // Columns [begin, end) come from the same columns of the input.
      const int64_t begin = inside ? std::clamp<int64_t>(before[last], 0, width) : width;
      const int64_t end = inside ? std::clamp<int64_t>(before[last] + in_width, begin, width) : width;
      if (end > begin) std::memcpy(out + begin, in + offset + begin - before[last], size_t(end - begin) * sizeof(T));
      if (mode == PadMode::constant) {
        std::fill(out, out + begin, value);
        std::fill(out + end, out + width, value);
      } else {
        for (int64_t i = 0; i < width; i = i + 1 == begin ? end : i + 1)
          out[i] = in[offset + pad_source(mode, i - before[last], in_width)];
      }
      for (int d = last - 1; d >= 0; --d) {
        if (++index[d] < y.dims[d]) break;
        index[d] = 0;
      }
    }
  });
  return {};
}

// ---- Expand, Tile

Inferred infer_expand(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  Ints target;
  bool present;
  if (Status s = read_ints(ctx, 1, target, present); !s.ok()) return s;
  Shape shape;
  if (!broadcast_shapes(ctx.inputs[0]->shape, Shape(target.begin(), target.end()), shape))
    return misshapen(ctx, "the input does not broadcast to the target shape");
  return vector<TypeShape>{{ctx.inputs[0]->dtype, std::move(shape)}};
}

Status eval_expand(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  int64_t dense[kMaxRank], strides[kMaxRank];
  dense_strides(x, dense);
  for (int d = 0; d < y.rank; ++d) {
    const int own = d - (y.rank - x.rank);
    strides[d] = own >= 0 && x.dims[own] != 1 ? dense[own] : 0;
  }
  strided_copy(y, element(x, 0), strides);
  return {};
}

Inferred infer_tile(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  Ints repeats;
  bool present;
  if (Status s = read_ints(ctx, 1, repeats, present); !s.ok()) return s;
  TypeShape out = *ctx.inputs[0];
  if (size_t(repeats.n) != out.shape.size()) return misshapen(ctx, "one repeat for each dimension is needed");
  for (int d = 0; d < repeats.n; ++d)
    if (repeats[d] < 0 || __builtin_mul_overflow(out.shape[size_t(d)], repeats[d], &out.shape[size_t(d)]))
      return misshapen(ctx, "bad repeats");
  return vector<TypeShape>{std::move(out)};
}

Status eval_tile(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  const int rank = x.rank;
  if (y.count() == 0) return {};
  if (rank == 0) {
    std::memcpy(y.data, x.data, byte_count(y));
    return {};
  }
  const size_t size = size_of(x.dtype);
  const int64_t width = x.dims[rank - 1], rows = product(y.dims, 0, rank - 1);
  int64_t strides[kMaxRank], index[kMaxRank] = {};
  dense_strides(x, strides);
  char* out = static_cast<char*>(y.data);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t offset = 0;
    for (int d = 0; d + 1 < rank; ++d) offset += index[d] % x.dims[d] * strides[d];
    for (int64_t i = 0; i < y.dims[rank - 1]; i += width, out += size_t(width) * size)
      std::memcpy(out, element(x, offset), size_t(width) * size);
    for (int d = rank - 2; d >= 0; --d) {
      if (++index[d] < y.dims[d]) break;
      index[d] = 0;
    }
  }
  return {};
}

// ---- DepthToSpace, SpaceToDepth: transposes of a 6-dimensional view

Inferred infer_depth_to_space(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const Shape& in = ctx.inputs[0]->shape;
  const int64_t b = int_attribute(ctx.node, "blocksize", 0);
  if (in.size() != 4 || b < 1 || b > 65536 || in[1] % (b * b) != 0) return misshapen(ctx, "blocksize does not divide the channels of an NCHW input");
  Shape shape = {in[0], in[1] / (b * b), 0, 0};
  if (__builtin_mul_overflow(in[2], b, &shape[2]) || __builtin_mul_overflow(in[3], b, &shape[3])) return misshapen(ctx, "too large");
  return vector<TypeShape>{{ctx.inputs[0]->dtype, std::move(shape)}};
}

Status eval_depth_to_space(const EvalContext& ctx) {
  const View& x = ctx.inputs[0];
  const int64_t b = int_attribute(ctx.node, "blocksize", 1), c = x.dims[1] / (b * b), hw = x.dims[2] * x.dims[3];
  const bool crd = string_attribute(ctx.node, "mode", "DCR") == "CRD";
  // out[n][c][h][bi][w][bj]
  View y = ctx.outputs[0];
  y.rank = 6;
  const int64_t dims[] = {x.dims[0], c, x.dims[2], b, x.dims[3], b};
  const int64_t strides[] = {c * b * b * hw, crd ? b * b * hw : hw,           x.dims[3], crd ? b * hw : b * c * hw,
                             1,              crd ? hw : c * hw};
  std::copy_n(dims, 6, y.dims);
  strided_copy(y, element(x, 0), strides);
  return {};
}

Inferred infer_space_to_depth(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const Shape& in = ctx.inputs[0]->shape;
  const int64_t b = int_attribute(ctx.node, "blocksize", 0);
  if (in.size() != 4 || b < 1 || b > 65536 || in[2] % b != 0 || in[3] % b != 0) return misshapen(ctx, "blocksize does not divide height and width");
  Shape shape = {in[0], 0, in[2] / b, in[3] / b};
  if (__builtin_mul_overflow(in[1], b * b, &shape[1])) return misshapen(ctx, "too large");
  return vector<TypeShape>{{ctx.inputs[0]->dtype, std::move(shape)}};
}

Status eval_space_to_depth(const EvalContext& ctx) {
  const View& x = ctx.inputs[0];
  const int64_t b = int_attribute(ctx.node, "blocksize", 1), w = x.dims[3], hw = x.dims[2] * w;
  // out[n][bi][bj][c][h][w]
  View y = ctx.outputs[0];
  y.rank = 6;
  const int64_t dims[] = {x.dims[0], b, b, x.dims[1], x.dims[2] / b, w / b};
  const int64_t strides[] = {x.dims[1] * hw, w, 1, hw, w * b, b};
  std::copy_n(dims, 6, y.dims);
  strided_copy(y, element(x, 0), strides);
  return {};
}

constexpr OpInfo kOps[] = {
    {"Transpose", "", infer_transpose, eval_transpose},
    {"Slice", "", infer_slice, eval_slice, 0b11110},
    {"Concat", "", infer_concat, eval_concat},
    {"Split", "", infer_split, eval_split, 0b10},
    {"Pad", "", infer_pad, eval_pad, 0b1010},
    {"Expand", "", infer_expand, eval_expand, 0b10},
    {"Tile", "", infer_tile, eval_tile, 0b10},
    {"DepthToSpace", "", infer_depth_to_space, eval_depth_to_space},
    {"SpaceToDepth", "", infer_space_to_depth, eval_space_to_depth},
};

}  // namespace

std::span<const OpInfo> move_ops() noexcept { return kOps; }

}  // namespace octavo::ops
