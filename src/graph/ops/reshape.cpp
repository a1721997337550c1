// Operators whose result has the bytes of their input: Identity, Dropout, and new shapes.
#include <limits>
#include <random>

#include "ops/strided.h"

namespace octavo::ops {
namespace {

using std::vector;

Status eval_copy(const EvalContext& ctx) {
  const View& y = ctx.outputs[0];
  if (y.data != ctx.inputs[0].data) std::memcpy(y.data, ctx.inputs[0].data, byte_count(y));
  return {};
}

Inferred infer_identity(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  return vector<TypeShape>{*ctx.inputs[0]};
}

// ---- Dropout: inference copies, and the mask is all true

Inferred infer_dropout(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 3); !s.ok()) return s;
  if (input_of(ctx, 2)) {
    const Tensor* training = constant_of(ctx, 2);
    if (!training || training->count() != 1 || training->dtype() != DType::boolean)
      return fail(ctx.node, Code::unsupported, "training_mode must be a constant");
    if (training->as<uint8_t>()[0] && ctx.inputs[0]->dtype != DType::f32) return bad_type(ctx, 0);
    if (input_of(ctx, 1) && ctx.inputs[1]->dtype != DType::f32) return bad_type(ctx, 1);
  }
  return vector<TypeShape>{*ctx.inputs[0], {DType::boolean, ctx.inputs[0]->shape}};
}

// Training: an element stays where the next number of the Mersenne twister, uniform in [0, 1) with 53 bits, reaches the ratio.
Status drop(const EvalContext& ctx, float ratio) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  uint8_t* mask = ctx.outputs.size() > 1 ? static_cast<uint8_t*>(ctx.outputs[1].data) : nullptr;
  std::mt19937 random(uint32_t(int_attribute(ctx.node, "seed", 0)));
  const float scale = 1 / (1 - ratio);
  for (int64_t i = 0; i < x.count(); ++i) {
    const double high = double(random() >> 5), low = double(random() >> 6);
    const bool kept = (high * 67108864 + low) / 9007199254740992.0 >= double(ratio);
    static_cast<float*>(y.data)[i] = kept ? static_cast<const float*>(x.data)[i] * scale : 0;
    if (mask) mask[i] = kept;
  }
  return {};
}

Status eval_dropout(const EvalContext& ctx) {
  const View training = view_of(ctx, 2), given = view_of(ctx, 1);
  if (training.data && *static_cast<const uint8_t*>(training.data)) {
    const float ratio = given.data && given.count() == 1 ? *static_cast<const float*>(given.data) : 0.5f;
    if (!(ratio >= 0 && ratio < 1)) return fail(ctx.node, Code::invalid_argument, "a ratio of %g", double(ratio));
    if (ratio > 0) return drop(ctx, ratio);
  }
  if (ctx.outputs.size() > 1 && ctx.outputs[1].data) std::memset(ctx.outputs[1].data, 1, size_t(ctx.outputs[1].count()));
  return eval_copy(ctx);
}

// ---- reshapes: a copy of the bytes

Inferred infer_reshape(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  Ints target;
  bool present;
  if (Status s = read_ints(ctx, 1, target, present); !s.ok()) return s;
  const Shape& in = ctx.inputs[0]->shape;
  const bool allow_zero = int_attribute(ctx.node, "allowzero", 0) != 0;
  Shape shape(target.begin(), target.end());
  int64_t known = 1, open = -1;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0 && !allow_zero) {
      if (d >= in.size()) return misshapen(ctx, "a 0 in the target shape has no input dimension to copy");
      shape[d] = in[d];
    }
    if (shape[d] == -1 && open < 0) {
      open = int64_t(d);
    } else if (shape[d] < 0) {
      return misshapen(ctx, "a bad dimension in the target shape");
    } else if (shape[d] != 0 && known > std::numeric_limits<int64_t>::max() / shape[d]) {
      return misshapen(ctx, "the target shape is too large");
    } else {
      known *= shape[d];
    }
  }
  const int64_t count = product(in.data(), 0, int(in.size()));
  if (open >= 0) {
    if (known == 0 || count % known != 0) return misshapen(ctx, ("cannot reshape to " + to_string(shape)).c_str());
    shape[size_t(open)] = count / known;
    known = count;
  }
  if (known != count) return misshapen(ctx, ("cannot reshape to " + to_string(shape)).c_str());
  return vector<TypeShape>{{ctx.inputs[0]->dtype, std::move(shape)}};
}

Inferred infer_flatten(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const Shape& in = ctx.inputs[0]->shape;
  const int rank = int(in.size());
  int64_t axis = int_attribute(ctx.node, "axis", 1);
  if (axis < -rank || axis > rank) return misshapen(ctx, "the axis is out of range");
  if (axis < 0) axis += rank;
  return vector<TypeShape>{{ctx.inputs[0]->dtype, {product(in.data(), 0, int(axis)), product(in.data(), int(axis), rank)}}};
}

// The axes as flags over `rank` dimensions; false if one is out of range or occurs twice.
bool mark_axes(const Ints& axes, int64_t rank, vector<bool>& marked) {
  marked.assign(size_t(rank), false);
  for (int64_t axis : axes) {
    if (!normalize_axis(axis, rank) || marked[size_t(axis)]) return false;
    marked[size_t(axis)] = true;
  }
  return true;
}

Inferred infer_squeeze(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 2); !s.ok()) return s;
  Ints axes;
  bool present;
  if (Status s = read_ints(ctx, "axes", 1, axes, present); !s.ok()) return s;
  const Shape& in = ctx.inputs[0]->shape;
  vector<bool> drop;
  if (!mark_axes(axes, int64_t(in.size()), drop)) return misshapen(ctx, "an axis is out of range or occurs twice");
  Shape shape;
  for (size_t d = 0; d < in.size(); ++d) {
    if (drop[d] && in[d] != 1) return misshapen(ctx, "a squeezed dimension is not 1");
    if (!(present ? drop[d] : in[d] == 1)) shape.push_back(in[d]);
  }
  return vector<TypeShape>{{ctx.inputs[0]->dtype, std::move(shape)}};
}

Inferred infer_unsqueeze(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 2); !s.ok()) return s;
  Ints axes;
  bool present;
  if (Status s = read_ints(ctx, "axes", 1, axes, present); !s.ok()) return s;
  if (!present) return fail(ctx.node, Code::invalid_argument, "it has no axes");
  const Shape& in = ctx.inputs[0]->shape;
  vector<bool> added;
  if (!mark_axes(axes, int64_t(in.size()) + axes.n, added)) return misshapen(ctx, "an axis is out of range or occurs twice");
  Shape shape;
  for (size_t d = 0, next = 0; d < added.size(); ++d) shape.push_back(added[d] ? 1 : in[next++]);
  return vector<TypeShape>{{ctx.inputs[0]->dtype, std::move(shape)}};
}

constexpr OpInfo kOps[] = {
    {"Identity", "", infer_identity, eval_copy},
    {"Dropout", "", infer_dropout, eval_dropout, 0b110},
    {"Reshape", "", infer_reshape, eval_copy, 0b10},
    {"Flatten", "", infer_flatten, eval_copy},
    {"Squeeze", "", infer_squeeze, eval_copy, 0b10},
    {"Unsqueeze", "", infer_unsqueeze, eval_copy, 0b10},
};

}  // namespace

std::span<const OpInfo> reshape_ops() noexcept { return kOps; }

}  // namespace octavo::ops
