// Attention as two products with a softmax in between. Without a past, and without what only generating decoders use.
#include <cmath>

#include "onnx/contrib.h"

namespace octavo::contrib {
namespace {

// [batch, length, heads * size] -> [batch, heads, length, size]; transposed: [batch, heads, size, length]
std::string split_heads(Expansion& e, const std::string& x, int64_t heads, bool transposed) {
  const std::string apart = e.add("Reshape", {x, e.ints({0, 0, heads, -1})});
  return e.transpose(apart, transposed ? std::vector<int64_t>{0, 2, 3, 1} : std::vector<int64_t>{0, 2, 1, 3});
}

// The length of dimension 1 as [1] or as a scalar.
std::string length_of(Expansion& e, const std::string& x, bool scalar) {
  const std::string index = scalar ? e.constant("axis", Tensor::from(DType::s64, {}, std::vector<int64_t>{1})) : e.ints({1});
  return e.add("Gather", {e.add("Shape", {x}), index}, {{"axis", int64_t{0}}});
}

// 0, 1, ... as long as dimension 1 of x
std::string positions(Expansion& e, const std::string& x) {
  const auto number = [&](int64_t v) { return e.constant("number", Tensor::from(DType::s64, {}, std::vector<int64_t>{v})); };
  return e.add("Range", {number(0), length_of(e, x, true), number(1)});
}

// 0 where `open`, else the filter value; opened up to the scores' rank at `axes`.
std::string filter(Expansion& e, const std::string& open, std::vector<int64_t> axes, float value) {
  std::string bias = e.add("Where", {open, e.scalar(0), e.scalar(value)});
  return axes.empty() ? bias : e.add("Unsqueeze", {bias, e.ints(axes)});
}

// What is added to the scores [batch, heads, queries, keys] for a mask of one of the known shapes.
Status mask_bias(Expansion& e, const std::string& mask, const std::string& keys, float value, std::string& bias) {
  const TypeShape* type = e.type(mask);
  if (!type || type->dtype != DType::s32) return e.fail("its mask is not s32, or of unknown shape");
  const TypeShape* k = e.type(keys);
  const std::string zero = e.constant("zero", Tensor::from(type->dtype, {}, std::vector<int32_t>{0}));
  switch (type->shape.size()) {
    case 1: {  // how many keys of each sequence are real
      if (!k || k->shape.empty() || k->shape[0] != type->shape[0]) return e.fail("a mask of start and end positions");
      const std::string lengths = e.add("Unsqueeze", {e.add("Cast", {mask}, {{"to", int64_t{7}}}), e.ints({1})});
      bias = filter(e, e.add("Less", {positions(e, keys), lengths}), {1, 2}, value);
      return {};
    }
    case 2:  // [batch, keys]
      bias = filter(e, e.add("Greater", {mask, zero}), {1, 2}, value);
      return {};
    case 3:  // [batch, queries, keys]
      bias = filter(e, e.add("Greater", {mask, zero}), {1}, value);
      return {};
    default:
      return e.fail("a mask of four dimensions");
  }
}

struct Inputs {
  std::string q, k, v;  // [batch, length, heads * size]
  int64_t size = 0;     // of a head of q
  std::string mask, attention_bias;
};

Status attend(Expansion& e, const Inputs& in) {
  const int64_t heads = e.node.get_int("num_heads", 0);
  const float value = e.node.get_float("mask_filter_value", -10000);
  float scale = e.node.get_float("scale", 0);
  if (scale == 0) scale = float(1 / std::sqrt(double(in.size)));
  // All that is added to the scores, as one.
  std::string bias = in.attention_bias;
  const auto also = [&](const std::string& more) { bias = bias.empty() ? more : e.add("Add", {bias, more}); };
  if (!in.mask.empty()) {
    std::string closed;
    if (Status s = mask_bias(e, in.mask, in.k, value, closed); !s.ok()) return s;
    also(closed);
  }
  if (e.node.get_int("unidirectional", 0) != 0) {
    const std::string query = e.add("Unsqueeze", {positions(e, in.q), e.ints({1})});
    also(filter(e, e.add("LessOrEqual", {positions(e, in.k), query}), {}, value));
  }
  std::string scores = e.add_main("MatMul", {split_heads(e, in.q, heads, false), split_heads(e, in.k, heads, true)});
  scores = e.add("Mul", {scores, e.scalar(scale)});
  if (!bias.empty()) scores = e.add("Add", {scores, bias});
  const std::string y = e.add("MatMul", {e.add("Softmax", {scores}, {{"axis", int64_t{-1}}}), split_heads(e, in.v, heads, false)});
  e.add("Reshape", {e.transpose(y, {0, 2, 1, 3}), e.ints({0, 0, -1})});
  e.finish();
  return {};
}

// Sets the size of a head of q from its width; an error names what does not fit.
Status set_heads(Expansion& e, int64_t width, Inputs& in) {
  const int64_t heads = e.node.get_int("num_heads", 0);
  if (heads < 1 || width < heads || width % heads != 0) return e.fail("num_heads does not divide the width of the queries");
  in.size = width / heads;
  return {};
}

// q, k and v side by side
Status split(Expansion& e, const std::string& merged, int64_t width, Inputs& in) {
  std::vector<int64_t> sizes = e.node.get_ints("qkv_hidden_sizes");
  if (sizes.empty() && width % 3 == 0) sizes.assign(3, width / 3);
  if (sizes.size() != 3 || sizes[0] < 1 || sizes[0] != sizes[1] || sizes[2] < 1 || sizes[0] > width || sizes[2] > width ||
      sizes[0] + sizes[1] + sizes[2] != width)
    return e.fail("its weights do not hold queries, keys and values of the sizes given");
  if (sizes[2] % std::max<int64_t>(e.node.get_int("num_heads", 1), 1) != 0)
    return e.fail("num_heads does not divide the width of the values");
  e.add("Split", {merged, e.ints(sizes)}, {{"axis", int64_t{2}}}, 3);
  const std::vector<std::string> parts = e.outputs();
  in.q = parts[0], in.k = parts[1], in.v = parts[2];
  return set_heads(e, sizes[0], in);
}

Status plain(Expansion& e, std::initializer_list<size_t> without) {
  for (const size_t input : without)
    if (e.has(input)) return e.fail("a past, or what is for generating decoders, has no standard form here");
  if (e.output_used(1) || e.output_used(2) || e.output_used(3)) return e.fail("its outputs beside the first are used");
  if (e.node.get_int("do_rotary", 0) != 0 || e.node.get_int("past_present_share_buffer", 0) != 0)
    return e.fail("rotary positions and shared buffers have no standard form here");
  return {};
}

// The last dimension of the weights.
Status width_of(Expansion& e, const std::string& weights, int64_t& width) {
  const TypeShape* w = e.type(weights);
  if (!w || w->shape.size() != 2) return e.fail("its weights are no matrix");
  width = w->shape[1];
  return {};
}

// input, weights, bias, mask, past, attention bias, past length
Status attention(Expansion& e) {
  if (Status s = e.expect_inputs(2, 7); !s.ok()) return s;
  if (Status s = plain(e, {4, 6}); !s.ok()) return s;
  int64_t width = 0;
  if (Status s = width_of(e, e.in(1), width); !s.ok()) return s;
  Inputs in;
  std::string merged = e.add("MatMul", {e.in(0), e.in(1)});
  if (e.has(2)) merged = e.add("Add", {merged, e.in(2)});
  if (Status s = split(e, merged, width, in); !s.ok()) return s;
  in.mask = e.in(3), in.attention_bias = e.in(5);
  return attend(e, in);
}

// input, weights, bias, scale of the input, of the weights, mask, zero points of both, past
Status quantized_attention(Expansion& e) {
  if (Status s = e.expect_inputs(5, 9); !s.ok()) return s;
  if (Status s = plain(e, {8}); !s.ok()) return s;
  int64_t width = 0;
  if (Status s = width_of(e, e.in(1), width); !s.ok()) return s;
  Inputs in;
  const TypeShape* scale = e.type(e.in(4));
  const bool per_column = scale && scale->shape.size() == 1 && scale->shape[0] != 1;
  const std::string x = e.add("DequantizeLinear", {e.in(0), e.in(3), e.in(6)});
  std::map<std::string, Attribute> axis;
  if (per_column) axis["axis"] = int64_t{1};
  const std::string w = e.add("DequantizeLinear", {e.in(1), e.in(4), e.in(7)}, std::move(axis));
  std::string merged = e.add("MatMul", {x, w});
  if (e.has(2)) merged = e.add("Add", {merged, e.in(2)});
  if (Status s = split(e, merged, width, in); !s.ok()) return s;
  in.mask = e.in(5);
  return attend(e, in);
}

// query, key, value, bias (of all three), key mask, attention bias, past ...
Status multi_head_attention(Expansion& e) {
  if (Status s = e.expect_inputs(1, 10); !s.ok()) return s;
  if (Status s = plain(e, {6, 7, 8, 9}); !s.ok()) return s;
  const std::optional<size_t> q = e.rank(e.in(0)), k = e.rank(e.in(1)), v = e.rank(e.in(2));
  if (!e.has(1) || !e.has(2) || (q && *q != 3) || (k && *k != 3) || (v && *v != 3))
    return e.fail("queries, keys and values are not three tensors of three dimensions");
  Inputs in{e.in(0), e.in(1), e.in(2), 0, e.in(4), e.in(5)};
  const TypeShape *bias = e.type(e.in(3)), *query = e.type(e.in(0)), *values = e.type(e.in(2));
  int64_t width = query && query->shape[2] != kOpenDimension ? query->shape[2] : 0;
  if (e.has(3)) {
    const int64_t all = bias && bias->shape.size() == 1 ? bias->shape[0] : 0;
    // Values may be wider than queries: then their own width says how wide.
    const int64_t v_width = values && query && values->shape[2] != query->shape[2] ? values->shape[2] : all / 3;
    width = (all - v_width) / 2;
    if (width < 1 || v_width < 1 || 2 * width + v_width != all) return e.fail("its bias does not fit");
    e.add("Split", {e.in(3), e.ints({width, width, v_width})}, {{"axis", int64_t{0}}}, 3);
    const std::vector<std::string> parts = e.outputs();
    in.q = e.add("Add", {in.q, parts[0]}), in.k = e.add("Add", {in.k, parts[1]}), in.v = e.add("Add", {in.v, parts[2]});
  }
  if (width < 1) return e.fail("the width of its queries is not known");
  if (Status s = set_heads(e, width, in); !s.ok()) return s;
  return attend(e, in);
}

constexpr Rule kRules[] = {
    {"Attention", attention},
    {"QAttention", quantized_attention},
    {"MultiHeadAttention", multi_head_attention},
};

}  // namespace

std::span<const Rule> attention_rules() noexcept { return kRules; }

}  // namespace octavo::contrib
