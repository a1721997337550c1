// Operators that ONNX Runtime's optimizer makes of several standard ones, taken apart again.
#include <cmath>

#include "onnx/contrib.h"

namespace octavo::contrib {
namespace {

// ---- activations

Status activate(Expansion& e, const std::string& x, const std::string& activation, const std::vector<float>& p) {
  const auto parameter = [&](size_t i, float fallback) { return i < p.size() ? p[i] : fallback; };
  if (activation == "Relu" || activation == "Tanh" || activation == "Sigmoid")
    e.add(activation.c_str(), {x});
  else if (activation == "LeakyRelu")
    e.add("LeakyRelu", {x}, {{"alpha", parameter(0, 0.01f)}});
  else if (activation == "HardSigmoid")
    e.add("HardSigmoid", {x}, {{"alpha", parameter(0, 0.2f)}, {"beta", parameter(1, 0.5f)}});
  else if (activation == "Clip" && p.size() == 2)
    e.add("Clip", {x, e.scalar(p[0]), e.scalar(p[1])});
  else if (!activation.empty())
    return e.fail(("activation '" + activation + "' is not known").c_str());
  return {};
}

// X, W, bias, what is added before the activation
Status conv(Expansion& e) {
  if (Status s = e.expect_inputs(2, 4); !s.ok()) return s;
  std::map<std::string, Attribute> attributes = e.node.attributes;
  attributes.erase("activation");
  attributes.erase("activation_params");
  std::string y = e.add_main("Conv", {e.in(0), e.in(1), e.in(2)}, std::move(attributes));
  if (e.has(3)) y = e.add("Add", {y, e.in(3)});
  const Attribute* params = e.node.has("activation_params") ? &e.node.attributes.at("activation_params") : nullptr;
  const auto* floats = params ? std::get_if<std::vector<float>>(params) : nullptr;
  if (Status s = activate(e, y, e.node.get_string("activation", ""), floats ? *floats : std::vector<float>()); !s.ok()) return s;
  e.finish();
  return {};
}

Status gemm(Expansion& e) {
  if (Status s = e.expect_inputs(2, 3); !s.ok()) return s;
  std::map<std::string, Attribute> attributes;
  for (const auto& [name, value] : e.node.attributes)
    if (name.rfind("activation", 0) != 0) attributes[name] = value;
  const std::string y = e.add_main("Gemm", e.node.inputs, std::move(attributes));
  std::vector<float> p;
  if (e.node.has("activation_alpha")) p.push_back(e.node.get_float("activation_alpha", 0));
  if (e.node.has("activation_beta")) p.push_back(e.node.get_float("activation_beta", 0));
  if (Status s = activate(e, y, e.node.get_string("activation", ""), p); !s.ok()) return s;
  e.finish();
  return {};
}

// The operand of FusedMatMul: [.., m, k] with its last two dimensions swapped, and with `batch` its leading ones moved behind the
// first of the matrix: [m, .., k].
Status operand(Expansion& e, size_t i, const char* swap, const char* batch, std::string& x) {
  x = e.in(i);
  const bool swaps = e.node.get_int(swap, 0) != 0, moves = e.node.get_int(batch, 0) != 0;
  if (!swaps && !moves) return {};
  const std::optional<size_t> rank = e.rank(x);
  if (!rank) return e.fail("it transposes an operand of unknown rank");
  if (*rank < 2) return {};  // of a vector nothing is transposed
  std::vector<int64_t> perm;
  if (moves) {  // the matrix's rows come first: [m, batch.., k]
    for (size_t d = 1; d + 1 < *rank; ++d) perm.push_back(int64_t(d));
    perm.push_back(0);
  } else {
    for (size_t d = 0; d + 1 < *rank; ++d) perm.push_back(int64_t(d));
  }
  perm.push_back(int64_t(*rank) - 1);
  if (swaps) std::swap(perm[*rank - 1], perm[*rank - 2]);
  x = e.transpose(x, std::move(perm));
  return {};
}

Status matmul(Expansion& e) {
  if (Status s = e.expect_inputs(2, 2); !s.ok()) return s;
  std::string a, b;
  if (Status s = operand(e, 0, "transA", "transBatchA", a); !s.ok()) return s;
  if (Status s = operand(e, 1, "transB", "transBatchB", b); !s.ok()) return s;
  const std::string y = e.add_main("MatMul", {a, b});
  if (const float alpha = e.node.get_float("alpha", 1); alpha != 1) e.add("Mul", {y, e.scalar(alpha)});
  e.finish();
  return {};
}

// ---- Gelu and its forms

// x / 2 * (1 + erf(x / sqrt 2)); ONNX has Gelu from opset 20 on.
void gelu(Expansion& e, const std::string& x) {
  if (e.opset() >= 20) {
    e.add_main("Gelu", {x});
  } else {
    const std::string erf = e.add("Erf", {e.add("Mul", {x, e.scalar(float(std::sqrt(0.5)))})});
    const std::string twice = e.add("Mul", {x, e.add("Add", {erf, e.scalar(1)})});
    e.add_main("Mul", {twice, e.scalar(0.5f)});
  }
  e.finish();
}

// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
void gelu_by_tanh(Expansion& e, const std::string& x) {
  if (e.opset() >= 20) {
    e.add_main("Gelu", {x}, {{"approximate", std::string("tanh")}});
  } else {
    const std::string cube = e.add("Mul", {e.add("Mul", {x, x}), x});
    const std::string inner = e.add("Add", {x, e.add("Mul", {cube, e.scalar(0.044715f)})});
    const std::string tanh = e.add("Tanh", {e.add("Mul", {inner, e.scalar(0.7978845608f)})});
    const std::string twice = e.add("Mul", {x, e.add("Add", {tanh, e.scalar(1)})});
    e.add_main("Mul", {twice, e.scalar(0.5f)});
  }
  e.finish();
}

Status plain_gelu(Expansion& e) {
  if (Status s = e.expect_inputs(1, 1); !s.ok()) return s;
  gelu(e, e.in(0));
  return {};
}

Status bias_gelu(Expansion& e) {
  if (Status s = e.expect_inputs(2, 2); !s.ok()) return s;
  gelu(e, e.add("Add", {e.in(0), e.in(1)}));
  return {};
}

Status fast_gelu(Expansion& e) {
  if (Status s = e.expect_inputs(1, 2); !s.ok()) return s;
  gelu_by_tanh(e, e.has(1) ? e.add("Add", {e.in(0), e.in(1)}) : e.in(0));
  return {};
}

// x * sigmoid(alpha * x)
Status quick_gelu(Expansion& e) {
  if (Status s = e.expect_inputs(1, 1); !s.ok()) return s;
  const std::string scaled = e.add("Mul", {e.in(0), e.scalar(e.node.get_float("alpha", 1.702f))});
  e.add_main("Mul", {e.in(0), e.add("Sigmoid", {scaled})});
  e.finish();
  return {};
}

// ---- normalizations of the last dimension

// x / sqrt(mean(x^2) + epsilon) * gamma; ONNX has RMSNormalization from opset 23 on.
void normalize_by_rms(Expansion& e, const std::string& x, const std::string& gamma, float epsilon) {
  if (e.opset() >= 23) {
    e.add_main("RMSNormalization", {x, gamma}, {{"axis", int64_t{-1}}, {"epsilon", epsilon}});
  } else {
    std::vector<std::string> inputs = {e.add("Mul", {x, x})};
    std::map<std::string, Attribute> attributes;
    if (e.opset() >= 18)
      inputs.push_back(e.ints({-1}));
    else
      attributes["axes"] = std::vector<int64_t>{-1};
    const std::string mean = e.add("ReduceMean", std::move(inputs), std::move(attributes));
    const std::string root = e.add("Sqrt", {e.add("Add", {mean, e.scalar(epsilon)})});
    e.add_main("Mul", {e.add("Div", {x, root}), gamma});
  }
  e.finish();
}

void normalize(Expansion& e, const std::string& x, const std::string& gamma, const std::string& beta, float epsilon) {
  e.add_main("LayerNormalization", {x, gamma, beta}, {{"axis", int64_t{-1}}, {"epsilon", epsilon}});
  e.finish();
}

// input + skip [+ bias], which is also output 3, normalized.
Status skip_layer_norm(Expansion& e) {
  const bool rms = e.node.op_type == "SkipSimplifiedLayerNormalization";
  const size_t bias = rms ? 3 : 4;
  if (Status s = e.expect_inputs(3, bias + 1); !s.ok()) return s;
  if (e.output_used(1) || e.output_used(2)) return e.fail("its mean or deviation is used");
  std::string sum = e.add("Add", {e.in(0), e.in(1)});
  if (e.has(bias)) sum = e.add("Add", {sum, e.in(bias)});
  if (e.output_used(3)) {
    e.finish(3);
    sum = e.node.outputs[3];
  }
  const float epsilon = e.node.get_float("epsilon", 1e-12f);
  if (rms)
    normalize_by_rms(e, sum, e.in(2), epsilon);
  else
    normalize(e, sum, e.in(2), e.in(3), epsilon);
  return {};
}

// ids, segments, tables of words, positions and segments, gamma, beta, mask, positions
Status embed(Expansion& e) {
  if (Status s = e.expect_inputs(7, 9); !s.ok()) return s;
  if (!e.has(5) || !e.has(6) || e.has(1) != e.has(4)) return e.fail("its normalization has no weights, or segments no table");
  std::string positions;
  if (e.has(8)) {
    positions = e.add("Gather", {e.in(3), e.in(8)}, {{"axis", int64_t{0}}});
  } else {  // the first rows of the table
    const std::string length = e.add("Gather", {e.add("Shape", {e.in(0)}), e.ints({1})}, {{"axis", int64_t{0}}});
    positions = e.add("Slice", {e.in(3), e.ints({0}), length, e.ints({0})});
  }
  std::string sum = e.add("Add", {e.add("Gather", {e.in(2), e.in(0)}, {{"axis", int64_t{0}}}), positions});
  if (e.has(1)) sum = e.add("Add", {sum, e.add("Gather", {e.in(4), e.in(1)}, {{"axis", int64_t{0}}})});
  if (e.output_used(2)) {
    e.finish(2);
    sum = e.node.outputs[2];
  }
  if (e.output_used(1)) {  // how many tokens of each sequence are real; 0 without a mask
    const auto number = [&](int32_t v) { return e.constant("number", Tensor::from(DType::s32, {}, std::vector<int32_t>{v})); };
    const std::string ones = e.has(7) ? e.add("Cast", {e.add("Equal", {e.in(7), number(1)})}, {{"to", int64_t{6}}})
                                      : e.add("Mul", {e.in(0), number(0)});
    e.add("ReduceSum", {ones, e.ints({1})}, {{"keepdims", int64_t{0}}});
    e.finish(1);
  }
  normalize(e, sum, e.in(5), e.in(6), e.node.get_float("epsilon", 1e-12f));
  return {};
}

constexpr Rule kRules[] = {
    {"FusedConv", conv},
    {"FusedGemm", gemm},
    {"FusedMatMul", matmul},
    {"TransposeMatMul", matmul},  // its older name
    {"Gelu", plain_gelu},
    {"BiasGelu", bias_gelu},
    {"FastGelu", fast_gelu},
    {"QuickGelu", quick_gelu},
    {"SkipLayerNormalization", skip_layer_norm},
    {"SkipSimplifiedLayerNormalization", skip_layer_norm},
    {"EmbedLayerNormalization", embed},
};

}  // namespace

std::span<const Rule> fused_rules() noexcept { return kRules; }

}  // namespace octavo::contrib
