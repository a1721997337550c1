// QLinear operators as DequantizeLinear -> operator -> QuantizeLinear, and products of 8-bit tensors.
#include <algorithm>

#include "onnx/contrib.h"

namespace octavo::contrib {
namespace {

bool is_8_bit(DType t) { return t == DType::u8 || t == DType::s8; }

std::string dequantize(Expansion& e, const std::string& q, const std::string& scale, const std::string& zero, int64_t axis = -1) {
  const TypeShape* type = e.type(scale);
  // One scale for each index of the axis; [1] is one scale.
  const bool per_axis = type && type->shape.size() == 1 && type->shape[0] != 1;
  if (!per_axis) return e.add("DequantizeLinear", {q, scale, zero});
  return e.add("DequantizeLinear", {q, scale, zero}, {{"axis", axis}});
}

// x at inputs i, i + 1 (scale), i + 2 (zero point).
std::string dequantize(Expansion& e, size_t i) { return dequantize(e, e.in(i), e.in(i + 1), e.in(i + 2)); }

// Without a zero point QuantizeLinear gives u8, while these operators give the type of their input.
Status quantize(Expansion& e, const std::string& x, const std::string& scale, std::string zero, const std::string& like,
                std::string* result = nullptr) {
  if (zero.empty()) {
    const TypeShape* type = e.type(like);
    if (!type || !is_8_bit(type->dtype)) return e.fail("it has no zero point, and the type of its input is not known");
    zero = e.constant("zero_point", type->dtype == DType::u8 ? Tensor::from(DType::u8, {}, std::vector<uint8_t>{0})
                                                              : Tensor::from(DType::s8, {}, std::vector<int8_t>{0}));
  }
  const std::string q = e.add("QuantizeLinear", {x, scale, zero});
  if (result)
    *result = q;
  else
    e.finish();
  return {};
}

Status same_operator(Expansion& e) {
  e.replace(e.node.op_type.c_str(), e.node.inputs);
  return {};
}

// ---- A, scale, zero point, B, scale, zero point, scale and zero point of the result

Status binary(Expansion& e) {
  if (Status s = e.expect_inputs(7, 8); !s.ok()) return s;
  const std::string a = dequantize(e, 0), b = dequantize(e, 3);
  const std::string y = e.add_main(e.node.op_type == "QLinearAdd" ? "Add" : "Mul", {a, b});
  return quantize(e, y, e.in(6), e.in(7), e.in(0));
}

// ---- X, scale, zero point, scale and zero point of the result

Status pointwise(Expansion& e) {
  if (Status s = e.expect_inputs(4, 5); !s.ok()) return s;
  const bool leaky = e.node.op_type == "QLinearLeakyRelu";
  const std::string x = dequantize(e, 0);
  const std::string y =
      leaky ? e.add_main("LeakyRelu", {x}, {{"alpha", e.node.get_float("alpha", 0.01f)}}) : e.add_main("Sigmoid", {x});
  return quantize(e, y, e.in(3), e.in(4), e.in(0));
}

Status softmax(Expansion& e) {
  if (Status s = e.expect_inputs(5, 5); !s.ok()) return s;
  const bool flat = e.node.get_int("opset", 13) < 13;  // the axis and all behind it are one
  const int64_t axis = e.node.get_int("axis", flat ? 1 : -1);
  const std::optional<size_t> rank = e.rank(e.in(0));
  if (flat && axis != -1 && (!rank || axis != int64_t(*rank) - 1)) return e.fail("a softmax over several dimensions");
  const std::string y = e.add_main("Softmax", {dequantize(e, 0)}, {{"axis", axis}});
  return quantize(e, y, e.in(3), e.in(4), e.in(0));
}

Status average_pool(Expansion& e) {
  if (Status s = e.expect_inputs(4, 5); !s.ok()) return s;
  const bool last = e.node.get_int("channels_last", 0) != 0;
  const size_t rank = e.node.get_ints("kernel_shape").size() + 2;
  std::map<std::string, Attribute> attributes = e.node.attributes;
  attributes.erase("channels_last");
  std::string x = dequantize(e, 0);
  if (last) x = e.to_first(x, rank);
  std::string y = e.add_main("AveragePool", {x}, std::move(attributes));
  if (last) y = e.to_last(y, rank);
  return quantize(e, y, e.in(3), e.in(4), e.in(0));
}

Status global_average_pool(Expansion& e) {
  if (Status s = e.expect_inputs(5, 5); !s.ok()) return s;
  std::string x = dequantize(e, 0);
  if (e.node.get_int("channels_last", 0) == 0) return quantize(e, e.add_main("GlobalAveragePool", {x}), e.in(3), e.in(4), e.in(0));
  const std::optional<size_t> rank = e.rank(e.in(0));
  if (!rank || *rank < 3) return e.fail("channels_last with an input of unknown rank");
  const std::string y = e.add_main("GlobalAveragePool", {e.to_first(x, *rank)});
  return quantize(e, e.to_last(y, *rank), e.in(3), e.in(4), e.in(0));
}

Status reduce_mean(Expansion& e) {
  if (Status s = e.expect_inputs(4, 5); !s.ok()) return s;
  const std::string x = dequantize(e, 0);
  const std::vector<int64_t> axes = e.node.get_ints("axes");
  std::map<std::string, Attribute> attributes = {{"keepdims", e.node.get_int("keepdims", 1)}};
  std::vector<std::string> inputs = {x};
  if (e.opset() >= 18)
    inputs.push_back(e.ints(axes));
  else
    attributes["axes"] = axes;
  return quantize(e, e.add_main("ReduceMean", std::move(inputs), std::move(attributes)), e.in(3), e.in(4), e.in(0));
}

// ---- scale and zero point of the result, then X, scale, zero point, as often as there are inputs

Status concat(Expansion& e) {
  if (Status s = e.expect_inputs(5, 1 << 20); !s.ok()) return s;
  if (e.node.inputs.size() % 3 != 2) return e.fail("inputs are no triples");
  std::vector<std::string> inputs;
  for (size_t i = 2; i < e.node.inputs.size(); i += 3) inputs.push_back(dequantize(e, i));
  return quantize(e, e.add_main("Concat", std::move(inputs), {{"axis", e.node.get_int("axis", 0)}}), e.in(0), e.in(1), e.in(2));
}

// Elements are chosen, so bytes on the grid of the result are.
Status where(Expansion& e) {
  if (Status s = e.expect_inputs(9, 9); !s.ok()) return s;
  std::string x, y;
  if (Status s = quantize(e, dequantize(e, 1), e.in(7), e.in(8), e.in(1), &x); !s.ok()) return s;
  if (Status s = quantize(e, dequantize(e, 4), e.in(7), e.in(8), e.in(4), &y); !s.ok()) return s;
  e.add_main("Where", {e.in(0), x, y});
  e.finish();
  return {};
}

// ---- windows

Status conv(Expansion& e) {
  if (Status s = e.expect_inputs(8, 9); !s.ok()) return s;
  std::map<std::string, Attribute> attributes = e.node.attributes;
  attributes.erase("channels_last");
  const bool last = e.node.get_int("channels_last", 0) != 0;
  const std::optional<size_t> rank = e.rank(e.in(3));
  if (last && (!rank || *rank < 3)) return e.fail("channels_last with weights of unknown rank");
  std::vector<std::string> inputs = e.node.inputs;
  if (last) inputs[0] = e.to_first(inputs[0], *rank);
  const std::string y = e.add_main("QLinearConv", std::move(inputs), std::move(attributes));
  if (last) e.to_last(y, *rank);
  e.finish();
  return {};
}

Status nhwc_max_pool(Expansion& e) {
  if (Status s = e.expect_inputs(1, 1); !s.ok()) return s;
  const size_t rank = e.node.get_ints("kernel_shape").size() + 2;
  e.to_last(e.add_main("MaxPool", {e.to_first(e.in(0), rank)}, e.node.attributes), rank);
  e.finish();
  return {};
}

// ---- products

// The product of two scales, of which one may be that of each channel.
std::string product_of_scales(Expansion& e, const std::string& a, const std::string& b, float alpha) {
  const std::string scale = e.add("Mul", {a, b});
  return alpha == 1 ? scale : e.add("Mul", {scale, e.scalar(alpha)});
}

// A, scale, zero point, B, scale, zero point, C (s32 in units of the product's scale), scale and zero point of the result or
// none: then it is float.
Status gemm(Expansion& e) {
  if (Status s = e.expect_inputs(6, 9); !s.ok()) return s;
  const bool transposed = e.node.get_int("transB", 0) != 0;
  const float alpha = e.node.get_float("alpha", 1);
  const std::string a = dequantize(e, 0), b = dequantize(e, e.in(3), e.in(4), e.in(5), transposed ? 0 : 1);
  std::string c;
  if (e.has(6)) c = dequantize(e, e.in(6), product_of_scales(e, e.in(1), e.in(4), alpha), "", -1);
  const std::string y = e.add_main("Gemm", {a, b, c},
                                   {{"transA", e.node.get_int("transA", 0)}, {"transB", int64_t{transposed}}, {"alpha", alpha}});
  if (e.has(7)) return quantize(e, y, e.in(7), e.in(8), e.in(0));
  e.finish();
  return {};
}

// float(MatMulInteger(a, b)) * (a_scale * b_scale) + bias
Status scaled_product(Expansion& e, const std::string& a, const std::string& a_scale, const std::string& a_zero,
                      const std::string& b, const std::string& b_scale, const std::string& b_zero, const std::string& bias) {
  const std::string sums = e.add_main("MatMulInteger", {a, b, a_zero, b_zero});
  const std::string real = e.add("Cast", {sums}, {{"to", int64_t{1}}});
  const std::string y = e.add("Mul", {real, e.add("Mul", {a_scale, b_scale})});
  if (!bias.empty()) e.add("Add", {y, bias});
  e.finish();
  return {};
}

// A, B, scale of B, zero point of B, bias
Status dynamic_matmul(Expansion& e) {
  if (Status s = e.expect_inputs(3, 5); !s.ok()) return s;
  e.add("DynamicQuantizeLinear", {e.in(0)}, {}, 3);
  const std::vector<std::string> a = e.outputs();
  return scaled_product(e, a[0], a[1], a[2], e.in(1), e.in(2), e.in(3), e.in(4));
}

// A, B, scale of A, scale of B, zero point of A, zero point of B, bias
Status matmul_to_float(Expansion& e) {
  if (Status s = e.expect_inputs(4, 7); !s.ok()) return s;
  const bool known = e.constant(e.in(2)) && e.constant(e.in(3)) && (!e.has(4) || e.constant(e.in(4)));
  if (!known) return scaled_product(e, e.in(0), e.in(2), e.in(4), e.in(1), e.in(3), e.in(5), e.in(6));
  const std::string a = dequantize(e, e.in(0), e.in(2), e.in(4)), b = dequantize(e, e.in(1), e.in(3), e.in(5), -1);
  const std::string y = e.add_main("MatMul", {a, b});
  if (e.has(6)) e.add("Add", {y, e.in(6)});
  e.finish();
  return {};
}

// ---- DynamicQuantizeLSTM: X, W [directions][input][4 * hidden], R likewise, then as LSTM, then scales and zero points of W and
// R. X is made bytes and floats again, the weights stay bytes, and each direction is an LSTM of its own: compile() knows that
// form, and has bytes for the state too, as the operator has.

// A value [directions]... of one direction.
std::string direction_of(Expansion& e, size_t input, int64_t direction, int64_t directions) {
  if (directions == 1 || !e.has(input)) return e.in(input);
  return e.add("Gather", {e.in(input), e.ints({direction})}, {{"axis", int64_t{0}}});
}

// W or R of a direction as LSTM has it, [1][4 * hidden][n], behind DequantizeLinear.
std::string lstm_weights(Expansion& e, size_t at, size_t scale_at, int64_t direction) {
  const Tensor &w = *e.constant(e.in(at)), &scale = *e.constant(e.in(scale_at)), &zero = *e.constant(e.in(scale_at + 1));
  const int64_t directions = w.shape()[0], n = w.shape()[1], gates = w.shape()[2];
  const uint8_t* bytes = w.as<uint8_t>() + direction * n * gates;
  std::vector<uint8_t> turned;
  for (int64_t g = 0; g < gates; ++g)
    for (int64_t i = 0; i < n; ++i) turned.push_back(bytes[i * gates + g]);
  const int64_t count = scale.count() == directions * gates ? gates : 1, first = scale.count() == 1 ? 0 : direction * count;
  const std::vector<float> scales(scale.as<float>() + first, scale.as<float>() + first + count);
  const std::vector<uint8_t> zeros(zero.as<uint8_t>() + first, zero.as<uint8_t>() + first + count);
  const Shape shape = count == 1 ? Shape{} : Shape{count};
  return dequantize(e, e.constant("weights", Tensor::from(w.dtype(), {1, gates, n}, turned)),
                    e.constant("scale", Tensor::from(DType::f32, shape, scales)),
                    e.constant("zero_point", Tensor::from(w.dtype(), shape, zeros)), 1);
}

bool has_lstm_weights(const Expansion& e, size_t at, size_t scale_at) {
  const Tensor *w = e.constant(e.in(at)), *scale = e.constant(e.in(scale_at)), *zero = e.constant(e.in(scale_at + 1));
  const bool fits = w && scale && zero && is_8_bit(w->dtype()) && w->shape().size() == 3 && scale->dtype() == DType::f32 &&
                    zero->dtype() == w->dtype() && zero->count() == scale->count();
  const int64_t directions = fits ? w->shape()[0] : 0;
  return directions >= 1 && directions <= 2 &&
         (scale->count() == 1 || scale->count() == directions || scale->count() == directions * w->shape()[2]);
}

// Of a list with as much for each direction.
template <class T>
bool keep_direction(std::map<std::string, Attribute>& attributes, const char* name, size_t direction) {
  const auto it = attributes.find(name);
  if (it == attributes.end()) return true;
  auto* list = std::get_if<std::vector<T>>(&it->second);
  if (!list || list->size() % 2 != 0) return false;
  const auto half = list->begin() + ptrdiff_t(list->size() / 2);
  *list = direction == 0 ? std::vector<T>(list->begin(), half) : std::vector<T>(half, list->end());
  return true;
}

Status dynamic_lstm(Expansion& e) {
  if (e.node.inputs.size() != 12) return e.fail("it has not 12 inputs");
  if (!has_lstm_weights(e, 1, 8) || !has_lstm_weights(e, 2, 10))
    return e.fail("its weights, or their scales, are no constants of the shapes that are known");
  const int64_t directions = e.constant(e.in(1))->shape()[0];
  const bool both = e.node.get_string("direction", "forward") == "bidirectional";
  if (e.constant(e.in(2))->shape()[0] != directions || both != (directions == 2))
    return e.fail("its weights are not of its directions");
  e.add("DynamicQuantizeLinear", {e.in(0)}, {}, 3);
  const std::vector<std::string> q = e.outputs();
  const std::string x = dequantize(e, q[0], q[1], q[2]);
  std::vector<std::string> results[2];
  for (int64_t d = 0; d < directions; ++d) {
    std::vector<std::string> in = {x, lstm_weights(e, 1, 8, d), lstm_weights(e, 2, 10, d)};
    for (const size_t i : {3, 4, 5, 6, 7}) in.push_back(i == 4 ? e.in(i) : direction_of(e, i, d, directions));
    if (directions == 1) {
      e.replace("LSTM", std::move(in));
      return {};
    }
    std::map<std::string, Attribute> attributes = e.node.attributes;
    attributes["direction"] = std::string(d == 0 ? "forward" : "reverse");
    if (!keep_direction<std::string>(attributes, "activations", size_t(d)) ||
        !keep_direction<float>(attributes, "activation_alpha", size_t(d)) ||
        !keep_direction<float>(attributes, "activation_beta", size_t(d)))
      return e.fail("its activations are not as many for each direction");
    e.add("LSTM", std::move(in), std::move(attributes), 3);
    results[d] = e.outputs();
  }
  for (size_t o = 0; o < std::min<size_t>(e.node.outputs.size(), 3); ++o) {
    if (!e.output_used(o)) continue;
    e.add("Concat", {results[0][o], results[1][o]}, {{"axis", int64_t{o == 0 ? 1 : 0}}});
    e.finish(o);
  }
  return {};
}

constexpr Rule kRules[] = {
    {"QuantizeLinear", same_operator},
    {"DequantizeLinear", same_operator},
    {"QLinearAdd", binary},
    {"QLinearMul", binary},
    {"QLinearLeakyRelu", pointwise},
    {"QLinearSigmoid", pointwise},
    {"QLinearSoftmax", softmax},
    {"QLinearAveragePool", average_pool},
    {"QLinearGlobalAveragePool", global_average_pool},
    {"QLinearReduceMean", reduce_mean},
    {"QLinearConcat", concat},
    {"QLinearWhere", where},
    {"QLinearConv", conv},
    {"NhwcMaxPool", nhwc_max_pool},
    {"QGemm", gemm},
    {"DynamicQuantizeMatMul", dynamic_matmul},
    {"MatMulIntegerToFloat", matmul_to_float},
    {"DynamicQuantizeLSTM", dynamic_lstm},
};

}  // namespace

std::span<const Rule> quantized_rules() noexcept { return kRules; }

}  // namespace octavo::contrib
