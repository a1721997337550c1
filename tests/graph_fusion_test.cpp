// Functions of one element are part of a call or become one table; products and sums of quantized tensors are one call, also
// where one is broadcast.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "graph_test_util.h"
#include "octavo/quantize.h"
#include "octavo/session.h"

namespace octavo {
namespace {

using Ints = std::vector<int64_t>;

constexpr int64_t kChannels = 8;

std::string conv(Graph& g, const std::string& name, const std::string& x) {
  g.add_initializer(name + "_w", noise({kChannels, kChannels, 1, 1}, uint32_t(name.size()) + 7, 0.6f));
  return g.add_node("Conv", name, {x, name + "_w"});
}

// conv -> body -> conv over [1, 8, 6, 6]
Graph between_convolutions(const std::function<std::string(Graph&, const std::string&)>& body) {
  Graph g;
  g.opset = 18;
  g.inputs = {{"x", DType::f32, {{1, ""}, {kChannels, ""}, {6, ""}, {6, ""}}}};
  const std::string y = conv(g, "last", body(g, conv(g, "first", "x")));
  g.outputs = {{y, DType::f32, {}, false}};
  return g;
}

std::string scalar(Graph& g, const std::string& name, float v) { return g.add_initializer(name, f32({}, {v})); }

Graph quantized(const Graph& g, const Recipe& recipe = *Recipe::preset("x86_static")) {
  Expected<Prepared> prepared = prepare(g, recipe);
  EXPECT_TRUE(prepared) << prepared.status().text();
  EXPECT_TRUE(calibrate(*prepared, {{{"x", noise({1, kChannels, 6, 6}, 3)}}}).ok());
  Expected<Graph> q = convert(*prepared);
  EXPECT_TRUE(q) << q.status().text();
  return *q;
}

std::vector<float> run(const Graph& g) {
  Expected<Session> s = Session::create(g);
  const Expected<std::vector<Tensor>> y = s->run({{"x", noise({1, kChannels, 6, 6}, 3)}});
  EXPECT_TRUE(y) << y.status().text();
  return y ? values_of<float>((*y)[0]) : std::vector<float>();
}

double sqnr(const std::vector<float>& got, const std::vector<float>& want) {
  double signal = 0, error = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    signal += double(want[i]) * double(want[i]);
    error += double(got[i] - want[i]) * double(got[i] - want[i]);
  }
  return 10 * std::log10(signal / std::max(error, 1e-30));
}

// Between the convolutions lies exactly one step, in int8, which is the node `main` and computes `fused` more nodes beside it.
void expect_one_step(const Graph& g, const std::string& main, size_t fused) {
  const Graph q = quantized(g);
  const Expected<Program> p = Program::compile(q);
  ASSERT_TRUE(p) << p.status().text();
  std::vector<NodeReport> between;
  bool inside = false;
  for (const NodeReport& r : p->report()) {
    if (r.name == "last") inside = false;
    if (inside) between.push_back(r);
    if (r.name == "first") inside = true;
  }
  ASSERT_EQ(between.size(), 1u);
  EXPECT_EQ(between[0].name, main);
  EXPECT_EQ(between[0].precision, "int8");
  EXPECT_EQ(between[0].fused.size(), fused + 1) << "and the QuantizeLinear";
  EXPECT_EQ(p->int8_mac_share(), 1);
  EXPECT_GT(sqnr(run(q), run(g)), 28);
}

// Where the bytes have a second reader there are two steps, which give the same.
TEST(Fusion, QuantizeWritesChannelsLast) {
  for (const Shape& shape : {Shape{2, 3, 40, 30}, Shape{1, 70, 9, 5}, Shape{2, 1, 6, 6}, Shape{2, 5, 1, 1}}) {
    Graph g;
    g.opset = 18;
    g.inputs = {{"x", DType::f32, {}}};
    for (int64_t d : shape) g.inputs[0].dims.push_back({d, ""});
    g.add_initializer("zp", Tensor::from(DType::u8, {}, std::vector<uint8_t>{128}));
    const std::string q = g.add_node("QuantizeLinear", "q", {"x", scalar(g, "s", 0.01f), "zp"});
    const std::string pool = g.add_node("MaxPool", "pool", {g.add_node("DequantizeLinear", "dq", {q, "s", "zp"})},
                                        {{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}});
    g.outputs = {{pool, DType::f32, {}, false}};
    Graph apart = g;
    apart.outputs.push_back({q, DType::u8, {}, false});
    const std::map<std::string, Tensor> sample = {{"x", noise(shape, 9, 1.5f)}};
    Expected<Session> a = Session::create(g, 2), b = Session::create(apart);
    const Expected<std::vector<Tensor>> one = a->run(sample), two = b->run(sample);
    ASSERT_TRUE(one && two) << one.status().text() << two.status().text();
    EXPECT_EQ(values_of<float>((*one)[0]), values_of<float>((*two)[0]));
    const Expected<const Program*> p = a->program(sample);
    for (const NodeReport& r : (*p)->report()) EXPECT_NE(r.name, "x") << "a Transpose of the input";
    EXPECT_EQ((*p)->report()[0].name, "q");
  }
}

using Body = std::function<std::string(Graph&, const std::string&)>;

std::string silu(Graph& g, const std::string& x) { return g.add_node("Mul", "product", {x, g.add_node("Sigmoid", "gate", {x})}); }

std::string gelu_by_erf(Graph& g, const std::string& x) {
  const std::string erf = g.add_node("Erf", "erf", {g.add_node("Div", "div", {x, scalar(g, "root", std::sqrt(2.0f))})});
  const std::string sum = g.add_node("Add", "sum", {erf, scalar(g, "one", 1)});
  return g.add_node("Mul", "half_product", {g.add_node("Mul", "twice", {x, sum}), scalar(g, "half", 0.5f)});
}

std::string gelu_by_tanh(Graph& g, const std::string& x) {
  const std::string cubed =
      g.add_node("Mul", "scaled", {g.add_node("Pow", "cubed", {x, scalar(g, "three", 3)}), scalar(g, "a", 0.044715f)});
  const std::string inner = g.add_node("Mul", "inner", {g.add_node("Add", "both", {x, cubed}), scalar(g, "b", 0.7978845608f)});
  const std::string sum = g.add_node("Add", "sum", {g.add_node("Tanh", "tanh", {inner}), scalar(g, "one", 1)});
  return g.add_node("Mul", "y", {g.add_node("Mul", "half_x", {x, scalar(g, "half", 0.5f)}), sum});
}

std::string hardswish_by_clip(Graph& g, const std::string& x) {
  const std::string sum = g.add_node("Add", "sum", {x, scalar(g, "three", 3)});
  const std::string clip = g.add_node("Clip", "clip", {sum, scalar(g, "zero", 0), scalar(g, "six", 6)});
  return g.add_node("Div", "sixth", {g.add_node("Mul", "product", {x, clip}), scalar(g, "divisor", 6)});
}

std::vector<Body> activations() {
  std::vector<Body> bodies = {silu, gelu_by_erf, gelu_by_tanh, hardswish_by_clip};
  for (const char* op : {"Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Softplus"})
    bodies.push_back([op](Graph& g, const std::string& x) { return g.add_node(op, "act", {x}); });
  return bodies;
}

// Nothing is quantized between a convolution of long sums and its activation, and one kernel call computes both.
TEST(Fusion, ActivationsBehindAConvolutionAreItsCall) {
  for (const Body& body : activations()) {
    Graph g = between_convolutions(body);
    g.initializers.at("first_w") = noise({kChannels, kChannels, 9, 9}, 12, 0.1f);
    g.nodes[0].attributes["pads"] = Ints{4, 4, 4, 4};
    const Graph q = quantized(g);
    const Expected<Program> p = Program::compile(q);
    ASSERT_TRUE(p) << p.status().text();
    std::vector<std::string> steps;
    for (const NodeReport& r : p->report())
      if (r.precision != "copy") steps.push_back(r.name + " " + r.precision);
    EXPECT_EQ(steps, (std::vector<std::string>{"x_QuantizeLinear int8", "first int8", "last int8"}));
    EXPECT_EQ(p->int8_mac_share(), 1);
    EXPECT_GT(sqnr(run(q), run(g)), 32);
  }
}

TEST(Fusion, ActivationsBehindAMatMulAreItsCall) {
  for (const Body& body : activations()) {
    Graph g;
    g.opset = 18;
    g.inputs = {{"x", DType::f32, {{1, ""}, {6, ""}, {600, ""}}}};
    g.add_initializer("w", noise({600, 12}, 5, 0.1f));
    g.add_initializer("offset", noise({12}, 6, 0.6f));
    g.add_initializer("w2", noise({12, 5}, 7, 0.6f));
    const std::string sum = g.add_node("Add", "bias", {g.add_node("MatMul", "first", {"x", "w"}), "offset"});
    g.outputs = {{g.add_node("MatMul", "last", {body(g, sum), "w2"}), DType::f32, {}, false}};
    Expected<Prepared> prepared = prepare(g, *Recipe::preset("x86_static"));
    ASSERT_TRUE(prepared) << prepared.status().text();
    const std::map<std::string, Tensor> sample = {{"x", noise({1, 6, 600}, 3)}};
    ASSERT_TRUE(calibrate(*prepared, {sample}).ok());
    const Expected<Graph> q = convert(*prepared);
    ASSERT_TRUE(q) << q.status().text();
    const Expected<Program> p = Program::compile(*q);
    ASSERT_TRUE(p) << p.status().text();
    EXPECT_EQ(p->report().size(), 3u);
    Expected<Session> a = Session::create(g, 2), b = Session::create(*q, 2);
    EXPECT_GT(sqnr(values_of<float>((*b->run(sample))[0]), values_of<float>((*a->run(sample))[0])), 32);
  }
}

// The recipe decides what is long.
TEST(Fusion, FunctionDepth) {
  QuantConfig config = *Recipe::preset("x86_static")->match(Node());
  const auto steps = [&](int32_t depth) {
    config.function_depth = depth;
    const Expected<Program> p = Program::compile(quantized(between_convolutions(silu), Recipe().set_global(config)));
    return p ? std::count_if(p->report().begin(), p->report().end(), [](const NodeReport& r) { return r.precision != "copy"; })
             : -1;
  };
  EXPECT_EQ(steps(0), 3);
  EXPECT_EQ(steps(kChannels), 3);
  EXPECT_EQ(steps(kChannels + 1), 4);
}

// Behind short sums, and where a call ends with something else, they are tables of bytes.
TEST(Fusion, ActivationsOfBytesAreTables) {
  for (const char* op : {"Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Softplus"})
    expect_one_step(between_convolutions([op](Graph& g, const std::string& x) { return g.add_node(op, "act", {x}); }), "act", 0);
  expect_one_step(between_convolutions(silu), "product", 1);
  expect_one_step(between_convolutions(gelu_by_erf), "half_product", 4);
  expect_one_step(between_convolutions(gelu_by_tanh), "y", 7);
  expect_one_step(between_convolutions([](Graph& g, const std::string& x) { return silu(g, g.add_node("Relu", "relu", {x})); }),
                  "product", 1);
}

TEST(Fusion, AValueThatOthersSeeIsNotSwallowed) {
  Graph g = between_convolutions([](Graph& graph, const std::string& x) {
    return graph.add_node("Mul", "product", {x, graph.add_node("Sigmoid", "gate", {x})});
  });
  g.outputs.push_back({"gate", DType::f32, {}, false});
  const Graph q = quantized(g);
  Expected<Session> s = Session::create(q);
  const Expected<std::vector<Tensor>> y = s->run({{"x", noise({1, kChannels, 6, 6}, 3)}});
  ASSERT_TRUE(y) << y.status().text();
  const std::vector<float> gate = values_of<float>((*y)[1]);
  EXPECT_TRUE(std::all_of(gate.begin(), gate.end(), [](float v) { return v >= 0 && v <= 1; }));
}

// The smallest and the largest value that the bytes of a value stand for.
std::pair<float, float> range_of_bytes(const Graph& q, const std::string& value) {
  const float scale = *q.initializers.at(value + "_scale").as<float>();
  const int zero_point = *q.initializers.at(value + "_zero_point").as<uint8_t>();
  return {scale * float(0 - zero_point), scale * float(255 - zero_point)};
}

// HardSwish is 0 below -3, Sigmoid nearly 0 and 1 beyond 8: no byte is spent there, unless somebody else reads the value.
TEST(Fusion, RangesEndWhereTheFunctionIsFlat) {
  const auto graph_of = [](const char* op) {
    Graph g = between_convolutions([op](Graph& graph, const std::string& x) { return graph.add_node(op, "act", {x}); });
    g.initializers.at("first_w") = noise({kChannels, kChannels, 1, 1}, 12, 12);
    return g;
  };
  const auto [lo, hi] = range_of_bytes(quantized(graph_of("LeakyRelu")), "first");
  ASSERT_LT(lo, -15);
  ASSERT_GT(hi, 15);

  const auto [swish_lo, swish_hi] = range_of_bytes(quantized(graph_of("HardSwish")), "first");
  EXPECT_NEAR(swish_lo, -3, 0.2f);
  EXPECT_NEAR(swish_hi, hi, 0.2f);
  const auto [sigmoid_lo, sigmoid_hi] = range_of_bytes(quantized(graph_of("Sigmoid")), "first");
  EXPECT_NEAR(sigmoid_lo, -7, 1);
  EXPECT_NEAR(sigmoid_hi, 7, 1);

  Graph seen = graph_of("HardSwish");
  seen.outputs.push_back({seen.add_node("Identity", "also", {conv(seen, "beside", "first")}), DType::f32, {}, false});
  EXPECT_LT(range_of_bytes(quantized(seen), "first").first, lo + 0.2f);
}

// Squeeze and excite: each channel times its gate.
TEST(Fusion, MulByAGateForEachChannelIsOneCall) {
  Graph g;
  g.opset = 18;
  g.inputs = {{"x", DType::f32, {{1, ""}, {kChannels, ""}, {6, ""}, {6, ""}}}};
  const std::string x = conv(g, "first", "x");
  const std::string pooled = conv(g, "squeeze", g.add_node("GlobalAveragePool", "pool", {x}));
  g.add_node("Mul", "excite", {x, g.add_node("Sigmoid", "gate", {pooled})});
  const std::string y = conv(g, "last", "excite");
  g.outputs = {{y, DType::f32, {}, false}};
  const Graph q = quantized(g);
  const Expected<Program> p = Program::compile(q);
  ASSERT_TRUE(p) << p.status().text();
  EXPECT_EQ(std::count_if(p->report().begin(), p->report().end(), [](const NodeReport& r) { return r.precision == "float"; }), 0);
  EXPECT_EQ(std::count_if(p->report().begin(), p->report().end(),
                          [](const NodeReport& r) { return r.name == "excite" && r.precision == "int8"; }),
            1);
  EXPECT_GT(sqnr(run(q), run(g)), 28);
}

// Broadcast sums and products of bytes: every shape against the formula, computed element by element.
TEST(Fusion, BroadcastProductsEqualTheFormula) {
  const std::vector<std::pair<Shape, Shape>> cases = {
      {{2, 3, 4, 5}, {2, 3, 1, 1}}, {{2, 3, 4, 5}, {5}}, {{1, 1, 4, 1}, {2, 3, 4, 5}}, {{2, 3, 4, 5}, {1, 3, 1, 5}}, {{7}, {1}}};
  for (const auto& [sa, sb] : cases)
    for (const char* op : {"Add", "Mul"}) {
      Graph g;
      g.inputs = {{"a", DType::u8, {}}, {"b", DType::u8, {}}};
      for (int64_t d : sa) g.inputs[0].dims.push_back({d, ""});
      for (int64_t d : sb) g.inputs[1].dims.push_back({d, ""});
      const auto zero = [&](const std::string& name, uint8_t v) {
        return g.add_initializer(name, Tensor::from(DType::u8, {}, std::vector<uint8_t>{v}));
      };
      const std::string a = g.add_node("DequantizeLinear", "da", {"a", scalar(g, "sa", 0.5f), zero("za", 10)});
      const std::string b = g.add_node("DequantizeLinear", "db", {"b", scalar(g, "sb", 0.25f), zero("zb", 20)});
      g.add_node("QuantizeLinear", "y", {g.add_node(op, "op", {a, b}), scalar(g, "sy", 2), zero("zy", 30)});
      g.outputs = {{"y", DType::u8, {}, false}};
      const auto bytes = [](const Shape& shape, int step) {
        int64_t n = 1;
        for (int64_t d : shape) n *= d;
        std::vector<uint8_t> v(static_cast<size_t>(n));
        for (size_t i = 0; i < v.size(); ++i) v[i] = uint8_t(i * size_t(step));
        return Tensor::from(DType::u8, shape, v);
      };
      Expected<Session> s = Session::create(g);
      const Tensor ta = bytes(sa, 37), tb = bytes(sb, 11);
      const Expected<std::vector<Tensor>> y = s->run({{"a", ta}, {"b", tb}});
      ASSERT_TRUE(y) << y.status().text();
      const Expected<const Program*> p = s->program(std::map<std::string, Tensor>{{"a", ta}, {"b", tb}});
      ASSERT_EQ((*p)->report().size(), 1u) << op;
      EXPECT_EQ((*p)->report()[0].precision, "int8");
      const Shape shape = (*y)[0].shape();
      for (int64_t i = 0; i < (*y)[0].count(); ++i) {
        const auto at = [&](const Tensor& t) {
          int64_t rest = i, offset = 0, stride = 1;
          for (size_t d = shape.size(); d-- > 0;) {
            const int64_t index = rest % shape[d];
            rest /= shape[d];
            const int64_t own = int64_t(d) - int64_t(shape.size() - t.shape().size());
            if (own < 0) continue;
            if (t.shape()[size_t(own)] != 1) offset += index * stride;
            stride *= t.shape()[size_t(own)];
          }
          return int(t.as<uint8_t>()[offset]);
        };
        const int u = at(ta) - 10, v = at(tb) - 20;
        const float real = op[0] == 'A' ? float(u) * 0.25f + float(v) * 0.125f : float(u * v) * 0.0625f;
        EXPECT_EQ(int((*y)[0].as<uint8_t>()[i]), int(std::clamp(std::nearbyint(real), -30.0f, 225.0f)) + 30) << op << i;
      }
    }
}

// Two heads of four over five tokens: linears, scores, mask, softmax, mixture, linear.
Graph attention() {
  Graph g;
  g.opset = 18;
  g.inputs = {{"x", DType::f32, {{1, ""}, {5, ""}, {8, ""}}}};
  g.add_initializer("heads", s64({1, 5, 2, 4}));
  g.add_initializer("joined", s64({1, 5, 8}));
  const auto linear = [&](const std::string& name, const std::string& x) {
    g.add_initializer(name + "_w", noise({8, 8}, uint32_t(name[0]), 0.7f));
    return g.add_node("MatMul", name, {x, name + "_w"});
  };
  const auto split = [&](const std::string& name, const std::vector<int64_t>& perm) {
    return g.add_node("Transpose", name + "_t", {g.add_node("Reshape", name + "_r", {linear(name, "x"), "heads"})},
                      {{"perm", perm}});
  };
  const std::string q = split("query", {0, 2, 1, 3}), k = split("key", {0, 2, 3, 1}), v = split("value", {0, 2, 1, 3});
  const std::string scaled = g.add_node("Div", "scaled", {g.add_node("MatMul", "scores", {q, k}), scalar(g, "two", 2)});
  g.add_initializer("mask", f32({1, 1, 1, 5}, {0, 0, 0, 0, -10000}));
  const std::string p = g.add_node("Softmax", "probabilities", {g.add_node("Add", "masked", {scaled, "mask"})});
  const std::string mixed =
      g.add_node("Transpose", "back", {g.add_node("MatMul", "mixture", {p, v})}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  g.outputs = {{linear("out", g.add_node("Reshape", "flat", {mixed, "joined"})), DType::f32, {}, false}};
  return g;
}

TEST(Fusion, AttentionIsThreeCallsInInt8) {
  const Graph g = attention();
  Expected<Prepared> prepared = prepare(g, *Recipe::preset("x86_static"));
  ASSERT_TRUE(prepared) << prepared.status().text();
  const std::map<std::string, Tensor> sample = {{"x", noise({1, 5, 8}, 3)}};
  ASSERT_TRUE(calibrate(*prepared, {sample}).ok());
  const Expected<Graph> q = convert(*prepared);
  ASSERT_TRUE(q) << q.status().text();
  // Probabilities are multiples of 1/256.
  EXPECT_EQ(*q->initializers.at("probabilities_scale").as<float>(), 1.0f / 256);
  EXPECT_EQ(*q->initializers.at("probabilities_zero_point").as<uint8_t>(), 0);
  EXPECT_EQ(*q->initializers.at("key_zero_point").as<uint8_t>(), 128) << "the second operand lies around a fixed zero";
  const Expected<Program> p = Program::compile(*q);
  ASSERT_TRUE(p) << p.status().text();
  std::vector<std::string> steps;
  for (const NodeReport& r : p->report()) steps.push_back(r.name + " " + r.precision);
  EXPECT_EQ(steps.size(), 6u)
      << "the QuantizeLinear of x, queries, keys and values as one, three steps of attention, and the last product";
  for (const char* step : {"query int8", "scores int8", "probabilities int8", "mixture int8"})
    EXPECT_EQ(std::count(steps.begin(), steps.end(), step), 1) << step;
  EXPECT_EQ(p->int8_mac_share(), 1);
  Expected<Session> before = Session::create(g), after = Session::create(*q);
  const Expected<std::vector<Tensor>> want = before->run(sample), got = after->run(sample);
  ASSERT_TRUE(want && got) << want.status().text() << got.status().text();
  EXPECT_GT(sqnr(values_of<float>((*got)[0]), values_of<float>((*want)[0])), 28);
}

// The steps of attention give what the operators give one by one: here every value is an output, so that nothing is fused.
TEST(Fusion, FloatAttentionEqualsItsOperators) {
  const Graph g = attention();
  Graph apart = g;
  for (const Node& node : g.nodes)
    if (node.outputs[0] != g.outputs[0].name) apart.outputs.push_back({node.outputs[0], DType::f32, {}, false});
  Expected<Session> a = Session::create(g), b = Session::create(apart);
  const std::map<std::string, Tensor> sample = {{"x", noise({1, 5, 8}, 3)}};
  const Expected<std::vector<Tensor>> fused = a->run(sample), single = b->run(sample);
  ASSERT_TRUE(fused && single) << fused.status().text() << single.status().text();
  EXPECT_GT(sqnr(values_of<float>((*fused)[0]), values_of<float>((*single)[0])), 110);
}

// Two recurrent layers and a linear: two int8 steps whose states have the parameters of their results.
TEST(Fusion, RecurrentLayersRunInInt8) {
  for (const char* op : {"LSTM", "GRU"}) {
    const int64_t gates = op[0] == 'L' ? 4 : 3;
    Graph g;
    g.opset = 18;
    g.inputs = {{"x", DType::f32, {{7, ""}, {2, ""}, {8, ""}}}};
    g.add_initializer("axis", s64({1}, {1}));
    const auto layer = [&](const std::string& name, const std::string& x) {
      g.add_initializer(name + "_w", noise({1, gates * 8, 8}, uint32_t(name[0]), 0.5f));
      g.add_initializer(name + "_r", noise({1, gates * 8, 8}, uint32_t(name[0]) + 1, 0.5f));
      g.add_initializer(name + "_b", noise({1, gates * 16}, uint32_t(name[0]) + 2, 0.2f));
      const std::string y = g.add_node(op, name, {x, name + "_w", name + "_r", name + "_b"},
                                       {{"hidden_size", int64_t(8)}, {"linear_before_reset", int64_t(1)}});
      return g.add_node("Squeeze", name + "_y", {y, "axis"});
    };
    const std::string y = layer("second", layer("first", "x"));
    g.add_initializer("head_w", noise({8, 8}, 77, 0.6f));
    g.outputs = {{g.add_node("MatMul", "head", {y, "head_w"}), DType::f32, {}, false}};
    Expected<Prepared> prepared = prepare(g, *Recipe::preset("x86_static"));
    ASSERT_TRUE(prepared) << prepared.status().text();
    const std::map<std::string, Tensor> sample = {{"x", noise({7, 2, 8}, 3)}};
    ASSERT_TRUE(calibrate(*prepared, {sample}).ok());
    const Expected<Graph> q = convert(*prepared);
    ASSERT_TRUE(q) << q.status().text();
    const Expected<Program> p = Program::compile(*q);
    ASSERT_TRUE(p) << p.status().text();
    EXPECT_EQ(p->int8_mac_share(), 1);
    EXPECT_EQ(p->report().size(), 4u) << "the QuantizeLinear of x, two layers, the linear";
    EXPECT_EQ(p->report()[1].macs, 7 * 2 * gates * 8 * 16);
    Expected<Session> before = Session::create(g), after = Session::create(*q);
    const Expected<std::vector<Tensor>> want = before->run(sample), got = after->run(sample);
    ASSERT_TRUE(want && got) << want.status().text() << got.status().text();
    EXPECT_GT(sqnr(values_of<float>((*got)[0]), values_of<float>((*want)[0])), 28) << op;
  }
}

// As exporters write a model that only uses the last state.
TEST(Recurrent, WithoutItsFirstOutput) {
  for (const char* op : {"LSTM", "GRU", "RNN"}) {
    const int64_t gates = op[0] == 'L' ? 4 : op[0] == 'G' ? 3 : 1;
    Graph g;
    g.opset = 18;
    g.inputs = {{"x", DType::f32, {{5, ""}, {2, ""}, {8, ""}}}};
    g.add_initializer("w", noise({1, gates * 4, 8}, 1, 0.5f));
    g.add_initializer("r", noise({1, gates * 4, 4}, 2, 0.5f));
    g.add_node(op, "y", {"x", "w", "r"}, {{"hidden_size", int64_t(4)}});
    g.nodes.back().outputs = {"y", "h"};
    g.outputs = {{"h", DType::f32, {}, false}};
    Graph without = g;
    without.nodes.back().outputs[0].clear();
    const std::map<std::string, Tensor> sample = {{"x", noise({5, 2, 8}, 3)}};
    const auto last = [&](const Graph& graph) {
      Expected<Session> session = Session::create(graph);
      if (!session) throw std::runtime_error(session.status().text());
      const Expected<std::vector<Tensor>> y = session->run(sample);
      if (!y) throw std::runtime_error(y.status().text());
      return values_of<float>((*y)[0]);
    };
    EXPECT_EQ(last(without), last(g)) << op;
    Expected<Prepared> prepared = prepare(without, *Recipe::preset("x86_static"));
    ASSERT_TRUE(prepared) << prepared.status().text();
    ASSERT_TRUE(calibrate(*prepared, {sample}).ok());
    const Expected<Graph> q = convert(*prepared);
    ASSERT_TRUE(q) << q.status().text();
    const std::vector<float> got = last(*q), want = last(g);
    // A state is within [-1, 1]; some steps of 1/128.
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 0.1f) << op;
  }
}

// As behind DenseNet's Concats. The batch norm alone, its result an output too, gives the same bytes.
TEST(Fusion, BatchNormBetweenBytesIsOneCall) {
  Graph g;
  g.opset = 18;
  g.inputs = {{"x", DType::u8, {{2, ""}, {8, ""}, {3, ""}, {3, ""}}}};
  g.add_initializer("zp", Tensor::from(DType::u8, {}, std::vector<uint8_t>{128}));
  for (const char* name : {"gamma", "beta", "mean"}) g.add_initializer(name, noise({8}, uint32_t(name[0])));
  g.add_initializer("var", f32({8}, {1, 2, 3, 4, 5, 6, 7, 8}));
  const std::string x = g.add_node("DequantizeLinear", "dq", {"x", scalar(g, "s", 0.03f), "zp"});
  const std::string relu =
      g.add_node("Relu", "relu", {g.add_node("BatchNormalization", "norm", {x, "gamma", "beta", "mean", "var"})});
  g.add_node("QuantizeLinear", "q", {relu, scalar(g, "t", 0.02f), "zp"});
  g.outputs = {{"q", DType::u8, {}, false}};
  Graph apart = g;
  apart.outputs.push_back({"norm", DType::f32, {}, false});
  std::vector<uint8_t> bytes(144);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = uint8_t(i * 53);
  const std::map<std::string, Tensor> sample = {{"x", Tensor::from(DType::u8, {2, 8, 3, 3}, bytes)}};
  Expected<Session> a = Session::create(g), b = Session::create(apart);
  const Expected<std::vector<Tensor>> fused = a->run(sample), single = b->run(sample);
  ASSERT_TRUE(fused && single) << fused.status().text() << single.status().text();
  EXPECT_EQ(values_of<uint8_t>((*fused)[0]), values_of<uint8_t>((*single)[0]));
  const Expected<const Program*> p = a->program(sample);
  EXPECT_EQ(std::count_if((*p)->report().begin(), (*p)->report().end(),
                          [](const NodeReport& r) { return r.name == "norm" && r.precision == "int8"; }),
            1);
}

TEST(Fusion, LayerNormReadsAndWritesBytes) {
  Graph g;
  g.opset = 18;
  g.inputs = {{"x", DType::u8, {{3, ""}, {8, ""}}}};
  g.add_initializer("zp", Tensor::from(DType::u8, {}, std::vector<uint8_t>{128}));
  g.add_initializer("gamma", noise({8}, 5));
  const std::string x = g.add_node("DequantizeLinear", "dq", {"x", scalar(g, "s", 0.1f), "zp"});
  const std::string y = g.add_node("LayerNormalization", "norm", {x, "gamma"});
  g.add_node("QuantizeLinear", "q", {y, scalar(g, "t", 0.05f), "zp"});
  g.outputs = {{"q", DType::u8, {}, false}};
  Graph apart = g;
  apart.outputs.push_back({"norm", DType::f32, {}, false});
  std::vector<uint8_t> bytes(24);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = uint8_t(i * 53);
  const std::map<std::string, Tensor> sample = {{"x", Tensor::from(DType::u8, {3, 8}, bytes)}};
  Expected<Session> a = Session::create(g), b = Session::create(apart);
  const Expected<std::vector<Tensor>> fused = a->run(sample), single = b->run(sample);
  ASSERT_TRUE(fused && single) << fused.status().text() << single.status().text();
  EXPECT_EQ(values_of<uint8_t>((*fused)[0]), values_of<uint8_t>((*single)[0]));
  const Expected<const Program*> p = a->program(sample);
  ASSERT_EQ((*p)->report().size(), 1u);
  EXPECT_EQ((*p)->report()[0].precision, "int8");
}

}  // namespace
}  // namespace octavo
