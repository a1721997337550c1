// prepare -> calibrate -> convert on small graphs: exact node lists, shared parameters, rules, errors, older opsets.
// (calibrate runs std::threads, so ThreadSanitizer runs this as well.)
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "octavo/onnx.h"
#include "octavo/quantize.h"
#include "graph_test_util.h"

namespace octavo {
namespace {

using Names = std::vector<std::string>;
using Sample = std::map<std::string, Tensor>;

Tensor ints(const std::vector<int64_t>& v) { return Tensor::from(DType::s64, {int64_t(v.size())}, v); }
Tensor floats(const std::vector<float>& v) { return Tensor::from(DType::f32, {int64_t(v.size())}, v); }

// A graph under construction: the input "x" is [N,4,8,8] unless told otherwise; weights are called <node>.w and <node>.b.
struct Builder {
  Graph graph;
  uint64_t seed = 1;

  explicit Builder(Shape input = {-1, 4, 8, 8}) {
    ValueInfo x{"x", DType::f32, {}, true};
    for (int64_t d : input) x.dims.push_back({d, d < 0 ? "N" : ""});
    graph.inputs.push_back(x);
  }
  std::string conv(const std::string& name, const std::string& x, int64_t ic = 4, int64_t oc = 4) {
    graph.add_initializer(name + ".w", noise({oc, ic, 3, 3}, seed++));
    graph.add_initializer(name + ".b", noise({oc}, seed++));
    return graph.add_node("Conv", name, {x, name + ".w", name + ".b"}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  }
  std::string gemm(const std::string& name, const std::string& x, int64_t k, int64_t n) {
    graph.add_initializer(name + ".w", noise({k, n}, seed++));
    graph.add_initializer(name + ".b", noise({n}, seed++));
    return graph.add_node("Gemm", name, {x, name + ".w", name + ".b"});
  }
  std::string op(const char* type, const std::string& name, Names inputs, std::map<std::string, Attribute> attributes = {}) {
    return graph.add_node(type, name, std::move(inputs), std::move(attributes));
  }
  std::string max_pool(const std::string& name, const std::string& x) {
    return op("MaxPool", name, {x}, {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  }
  Graph done(const Names& outputs) {
    for (const std::string& name : outputs) graph.outputs.push_back({name, DType::f32, {}, false});
    return graph;
  }
};

std::vector<Sample> samples_for(const Graph& graph, size_t count = 3) {
  std::vector<Sample> samples;
  for (size_t i = 0; i < count; ++i) {
    Sample sample;
    for (const ValueInfo& input : graph.inputs) {
      Shape shape;
      for (const Dim& d : input.dims) shape.push_back(d.size < 0 ? 1 + int64_t(i) % 2 : d.size);
      sample[input.name] = noise(shape, 100 + i);
    }
    samples.push_back(sample);
  }
  return samples;
}

Recipe x86() { return *Recipe::preset("x86_static"); }

Prepared prepared(const Graph& graph, const Recipe& recipe = x86()) {
  Expected<Prepared> p = prepare(graph, recipe);
  EXPECT_TRUE(p) << p.status().text();
  return *std::move(p);
}

Graph quantized(const Graph& graph, const Recipe& recipe = x86(), int threads = 1) {
  Prepared p = prepared(graph, recipe);
  const Status s = calibrate(p, samples_for(graph), threads);
  EXPECT_TRUE(s.ok()) << s.text();
  Expected<Graph> q = convert(p);
  EXPECT_TRUE(q) << q.status().text();
  return q ? *std::move(q) : Graph();
}

// The computing nodes with the activations that they read and write, without the DequantizeLinear of constants.
Names structure(const Graph& graph) {
  Names lines;
  for (const Node& node : graph.nodes) {
    if (node.op_type == "DequantizeLinear" && graph.initializers.count(node.inputs[0])) continue;
    std::string line = node.op_type;
    for (const std::string& input : node.inputs) {
      const bool constant = graph.initializers.count(input) || input.find(".w_") != input.npos || input.find(".b_") != input.npos;
      if (!constant && !input.empty()) line += " " + input;
    }
    lines.push_back(line + " -> " + node.outputs[0]);
  }
  return lines;
}

QParams params_of(const Graph& graph, const std::string& value) {
  const Tensor& zero = graph.initializers.at(value + "_zero_point");
  return {*graph.initializers.at(value + "_scale").as<float>(),
          zero.dtype() == DType::s8 ? *zero.as<int8_t>() : *zero.as<uint8_t>()};
}

std::string reason(const Prepared& p, const std::string& node) {
  for (const Annotation& a : p.annotations())
    if (a.node == node) return a.quantized ? "quantized" : a.reason;
  return "no such node";
}

// Signal to noise of the quantized graph's first output against the float graph's, in dB.
double sqnr(const Graph& graph, const Graph& q) {
  Expected<Session> reference = Session::create(graph), session = Session::create(q);
  EXPECT_TRUE(reference) << reference.status().text();
  EXPECT_TRUE(session) << session.status().text();
  if (!reference || !session) return 0;
  double signal = 0, error = 0;
  for (const Sample& sample : samples_for(graph)) {
    const auto a = reference->run(sample), b = session->run(sample);
    EXPECT_TRUE(a) << a.status().text();
    EXPECT_TRUE(b) << b.status().text();
    if (!a || !b) return 0;
    EXPECT_EQ((*a)[0].shape(), (*b)[0].shape());
    for (int64_t i = 0; i < (*a)[0].count(); ++i) {
      const double x = double((*a)[0].as<float>()[i]), y = double((*b)[0].as<float>()[i]);
      signal += x * x;
      error += (x - y) * (x - y);
    }
  }
  return 10 * std::log10(signal / error);
}

// ---- regions --------------------------------------------------------------------------------------------------------------

TEST(Quantize, ConvReluConvQuantizesAtTheBoundariesOnly) {
  Builder b;
  const Graph graph = b.done({b.conv("conv2", b.op("Relu", "relu1", {b.conv("conv1", "x")}))});
  const Graph q = quantized(graph);
  EXPECT_EQ(structure(q), (Names{"QuantizeLinear x -> x_quantized", "DequantizeLinear x_quantized -> x_dequantized",
                                 "Conv x_dequantized -> conv1", "Relu conv1 -> relu1", "QuantizeLinear relu1 -> relu1_quantized",
                                 "DequantizeLinear relu1_quantized -> relu1_dequantized",
                                 "Conv relu1_dequantized -> conv2"}));  // the graph's output stays float
  EXPECT_GT(sqnr(graph, q), 30);
}

TEST(Quantize, WeightsAndBiasesAreIntegersBehindDequantizeLinear) {
  Builder b;
  const Graph graph = b.done({b.conv("conv1", "x")});
  const Graph q = quantized(graph);
  const Tensor& w = q.initializers.at("conv1.w_quantized");
  const Tensor& bias = q.initializers.at("conv1.b_quantized");
  EXPECT_EQ(w.dtype(), DType::s8);
  EXPECT_EQ(w.shape(), (Shape{4, 4, 3, 3}));
  EXPECT_EQ(bias.dtype(), DType::s32);
  const Tensor& w_scale = q.initializers.at("conv1.w_scale");
  const Tensor& b_scale = q.initializers.at("conv1.b_scale");
  ASSERT_EQ(w_scale.shape(), (Shape{4}));
  ASSERT_EQ(b_scale.shape(), (Shape{4}));
  const float* real = graph.initializers.at("conv1.w").as<float>();
  for (int j = 0; j < 4; ++j) {
    const float largest = std::fabs(
        *std::max_element(real + j * 36, real + j * 36 + 36, [](float a, float c) { return std::fabs(a) < std::fabs(c); }));
    EXPECT_FLOAT_EQ(w_scale.as<float>()[j], largest / 127);
    EXPECT_EQ(b_scale.as<float>()[j], params_of(q, "x").scale * w_scale.as<float>()[j]);
    for (int k = 0; k < 36; ++k)
      EXPECT_EQ(w.as<int8_t>()[j * 36 + k], int(std::nearbyint(real[j * 36 + k] / w_scale.as<float>()[j])));
    const double bias_q = double(graph.initializers.at("conv1.b").as<float>()[j]) / double(b_scale.as<float>()[j]);
    EXPECT_EQ(bias.as<int32_t>()[j], int32_t(std::nearbyint(bias_q)));
  }
  EXPECT_FALSE(q.initializers.count("conv1.w"));
  EXPECT_FALSE(q.initializers.count("conv1.b"));
  const auto dq = std::find_if(q.nodes.begin(), q.nodes.end(), [](const Node& n) { return n.inputs[0] == "conv1.w_quantized"; });
  ASSERT_NE(dq, q.nodes.end());
  EXPECT_EQ(dq->get_int("axis", 1), 0);
}

TEST(Quantize, ResidualRegionIsLeftWholeAndItsOtherInputQuantized) {
  Builder b;
  const std::string r = b.op("Relu", "relu1", {b.conv("conv1", "x")});
  const std::string sum = b.op("Add", "add", {r, b.conv("conv2", r)});
  const Graph graph = b.done({b.conv("conv3", b.op("Relu", "relu2", {sum}))});
  const Graph q = quantized(graph);
  EXPECT_EQ(structure(q),
            (Names{"QuantizeLinear x -> x_quantized", "DequantizeLinear x_quantized -> x_dequantized",
                   "Conv x_dequantized -> conv1", "Relu conv1 -> relu1", "QuantizeLinear relu1 -> relu1_quantized",
                   "DequantizeLinear relu1_quantized -> relu1_dequantized", "Conv relu1_dequantized -> conv2",
                   "DequantizeLinear relu1_quantized -> relu1_dequantized_1", "Add relu1_dequantized_1 conv2 -> add",
                   "Relu add -> relu2", "QuantizeLinear relu2 -> relu2_quantized",
                   "DequantizeLinear relu2_quantized -> relu2_dequantized", "Conv relu2_dequantized -> conv3"}));
  EXPECT_GT(sqnr(graph, q), 30);
}

TEST(Quantize, OfTwoConvolutionsThatMeetTheLaterTakesTheAdd) {
  Builder b;
  const std::string first = b.conv("first", "x"), second = b.conv("second", "x");
  const Graph graph = b.done({b.conv("last", b.op("Add", "add", {second, first}))});
  const Graph q = quantized(graph);
  EXPECT_EQ(structure(q), (Names{"QuantizeLinear x -> x_quantized", "DequantizeLinear x_quantized -> x_dequantized",
                                 "Conv x_dequantized -> first", "QuantizeLinear first -> first_quantized",
                                 "DequantizeLinear x_quantized -> x_dequantized_1", "Conv x_dequantized_1 -> second",
                                 "DequantizeLinear first_quantized -> first_dequantized", "Add second first_dequantized -> add",
                                 "QuantizeLinear add -> add_quantized", "DequantizeLinear add_quantized -> add_dequantized",
                                 "Conv add_dequantized -> last"}));
  EXPECT_GT(sqnr(graph, q), 30);
}

TEST(Quantize, AddOfAConvolutionThatOthersReadIsAQuantizedAdd) {
  Builder b;
  const std::string c1 = b.conv("c1", "x"), c2 = b.conv("c2", c1);
  const std::string pool1 = b.max_pool("pool1", c1), pool2 = b.max_pool("pool2", c2);
  const Graph graph = b.done({b.conv("c3", b.op("Relu", "relu", {b.op("Sum", "sum", {pool1, pool2})}))});
  const Graph q = quantized(graph);
  const Names s = structure(q);
  const auto sum = std::find(s.begin(), s.end(), "Sum pool1_dequantized pool2_dequantized -> sum");
  ASSERT_NE(sum, s.end());
  EXPECT_EQ(*(sum + 1), "Relu sum -> relu");
  EXPECT_EQ(*(sum + 2), "QuantizeLinear relu -> relu_quantized");
  EXPECT_EQ(params_of(q, "pool1"), params_of(q, "c1"));
  EXPECT_GT(sqnr(graph, q), 25);
}

TEST(Quantize, BroadcastAddIsAQuantizedAdd) {
  Builder b;
  const std::string c1 = b.conv("c1", "x");
  const std::string gate = b.op("GlobalAveragePool", "gap", {c1});
  const Graph graph = b.done({b.conv("c2", b.op("Add", "add", {gate, c1}))});
  const Prepared p = prepared(graph);
  EXPECT_EQ(reason(p, "add"), "quantized");
  EXPECT_GT(sqnr(graph, quantized(graph)), 30);
}

TEST(Quantize, ResidualOfAFloatResultStaysFloat) {
  // Transformers: the sum goes to a normalization in float, where an 8-bit residual stream costs accuracy.
  Builder b({2, 3, 8});
  b.graph.add_initializer("fc1.w", noise({8, 8}, 1));
  b.graph.add_initializer("fc1.b", noise({8}, 2));
  const std::string product = b.op("MatMul", "fc1", {"x", "fc1.w"});
  const std::string biased = b.op("Add", "bias1", {"fc1.b", product});
  const Graph graph = b.done({b.op("Tanh", "tanh", {b.op("Add", "residual", {biased, "x"})})});
  const Graph q = quantized(graph);
  EXPECT_EQ(structure(q),
            (Names{"QuantizeLinear x -> x_quantized", "DequantizeLinear x_quantized -> x_dequantized",
                   "MatMul x_dequantized -> fc1", "Add fc1 -> bias1", "DequantizeLinear x_quantized -> x_dequantized_1",
                   "Add bias1 x_dequantized_1 -> residual", "Tanh residual -> tanh"}));
  const auto dq = std::find_if(q.nodes.begin(), q.nodes.end(), [](const Node& n) { return n.inputs[0] == "fc1.w_quantized"; });
  ASSERT_NE(dq, q.nodes.end());
  EXPECT_EQ(dq->get_int("axis", 0), 1);  // MatMul's output channels are the last axis
  EXPECT_GT(sqnr(graph, q), 30);
}

// ---- propagation ----------------------------------------------------------------------------------------------------------

TEST(Quantize, MoversAndMaxPoolShareParametersAveragePoolHasItsOwn) {
  Builder b;
  std::string v = b.max_pool("pool", b.conv("c1", "x"));
  v = b.op("Transpose", "t", {v}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
  b.graph.add_initializer("pads", ints({0, 0, 1, 1, 0, 0, 1, 1}));
  v = b.op("Pad", "pad", {v, "pads"});
  v = b.op("AveragePool", "avg", {v}, {{"kernel_shape", std::vector<int64_t>{6, 6}}});
  v = b.op("Flatten", "flat", {v});
  const Graph graph = b.done({b.gemm("fc", v, 4, 3)});
  const Prepared p = prepared(graph);
  EXPECT_EQ(p.observed_values(), (Names{"x", "c1", "avg"}));
  const Graph q = quantized(graph);
  for (const char* name : {"pool", "t", "pad"}) EXPECT_EQ(params_of(q, name), params_of(q, "c1")) << name;
  EXPECT_EQ(params_of(q, "flat"), params_of(q, "avg"));
  EXPECT_LT(params_of(q, "avg").scale, params_of(q, "c1").scale);
  EXPECT_GT(sqnr(graph, q), 25);
}

TEST(Quantize, ConcatJoinsTheRangesOfItsInputs) {
  Builder b;
  const std::string c1 = b.conv("c1", "x"), c2 = b.conv("c2", "x");
  b.graph.initializers["c2.w"] = noise({4, 4, 3, 3}, 50, 10);
  const Graph graph = b.done({b.conv("c3", b.op("Concat", "cat", {c1, c2}, {{"axis", int64_t(1)}}), 8)});
  Recipe min_max = *Recipe::from_json(R"({"rules": [{"global": true, "config": {"activation": {"observer": "min_max"}}}]})");
  const Graph q = quantized(graph, min_max);
  EXPECT_EQ(params_of(q, "c1"), params_of(q, "cat"));
  EXPECT_EQ(params_of(q, "c2"), params_of(q, "cat"));
  EXPECT_GT(sqnr(graph, q), 30);
}

TEST(Quantize, ChainedConcatsKeepTheirOwnRanges) {
  Builder b;
  const std::string c1 = b.conv("c1", "x"), c2 = b.conv("c2", "x"), c3 = b.conv("c3", "x");
  b.graph.initializers["c3.w"] = noise({4, 4, 3, 3}, 50, 100);
  const std::string inner = b.op("Concat", "inner", {c1, c2}, {{"axis", int64_t(1)}});
  const std::string outer = b.op("Concat", "outer", {inner, c3}, {{"axis", int64_t(1)}});
  const Graph graph = b.done({b.conv("c4", inner, 8), b.conv("c5", outer, 12)});
  const Graph q = quantized(graph);
  EXPECT_EQ(params_of(q, "c1"), params_of(q, "inner"));
  EXPECT_EQ(params_of(q, "c3"), params_of(q, "outer"));
  EXPECT_GT(params_of(q, "outer").scale, 10 * params_of(q, "inner").scale);
  EXPECT_GT(sqnr(graph, q), 30);
}

TEST(Quantize, WhatLeadsToOutputsOnlyStaysFloat) {
  Builder b;
  const std::string c = b.conv("c1", "x");
  const std::string gap = b.op("GlobalAveragePool", "gap", {c});
  const Graph graph = b.done({b.op("Softmax", "softmax", {b.op("Flatten", "flat", {gap})})});
  const Prepared p = prepared(graph);
  EXPECT_EQ(p.observed_values(), (Names{"x"}));
  EXPECT_EQ(reason(p, "c1"), "quantized");
  EXPECT_EQ(reason(p, "gap"), "no int8 node follows");
  EXPECT_EQ(reason(p, "flat"), "input 'gap' is computed in float");
  EXPECT_EQ(reason(p, "softmax"), "its result is used in float only");
}

TEST(Quantize, AValueThatIsAlsoAGraphOutputStaysFloatThere) {
  Builder b;
  const std::string c1 = b.conv("c1", "x");
  const Graph graph = b.done({c1, b.conv("c2", c1)});
  const Graph q = quantized(graph);
  EXPECT_EQ(q.outputs[0].name, "c1");
  EXPECT_EQ(structure(q)[2], "Conv x_dequantized -> c1");
  EXPECT_EQ(structure(q)[3], "QuantizeLinear c1 -> c1_quantized");
  EXPECT_GT(sqnr(graph, q), 30);
}

TEST(Quantize, FloatConsumersReadTheDequantizedValue) {
  Builder b;
  const std::string c1 = b.conv("c1", "x");
  const Graph graph = b.done({b.conv("c2", c1), b.op("Sigmoid", "s", {c1})});
  const Names s = structure(quantized(graph));
  EXPECT_NE(std::find(s.begin(), s.end(), "Sigmoid c1_dequantized_1 -> s"), s.end());
}

TEST(Quantize, BatchNormIsFolded) {
  Builder b;
  const std::string c1 = b.conv("c1", "x");
  for (const char* name : {"gamma", "beta", "mean"}) b.graph.add_initializer(name, noise({4}, b.seed++));
  b.graph.add_initializer("var", floats({1, 2, 3, 4}));
  const Graph graph = b.done({b.op("Relu", "relu", {b.op("BatchNormalization", "bn", {c1, "gamma", "beta", "mean", "var"})})});
  const Prepared p = prepared(graph);
  ASSERT_EQ(p.graph().nodes.size(), 2u);
  EXPECT_EQ(p.graph().nodes[0].op_type, "Conv");
  EXPECT_EQ(p.graph().nodes[1].op_type, "Relu");
  EXPECT_GT(sqnr(graph, quantized(graph)), 30);
}

// ---- recipes --------------------------------------------------------------------------------------------------------------

TEST(Quantize, NoneIsHonoured) {
  Builder b;
  const std::string c1 = b.conv("c1", "x");
  const Graph graph = b.done({b.conv("c3", b.op("Relu", "relu", {b.conv("c2", b.op("Relu", "relu1", {c1}))}))});
  Recipe recipe = x86();
  recipe.set_node_name("c2", std::nullopt).set_op_type("Relu", std::nullopt);
  const Prepared p = prepared(graph, recipe);
  EXPECT_EQ(reason(p, "c2"), "the recipe keeps it in float");
  EXPECT_EQ(reason(p, "relu1"), "the recipe keeps it in float");
  EXPECT_EQ(structure(quantized(graph, recipe)),
            (Names{"QuantizeLinear x -> x_quantized", "DequantizeLinear x_quantized -> x_dequantized", "Conv x_dequantized -> c1",
                   "Relu c1 -> relu1", "Conv relu1 -> c2", "Relu c2 -> relu", "QuantizeLinear relu -> relu_quantized",
                   "DequantizeLinear relu_quantized -> relu_dequantized", "Conv relu_dequantized -> c3"}));
}

TEST(Quantize, ANonedAddSplitsTheRegion) {
  Builder b;
  const Graph graph = b.done({b.conv("c2", b.op("Add", "add", {b.conv("c1", "x"), "x"}))});
  Recipe recipe = x86();
  recipe.set_op_type("Add", std::nullopt);
  EXPECT_EQ(structure(quantized(graph, recipe))[3], "Add c1 x -> add");
}

TEST(Quantize, ArmRecipeHasSignedActivations) {
  Builder b;
  const Graph graph = b.done({b.conv("c2", b.op("Relu", "r", {b.conv("c1", "x")}))});
  const Graph q = quantized(graph, *Recipe::preset("arm_static"));
  EXPECT_EQ(q.initializers.at("r_zero_point").dtype(), DType::s8);
  EXPECT_EQ(params_of(q, "r").zero_point, -128);
  EXPECT_GT(sqnr(graph, q), 30);
}

TEST(Quantize, PerTensorWeights) {
  Builder b;
  const Graph graph = b.done({b.conv("c1", "x")});
  const Graph q = quantized(graph, *Recipe::from_json(R"({"base": "x86_static", "rules": [
      {"global": true, "config": {"weight": {"per_channel": false}}}]})"));
  EXPECT_EQ(q.initializers.at("c1.w_scale").shape(), Shape{});
  EXPECT_EQ(q.initializers.at("c1.b_scale").shape(), Shape{});
  EXPECT_GT(sqnr(graph, q), 30);
}

// What PyTorch's ArmInductorQuantizer makes: activations s8, affine; weights s8, symmetric, one scale, all of [-128, 127].
TEST(Quantize, ArmRecipeInPyTorchsNumbers) {
  Builder b;
  const Graph graph = b.done({b.conv("c2", b.op("Relu", "r", {b.conv("c1", "x")}))});
  const Graph q = quantized(graph, *Recipe::from_json(R"({"base": "arm_static", "rules": [{"global": true, "config": {
      "activation": {"observer": "min_max"}, "weight": {"per_channel": false, "narrow": false, "eps": 0.000244140625}}}]})"));

  float lo = 0, hi = 0, most = 0;
  for (const Sample& sample : samples_for(graph)) {
    const Tensor& x = sample.at("x");
    lo = std::min(lo, *std::min_element(x.as<float>(), x.as<float>() + x.count()));
    hi = std::max(hi, *std::max_element(x.as<float>(), x.as<float>() + x.count()));
  }
  const float scale = float((double(hi) - double(lo)) / 255);
  EXPECT_EQ(params_of(q, "x").scale, scale);
  EXPECT_EQ(params_of(q, "x").zero_point, -128 - int(std::nearbyint(lo / scale)));

  const Tensor &w = graph.initializers.at("c1.w"), &w_q = q.initializers.at("c1.w_quantized");
  for (int64_t i = 0; i < w.count(); ++i) most = std::max(most, std::abs(w.as<float>()[i]));
  const float w_scale = *q.initializers.at("c1.w_scale").as<float>();
  EXPECT_EQ(q.initializers.at("c1.w_scale").count(), 1);
  EXPECT_EQ(w_scale, float(double(most) / 127.5));
  ASSERT_EQ(w_q.dtype(), DType::s8);
  for (int64_t i = 0; i < w.count(); ++i)
    EXPECT_EQ(int(w_q.as<int8_t>()[i]), std::clamp(int(std::nearbyint(w.as<float>()[i] / w_scale)), -128, 127)) << i;
  EXPECT_GT(sqnr(graph, q), 30);
}

TEST(Quantize, ReasonsForLinearNodes) {
  Builder b({2, 8});
  b.graph.inputs.push_back({"y", DType::f32, {{8, ""}, {8, ""}}, true});
  b.graph.add_initializer("w", noise({8, 8}, 1));
  b.graph.add_initializer("nan", floats({std::numeric_limits<float>::quiet_NaN()}).reshaped({1, 1}));
  b.graph.add_initializer("scalar", Tensor::from(DType::f32, {}, std::vector<float>{1}));
  const Graph graph =
      b.done({b.op("MatMul", "dynamic", {"x", "y"}), b.op("Gemm", "transposed", {"y", "w"}, {{"transA", int64_t(1)}}),
              b.op("Gemm", "scaled", {"x", "w"}, {{"alpha", 0.5f}}), b.op("Gemm", "odd_bias", {"x", "w", "scalar"}),
              b.op("MatMul", "nan_weights", {b.op("Slice", "column", {"x", "zero", "one", "one"}), "nan"})});
  Graph g = graph;
  g.add_initializer("zero", ints({0}));
  g.add_initializer("one", ints({1}));
  const Prepared p = prepared(g);
  EXPECT_EQ(reason(p, "dynamic"), "quantized") << "a product of two computed operands";
  EXPECT_EQ(reason(p, "transposed"), "transA has no int8 kernel");
  EXPECT_EQ(reason(p, "scaled"), "alpha or beta is not 1");
  EXPECT_EQ(reason(p, "odd_bias"), "its bias is not one constant per channel");
  EXPECT_EQ(reason(p, "nan_weights"), "its weights contain NaN or infinity");
}

// ---- numbers at the edge --------------------------------------------------------------------------------------------------

TEST(Quantize, ZeroChannelsAndHugeBiases) {
  Builder b;
  Graph graph = b.done({b.conv("c1", "x")});
  std::vector<float> w(4 * 36, 0.5f), bias = {1, 3e9f, 0, -1e-3f};
  std::fill(w.begin(), w.begin() + 36, 0.0f);        // channel 0: zeros
  std::fill(w.begin() + 36, w.begin() + 72, 1e-6f);  // channel 1: a bias that no int32 holds at the weights' scale
  graph.initializers["c1.w"] = Tensor::from(DType::f32, {4, 4, 3, 3}, w);
  graph.initializers["c1.b"] = floats(bias);
  const Graph q = quantized(graph);
  const int32_t* b_q = q.initializers.at("c1.b_quantized").as<int32_t>();
  const float* b_s = q.initializers.at("c1.b_scale").as<float>();
  for (int j = 0; j < 4; ++j) {
    EXPECT_LE(std::abs(int64_t(b_q[j])), int64_t(1) << 30) << j;
    EXPECT_NEAR(double(b_q[j]) * double(b_s[j]), double(bias[size_t(j)]),
                std::fabs(double(bias[size_t(j)])) * 1e-6 + double(b_s[j]))
        << j;
  }
  const Tensor& w_q = q.initializers.at("c1.w_quantized");
  EXPECT_EQ(w_q.as<int8_t>()[0], 0);
  EXPECT_EQ(w_q.as<int8_t>()[72], 127);
  EXPECT_GT(sqnr(graph, q), 30);
}

TEST(Quantize, SharedWeightsAreStoredOnceWhileTheirBiasFollowsTheInput) {
  Builder b;
  const std::string c1 = b.conv("c1", "x");
  const Graph graph = b.done({b.op("Conv", "c2", {c1, "c1.w", "c1.b"}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}})});
  const Graph q = quantized(graph);
  EXPECT_TRUE(q.initializers.count("c1.w_quantized"));
  EXPECT_FALSE(q.initializers.count("c1.w_quantized_1"));
  EXPECT_TRUE(q.initializers.count("c1.b_quantized"));
  EXPECT_TRUE(q.initializers.count("c1.b_quantized_1"));
  EXPECT_GT(sqnr(graph, q), 25);
}

TEST(Quantize, NamesThatAreTakenAreAvoided) {
  Builder b;
  const std::string c1 = b.conv("x_quantized", "x");
  const Graph graph = b.done({b.conv("x_scale", c1)});
  EXPECT_GT(sqnr(graph, quantized(graph)), 30);
}

// ---- calibration ----------------------------------------------------------------------------------------------------------

TEST(Calibrate, SameBytesForAnyThreadsAndAnySplit) {
  Builder b;
  const std::string r = b.op("Relu", "relu1", {b.conv("conv1", "x")});
  const Graph graph = b.done({b.gemm("fc", b.op("Flatten", "f", {b.op("Add", "add", {r, b.conv("conv2", r)})}), 256, 10)});
  const std::vector<Sample> samples = samples_for(graph, 9);
  std::string first;
  for (int threads : {1, 2, 3, 16, 0}) {
    Prepared p = prepared(graph);
    const auto middle = samples.begin() + std::min(threads, 9);
    ASSERT_TRUE(calibrate(p, {samples.begin(), middle}, threads).ok());
    ASSERT_TRUE(calibrate(p, {middle, samples.end()}, threads).ok());
    Expected<Graph> q = convert(p);
    ASSERT_TRUE(q) << q.status().text();
    Expected<std::string> bytes = serialize_onnx(*q);
    ASSERT_TRUE(bytes);
    if (first.empty()) first = *bytes;
    EXPECT_TRUE(*bytes == first) << threads << " threads";
  }
}

TEST(Calibrate, ProgressCountsToTheEnd) {
  Builder b;
  const Graph graph = b.done({b.conv("c1", "x")});
  for (int threads : {1, 3}) {
    Prepared p = prepared(graph);
    std::vector<size_t> seen;
    ASSERT_TRUE(calibrate(p, samples_for(graph, 5), threads, [&](size_t done, size_t total) {
                  EXPECT_EQ(total, 5u);
                  seen.push_back(done);
                }).ok());
    EXPECT_EQ(seen, (std::vector<size_t>{1, 2, 3, 4, 5}));
  }
}

TEST(Calibrate, ErrorsNameTheSampleAndTheInput) {
  Builder b;
  const Graph graph = b.done({b.conv("c1", "x")});
  for (int threads : {1, 3}) {
    Prepared p = prepared(graph);
    std::vector<Sample> samples = samples_for(graph, 5);
    samples[3] = {{"y", noise({1, 4, 8, 8}, 1)}};
    EXPECT_NE(std::string(calibrate(p, samples, threads).text()).find("sample 3"), std::string::npos);
    samples[1] = {{"x", noise({1, 5, 8, 8}, 1)}};
    const Status s = calibrate(p, samples, 1);
    EXPECT_EQ(s.code(), Code::invalid_argument);
    EXPECT_NE(std::string(s.text()).find("calibration sample 1: "), std::string::npos) << s.text();
    EXPECT_NE(std::string(s.text()).find("'x'"), std::string::npos) << s.text();
  }
}

TEST(Convert, WithoutCalibrationNamesTheValue) {
  Builder b;
  const Prepared p = prepared(b.done({b.conv("c1", "x")}));
  const Status s = convert(p).status();
  EXPECT_EQ(s.code(), Code::invalid_argument);
  EXPECT_STREQ(s.text(), "value 'x': no value was seen; calibrate with samples first");
}

TEST(Convert, AValueThatWasAlwaysNanIsNamed) {
  Builder b({1, 4});
  const Graph graph = b.done({b.gemm("fc", "x", 4, 2)});
  Prepared p = prepared(graph);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  ASSERT_TRUE(calibrate(p, {{{"x", floats({nan, nan, nan, nan}).reshaped({1, 4})}}}).ok());
  EXPECT_STREQ(convert(p).status().text(), "value 'x': all 4 values seen are NaN or infinite; calibrate with samples first");
}

TEST(Prepare, RefusesAQuantizedModelAndABadConfig) {
  Builder b;
  const Graph graph = b.done({b.conv("c1", "x")});
  EXPECT_STREQ(prepare(quantized(graph), x86()).status().text(),
               "node 'x_QuantizeLinear' (QuantizeLinear): the model is already quantized");
  QuantConfig config;
  config.weight.dtype = DType::u8;
  EXPECT_STREQ(prepare(graph, Recipe().set_global(config)).status().text(),
               "config of node 'c1': weight.dtype is u8: weights are s8");
}

// ---- older opsets ---------------------------------------------------------------------------------------------------------

// The float graph rewritten for opset 13 must compute what the old one computes, bit for bit.
void expect_same_in_opset_13(const Graph& graph) {
  const Prepared p = prepared(graph, Recipe());
  EXPECT_EQ(p.graph().opset, 13);
  Expected<Session> a = Session::create(graph), b = Session::create(p.graph());
  ASSERT_TRUE(a) << a.status().text();
  ASSERT_TRUE(b) << b.status().text();
  for (const Sample& sample : samples_for(graph)) {
    const auto x = a->run(sample), y = b->run(sample);
    ASSERT_TRUE(x) << x.status().text();
    ASSERT_TRUE(y) << y.status().text();
    ASSERT_EQ((*x)[0].shape(), (*y)[0].shape());
    EXPECT_EQ(std::memcmp((*x)[0].data(), (*y)[0].data(), (*x)[0].bytes()), 0);
  }
}

struct OldOp {
  const char* op_type;
  int64_t opset;
  std::map<std::string, Attribute> attributes;
};

TEST(Opset, AttributesBecomeInputs) {
  using Ints = std::vector<int64_t>;
  const OldOp cases[] = {
      {"Clip", 7, {{"min", -0.25f}, {"max", 0.5f}}},
      {"Clip", 10, {{"max", 0.5f}}},
      {"Unsqueeze", 9, {{"axes", Ints{0}}}},
      {"Slice", 9, {{"starts", Ints{1, 0}}, {"ends", Ints{3, 2}}, {"axes", Ints{1, 2}}}},
      {"Pad", 8, {{"pads", Ints{0, 1, 2, 0, 0, 0, 1, 1}}, {"value", 1.5f}}},
      {"Pad", 8, {{"pads", Ints{0, 0, 1, 1, 0, 0, 1, 1}}, {"mode", std::string("reflect")}}},
      {"ReduceSum", 11, {{"axes", Ints{2, 3}}, {"keepdims", int64_t(0)}}},
      {"ReduceMean", 11, {{"axes", Ints{2, 3}}}},
      {"Softmax", 9, {}},
      {"Softmax", 12, {{"axis", int64_t(2)}}},
      {"Softmax", 12, {{"axis", int64_t(-1)}}},
      {"LogSoftmax", 11, {{"axis", int64_t(3)}}},
  };
  for (const OldOp& c : cases) {
    SCOPED_TRACE(std::string(c.op_type) + " of opset " + std::to_string(c.opset));
    Builder b;
    b.graph.opset = c.opset;
    expect_same_in_opset_13(b.done({b.op(c.op_type, "node", {"x"}, c.attributes)}));
  }
}

TEST(Opset, SoftmaxOverOneDimensionNeedsNoReshape) {
  Builder b({-1, 10});
  b.graph.opset = 9;
  const Prepared p = prepared(b.done({b.op("Softmax", "softmax", {"x"})}), Recipe());
  ASSERT_EQ(p.graph().nodes.size(), 1u);
  EXPECT_EQ(p.graph().nodes[0].get_int("axis", 0), -1);

  Builder c;
  c.graph.opset = 9;
  const Graph pooled = c.done({c.op("Softmax", "softmax", {c.op("GlobalAveragePool", "gap", {"x"})})});
  EXPECT_EQ(prepared(pooled, Recipe()).graph().nodes.size(), 2u);
  expect_same_in_opset_13(pooled);
}

TEST(Opset, UnknownRewritesNameTheOperator) {
  Builder b;
  b.graph.opset = 9;
  const Status s =
      prepare(b.done({b.op("BatchNormalization", "bn", {"x", "x", "x", "x", "x"}, {{"spatial", int64_t(0)}})}), Recipe())
          .status();
  EXPECT_EQ(s.code(), Code::unsupported);
  EXPECT_NE(std::string(s.text()).find("'bn'"), std::string::npos) << s.text();
  Builder c;
  c.graph.opset = 9;
  const Status t = prepare(c.done({c.op("Frobnicate", "frob", {"x"})}), Recipe()).status();
  EXPECT_EQ(t.code(), Code::unsupported);
  EXPECT_NE(std::string(t.text()).find("Frobnicate"), std::string::npos) << t.text();
}

TEST(Opset, NewerGraphsStayAsTheyAre) {
  Builder b;
  b.graph.opset = 17;
  EXPECT_EQ(quantized(b.done({b.conv("c1", "x")})).opset, 17);
}

// ---- rules for values

Graph conv_conv() {
  Builder b;
  return b.conv("c2", b.conv("c1", "x")), b.done({"c2"});
}

TEST(ValueRules, FixedParametersNeedNoCalibration) {
  Recipe recipe = x86();
  recipe.set_value("*", FixedParams{{0.125f, 3}}).set_value("c1", FixedParams{{0.5f, 100}});
  Prepared p = prepared(conv_conv(), recipe);
  EXPECT_TRUE(p.observed_values().empty());
  const Expected<Graph> q = convert(p);
  ASSERT_TRUE(q) << q.status().text();
  EXPECT_EQ(params_of(*q, "x"), (QParams{0.125f, 3}));
  EXPECT_EQ(params_of(*q, "c1"), (QParams{0.5f, 100}));
}

TEST(ValueRules, SharedParametersFitBoth) {
  Recipe recipe = x86();
  recipe.set_value("c1", SharedParams{"x"});
  const Graph apart = quantized(conv_conv()), q = quantized(conv_conv(), recipe);
  EXPECT_NE(params_of(apart, "x"), params_of(apart, "c1"));
  EXPECT_EQ(params_of(q, "x"), params_of(q, "c1"));
  EXPECT_GE(params_of(q, "x").scale, 0.5f * std::max(params_of(apart, "x").scale, params_of(apart, "c1").scale));
}

TEST(ValueRules, DerivedParametersFollow) {
  Recipe recipe = x86();
  recipe.set_value("c1", DerivedParams{"x", 4});
  const Graph q = quantized(conv_conv(), recipe);
  EXPECT_EQ(params_of(q, "c1"), (QParams{4 * params_of(q, "x").scale, params_of(q, "x").zero_point}));
}

TEST(ValueRules, ThatCannotBeMetAreErrors) {
  const auto error = [](auto... rules) {
    Recipe recipe = x86();
    (recipe.set_value(rules.first, rules.second), ...);
    return std::string(prepare(conv_conv(), recipe).status().text());
  };
  using Rule = std::pair<const char*, ValueParams>;
  EXPECT_EQ(error(Rule{"c1", SharedParams{"y"}}), "rule for value 'c1': no such quantized value: y");
  EXPECT_EQ(error(Rule{"c1", DerivedParams{"c2", 1}}), "rule for value 'c1': no such quantized value: c2");
  EXPECT_EQ(error(Rule{"x", DerivedParams{"c1", 1}}, Rule{"c1", DerivedParams{"x", 1}}),
            "rule for value 'c1': it is derived from itself");
  EXPECT_EQ(error(Rule{"x", FixedParams{{1, -1}}}), "rule for value 'x': the zero point does not fit u8");
}

// ---- calibration states

TEST(States, OfPartsInAnyOrderGiveTheBytesOfOneRun) {
  const Graph graph = conv_conv();
  const std::vector<Sample> samples = samples_for(graph, 7);
  for (const char* observer : {"histogram", "min_max", "moving_average", "percentile", "mse", "kl"}) {
    const Recipe recipe =
        *Recipe::from_json(std::string(R"({"base": "x86_static", "rules": [{"global": true, "config": {"activation": {"observer": ")") +
                           observer + R"("}}}]})");
    Prepared whole = prepared(graph, recipe);
    ASSERT_TRUE(calibrate(whole, samples).ok());
    std::vector<std::string> states;
    for (const auto& [begin, end] : {std::pair(0, 3), std::pair(3, 4), std::pair(4, 7)}) {
      Prepared part = prepared(graph, recipe);
      ASSERT_TRUE(calibrate(part, {samples.begin() + begin, samples.begin() + end}, 2, {}, begin).ok());
      states.push_back(*save_calibration(part));
    }
    std::sort(states.begin(), states.end());
    do {
      Prepared total = prepared(graph, recipe);
      for (const std::string& state : states) {
        const Status s = add_calibration(total, state);
        ASSERT_TRUE(s.ok()) << s.text();
      }
      EXPECT_EQ(*serialize_onnx(*convert(total)), *serialize_onnx(*convert(whole))) << observer;
      EXPECT_EQ(*save_calibration(total), *save_calibration(whole)) << observer;
    } while (std::next_permutation(states.begin(), states.end()));
  }
}

TEST(States, AreRefusedWhereTheyDoNotFit) {
  const Graph graph = conv_conv();
  Prepared p = prepared(graph);
  ASSERT_TRUE(calibrate(p, samples_for(graph)).ok());
  const std::string state = *save_calibration(p);
  const auto error = [](Prepared& into, const std::string& bytes) { return std::string(add_calibration(into, bytes).text()); };
  EXPECT_EQ(error(p, state), "sample 0 was observed already");
  Prepared fresh = prepared(graph);
  EXPECT_EQ(error(fresh, ""), "calibration state: not such a file");
  EXPECT_EQ(error(fresh, state.substr(0, 100)), "calibration state: damaged: the checksum does not fit");
  std::string newer = state;
  newer[8] = 2;
  EXPECT_EQ(error(fresh, newer), "calibration state: version 2; this is version 1");
  for (size_t i = 12; i < state.size(); i += 7) {
    std::string damaged = state;
    damaged[i] = char(damaged[i] ^ 1);
    EXPECT_NE(error(fresh, damaged), "") << i;
  }
  Builder other;
  other.seed = 9;
  Prepared another = prepared((other.conv("c2", other.conv("c1", "x")), other.done({"c2"})));
  EXPECT_EQ(error(another, state), "calibration state: of another model or recipe");
  EXPECT_EQ(error(fresh, state), "");  // nothing was left behind
  EXPECT_EQ(*save_calibration(fresh), state);
}

}  // namespace
}  // namespace octavo
