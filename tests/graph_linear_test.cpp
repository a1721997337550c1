// What else multiplies by constants on plans: transposed convolutions, products of one input as one step, tables of rows, sums of
// bytes, and convolutions whose range is found at run time.
#include <gtest/gtest.h>

#include <cmath>

#include "graph_test_util.h"
#include "octavo/onnx.h"
#include "octavo/quantize.h"
#include "octavo/reference.h"
#include "octavo/session.h"

namespace octavo {
namespace {

using Sample = std::map<std::string, Tensor>;

Graph with_input(Shape shape, DType dtype = DType::f32) {
  Graph g;
  g.opset = 18;
  std::vector<Dim> dims;
  for (int64_t d : shape) dims.push_back({d, ""});
  g.inputs = {{"x", dtype, dims, true}};
  return g;
}

void set_output(Graph& g, const std::string& name, DType dtype = DType::f32) { g.outputs.push_back({name, dtype, {}, false}); }

Graph quantized(const Graph& g, const std::string& preset, const Sample& sample) {
  Expected<Prepared> prepared = prepare(g, *Recipe::preset(preset));
  EXPECT_TRUE(prepared) << prepared.status().text();
  EXPECT_TRUE(calibrate(*prepared, {sample}).ok());
  Expected<Graph> q = convert(*prepared);
  EXPECT_TRUE(q) << q.status().text();
  return *q;
}

std::vector<Tensor> run(const Graph& g, const Sample& sample, int threads = 1) {
  Expected<Session> s = Session::create(g, threads);
  EXPECT_TRUE(s) << s.status().text();
  const Expected<std::vector<Tensor>> y = s->run(sample);
  EXPECT_TRUE(y) << y.status().text();
  return y ? *y : std::vector<Tensor>();
}

std::vector<NodeReport> report_of(const Graph& g, const CompileOptions& options = {}) {
  const Expected<Program> p = Program::compile(g, options);
  EXPECT_TRUE(p) << p.status().text();
  return p ? std::vector<NodeReport>(p->report().begin(), p->report().end()) : std::vector<NodeReport>();
}

const NodeReport* find(const std::vector<NodeReport>& report, const std::string& name) {
  for (const NodeReport& r : report)
    if (r.name == name) return &r;
  return nullptr;
}

double sqnr(const Tensor& got, const Tensor& want) {
  double signal = 0, error = 0;
  for (int64_t i = 0; i < want.count(); ++i) {
    const double w = double(want.as<float>()[i]), d = double(got.as<float>()[i]) - w;
    signal += w * w, error += d * d;
  }
  return 10 * std::log10(signal / std::max(error, 1e-30));
}

// The values of a float graph's result by the generic operators.
Tensor by_definition(const Graph& g, const Sample& sample) {
  const Expected<std::vector<Tensor>> y = fold_all(g, sample);
  EXPECT_TRUE(y) << y.status().text();
  return (*y)[0];
}

// ---- ConvTranspose

struct Spread {
  const char* what;
  Shape x, w;
  std::map<std::string, Attribute> attributes;
};

using Ints = std::vector<int64_t>;

const Spread kSpreads[] = {
    {"2x2 of stride 2", {1, 16, 5, 6}, {16, 12, 2, 2}, {{"strides", Ints{2, 2}}}},
    {"4x4 of stride 2", {2, 8, 5, 6}, {8, 12, 4, 4}, {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}}},
    {"output padding", {1, 8, 5, 6}, {8, 12, 3, 3}, {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}, {"output_padding", Ints{1, 1}}}},
    {"dilated", {1, 8, 5, 6}, {8, 12, 3, 3}, {{"strides", Ints{2, 2}}, {"dilations", Ints{2, 3}}}},
    {"groups", {1, 8, 5, 6}, {8, 6, 3, 3}, {{"strides", Ints{2, 2}}, {"group", int64_t{2}}}},
    {"depthwise", {1, 8, 5, 6}, {8, 1, 4, 4}, {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}, {"group", int64_t{8}}}},
    {"auto_pad", {1, 8, 5, 6}, {8, 12, 3, 3}, {{"strides", Ints{2, 2}}, {"auto_pad", std::string("SAME_UPPER")}}},
    {"output_shape", {1, 8, 5, 6}, {8, 12, 3, 3}, {{"strides", Ints{2, 2}}, {"output_shape", Ints{10, 12}}}},
    {"1-D", {1, 8, 20}, {8, 12, 8}, {{"strides", Ints{4}}, {"pads", Ints{2, 2}}}},
};

// x -> ConvTranspose with a bias -> Relu
Graph spread(const Spread& s) {
  Graph g = with_input(s.x);
  const auto group = s.attributes.find("group");
  const int64_t oc = s.w[1] * (group == s.attributes.end() ? 1 : std::get<int64_t>(group->second));
  g.add_initializer("w", noise(s.w, 3, 0.3f));
  g.add_initializer("b", noise({oc}, 4, 0.5f));
  set_output(g, g.add_node("Relu", "relu", {g.add_node("ConvTranspose", "up", {"x", "w", "b"}, s.attributes)}));
  return g;
}

TEST(Linear, TransposedConvolutionsInFloatAreOneCall) {
  for (const Spread& s : kSpreads) {
    const Graph g = spread(s);
    const Sample sample = {{"x", noise(s.x, 5)}};
    const Tensor want = by_definition(g, sample), got = run(g, sample)[0];
    ASSERT_EQ(got.shape(), want.shape()) << s.what;
    // Sums of up to 144 products in another order.
    for (int64_t i = 0; i < want.count(); ++i) ASSERT_NEAR(got.as<float>()[i], want.as<float>()[i], 2e-5f) << s.what << " at " << i;
    const std::vector<NodeReport> report = report_of(g);
    const NodeReport* up = find(report, "up");
    ASSERT_TRUE(up) << s.what;
    EXPECT_NE(up->kernel, "generic") << s.what;
    EXPECT_EQ(up->fused, std::vector<std::string>{"relu"}) << s.what;
    EXPECT_GT(up->macs, 0) << s.what;
  }
}

TEST(Linear, TransposedConvolutionsInInt8AreOneCall) {
  for (const char* preset : {"x86_static", "arm_static"})
    for (const Spread& s : kSpreads) {
      const Graph g = spread(s);
      const Sample sample = {{"x", noise(s.x, 5)}};
      const Graph q = quantized(g, preset, sample);
      const std::vector<NodeReport> report = report_of(q);
      const NodeReport* up = find(report, "up");
      ASSERT_TRUE(up) << s.what;
      EXPECT_EQ(up->precision, "int8") << s.what << ": " << up->why_not_int8;
      EXPECT_NE(up->kernel.find(preset[0] == 'x' ? "_u8s8_" : "_s8s8_"), std::string::npos) << up->kernel;
      EXPECT_EQ(Program::compile(q)->int8_mac_share(), 1);
      EXPECT_GT(sqnr(run(q, sample)[0], run(g, sample)[0]), 30) << s.what;
      for (int threads : {2, 3}) {
        const Tensor one = run(q, sample)[0], many = run(q, sample, threads)[0];
        EXPECT_EQ(values_of<float>(one), values_of<float>(many)) << s.what;
      }
      // It is a file that others read.
      const Expected<std::string> file = serialize_onnx(q);
      ASSERT_TRUE(file);
      const Expected<Graph> again = parse_onnx(std::as_bytes(std::span(*file)));
      ASSERT_TRUE(again) << again.status().text();
    }
}

// ---- products of one input

// x [n, 16] -> q, k, v (of 16, 16 and 24 columns, with biases) -> Relu each
Graph three_products() {
  Graph g = with_input({7, 16});
  const std::string x = g.add_node("Relu", "entry", {"x"});
  const int64_t widths[] = {16, 16, 24};
  for (int i = 0; i < 3; ++i) {
    const std::string name = std::string(1, "qkv"[i]);
    g.add_initializer(name + "_w", noise({16, widths[i]}, uint64_t(10 + i), 0.2f + 0.3f * float(i)));
    g.add_initializer(name + "_b", noise({widths[i]}, uint64_t(20 + i)));
    const std::string y = g.add_node("Add", name + "_sum", {g.add_node("MatMul", name, {x, name + "_w"}), name + "_b"});
    set_output(g, i == 1 ? g.add_node("Relu", name + "_relu", {y}) : y);
  }
  return g;
}

TEST(Linear, ProductsOfOneInputAreOneCall) {
  const Graph g = three_products();
  const Sample sample = {{"x", noise({7, 16}, 6)}};
  const Graph q = quantized(g, "x86_static", sample);
  for (const Graph* graph : {&g, &q}) {
    const std::vector<NodeReport> report = report_of(*graph);
    std::vector<const NodeReport*> products;
    for (const NodeReport& r : report)
      if (r.macs > 0) products.push_back(&r);
    ASSERT_EQ(products.size(), 1u);
    EXPECT_EQ(products[0]->name, "q");
    EXPECT_EQ(products[0]->macs, 7 * 16 * 56);
    EXPECT_EQ(products[0]->precision, graph == &q ? "int8" : "float");
    for (const char* name : {"k", "v", "q_sum", "k_relu"})
      EXPECT_EQ(std::count(products[0]->fused.begin(), products[0]->fused.end(), name), 1) << name;
    // The same bits as each product by itself, on any number of threads.
    const std::vector<Tensor> all = run(*graph, sample);
    for (int threads : {1, 2, 3}) {
      const std::vector<Tensor> threaded = run(*graph, sample, threads);
      for (size_t i = 0; i < 3; ++i) {
        Graph alone = *graph;
        alone.outputs = {graph->outputs[i]};
        remove_dead(alone);
        EXPECT_EQ(values_of<float>(all[i]), values_of<float>(run(alone, sample)[0]));
        EXPECT_EQ(values_of<float>(all[i]), values_of<float>(threaded[i]));
      }
    }
  }
  const std::vector<Tensor> a = run(g, sample), b = run(q, sample);
  for (size_t i = 0; i < 3; ++i) EXPECT_GT(sqnr(b[i], a[i]), 30);
}

// ---- tables

Graph lookup(bool matmul) {
  Graph g;
  g.opset = 18;
  g.inputs = {{"x", DType::s64, {{2, ""}, {3, ""}}, true}};
  g.add_initializer("table", noise({50, 32}, 7));
  std::string y = g.add_node("Gather", "lookup", {"table", "x"});
  if (matmul) {
    g.add_initializer("w", noise({32, 8}, 8, 0.3f));
    y = g.add_node("MatMul", "product", {y, "w"});
  }
  set_output(g, y);
  return g;
}

TEST(Linear, TablesAreInInt8AndOnlyTheirRowsAreReal) {
  const Sample sample = {{"x", s64({2, 3}, {0, 49, -1, 7, 7, -50})}};
  for (const std::string preset : {"x86_static", "arm_static", "dynamic", "dynamic_per_row", "weight_only"})
    for (const bool matmul : {false, true}) {
      const Graph g = lookup(matmul), q = quantized(g, preset, sample);
      size_t float_bytes = 0, bytes = 0;
      for (const auto& [name, t] : g.initializers) float_bytes += t.bytes();
      for (const auto& [name, t] : q.initializers) bytes += t.bytes();
      EXPECT_LT(double(bytes), 0.32 * double(float_bytes)) << preset;
      const std::vector<NodeReport> report = report_of(q);
      const NodeReport* row = find(report, "lookup");
      ASSERT_TRUE(row) << preset;
      EXPECT_EQ(row->precision, "int8") << preset;
      // What follows in int8 reads bytes: the QuantizeLinear is part of the step.
      EXPECT_EQ(row->fused.size(), matmul && preset.find("static") != std::string::npos ? 1u : 0u) << preset;
      EXPECT_GT(sqnr(run(q, sample)[0], run(g, sample)[0]), 33) << preset;
    }
  const Graph q = quantized(lookup(false), "x86_static", sample);
  Expected<Session> s = Session::create(q);
  const Expected<std::vector<Tensor>> y = s->run({{"x", s64({2, 3}, {0, 1, 2, 50, 0, 0})}});
  ASSERT_FALSE(y);
  EXPECT_NE(std::string(y.status().text()).find("index 50"), std::string::npos) << y.status().text();
  EXPECT_NE(std::string(y.status().text()).find("lookup"), std::string::npos) << y.status().text();
}

// One scale for the table, the same as that of the reader: rows are copied.
TEST(Linear, RowsThatAreReadAsTheyAreStayBytes) {
  Graph g;
  g.opset = 18;
  g.inputs = {{"x", DType::s32, {{4, ""}}, true}};
  std::vector<int8_t> table(5 * 3);
  test::Noise(9).fill(table.data(), table.size());
  g.add_initializer("table", Tensor::from(DType::s8, {5, 3}, table));
  g.add_initializer("s", f32({}, {0.1f}));
  g.add_initializer("z", Tensor::from(DType::s8, {}, std::vector<int8_t>{0}));
  const std::string rows = g.add_node("Gather", "lookup", {g.add_node("DequantizeLinear", "dq", {"table", "s", "z"}), "x"});
  set_output(g, g.add_node("QuantizeLinear", "q", {rows, "s", "z"}), DType::s8);
  const Tensor y = run(g, {{"x", Tensor::from(DType::s32, {4}, std::vector<int32_t>{4, 0, -1, 2})}})[0];
  const int64_t at[] = {4, 0, 4, 2};
  for (size_t i = 0; i < 12; ++i) EXPECT_EQ(y.as<int8_t>()[i], table[size_t(at[i / 3]) * 3 + i % 3]);
  EXPECT_EQ(report_of(g).size(), 1u);
}

// ---- sums of bytes

TEST(Linear, IntegerOperatorsWithConstantWeightsRunOnPlans) {
  test::Noise noise(11);
  std::vector<int8_t> w(6 * 4 * 9);
  noise.fill(w.data(), w.size());
  std::vector<uint8_t> shifted;
  for (int8_t v : w) shifted.push_back(uint8_t(int(v) + 128));
  std::vector<uint8_t> x(2 * 4 * 30);
  noise.fill(x.data(), x.size());
  for (const bool conv : {true, false})
    for (const bool unsigned_weights : {false, true})
      for (const int scaled : {0, 1, 2}) {  // as it is; times one scale; times one for each channel
        const Shape shape = conv ? Shape{2, 4, 5, 6} : Shape{10, 24}, ws = conv ? Shape{6, 4, 3, 3} : Shape{24, 9};
        Graph g = with_input(shape, DType::u8);
        g.add_initializer("w", unsigned_weights ? Tensor::from(DType::u8, ws, shifted) : Tensor::from(DType::s8, ws, w));
        g.add_initializer("xz", Tensor::from(DType::u8, {}, std::vector<uint8_t>{131}));
        g.add_initializer("wz", unsigned_weights ? Tensor::from(DType::u8, {}, std::vector<uint8_t>{128}) : Tensor::from(DType::s8, {}, std::vector<int8_t>{0}));
        std::map<std::string, Attribute> attributes;
        if (conv) attributes["pads"] = Ints{1, 1, 1, 1};
        std::string y = g.add_node(conv ? "ConvInteger" : "MatMulInteger", "sums", {"x", "w", "xz", "wz"}, attributes);
        const int64_t channels = conv ? 6 : 9;
        if (scaled) {
          g.add_initializer("s", scaled == 1 ? f32({}, {0.01f}) : octavo::noise(conv ? Shape{6, 1, 1} : Shape{9}, 12));
          if (scaled == 2) {  // positive ones
            std::vector<float> s;
            for (int64_t i = 0; i < channels; ++i) s.push_back(0.01f * float(i + 1));
            g.initializers["s"] = f32(conv ? Shape{6, 1, 1} : Shape{9}, s);
          }
          y = g.add_node("Mul", "scaled", {g.add_node("Cast", "real", {y}, {{"to", int64_t{1}}}), "s"});
        }
        set_output(g, y, scaled ? DType::f32 : DType::s32);
        const Sample sample = {{"x", Tensor::from(DType::u8, shape, x)}};
        const Tensor want = by_definition(g, sample), got = run(g, sample)[0];
        ASSERT_EQ(got.shape(), want.shape());
        if (!scaled) {
          EXPECT_EQ(values_of<int32_t>(got), values_of<int32_t>(want));
        } else {
          EXPECT_EQ(values_of<float>(got), values_of<float>(want));
        }
        const std::vector<NodeReport> report = report_of(g);
        const NodeReport* sums = find(report, "sums");
        ASSERT_TRUE(sums);
        EXPECT_EQ(sums->precision, "int8");
        EXPECT_EQ(sums->kernel.rfind("brgemm_u8s8", 0), 0u) << sums->kernel;
        EXPECT_EQ(sums->fused.size(), scaled ? 2u : 0u);
      }
}

TEST(Linear, QLinearMatMulOfTwoComputedOperandsIsOneCall) {
  Graph g = with_input({2, 5, 12}, DType::u8);
  g.inputs.push_back({"b", DType::s8, {{2, ""}, {12, ""}, {7, ""}}, true});
  const auto params = [&](const std::string& name, float scale, Tensor zero) {
    g.add_initializer(name + "_s", f32({}, {scale}));
    g.add_initializer(name + "_z", std::move(zero));
  };
  params("a", 0.02f, Tensor::from(DType::u8, {}, std::vector<uint8_t>{131}));
  params("b", 0.01f, Tensor::from(DType::s8, {}, std::vector<int8_t>{0}));
  params("y", 0.3f, Tensor::from(DType::u8, {}, std::vector<uint8_t>{120}));
  set_output(g, g.add_node("QLinearMatMul", "product", {"x", "a_s", "a_z", "b", "b_s", "b_z", "y_s", "y_z"}), DType::u8);
  std::vector<uint8_t> x(2 * 5 * 12);
  std::vector<int8_t> b(2 * 12 * 7);
  test::Noise noise(13);
  noise.fill(x.data(), x.size());
  noise.fill(b.data(), b.size());
  const Tensor y = run(g, {{"x", Tensor::from(DType::u8, {2, 5, 12}, x)}, {"b", Tensor::from(DType::s8, {2, 12, 7}, b)}})[0];
  const float m = requantize_multiplier(0.02f, 0.01f, 0.3f);
  for (size_t h = 0; h < 2; ++h)
    for (size_t i = 0; i < 5; ++i)
      for (size_t j = 0; j < 7; ++j) {
        int32_t sum = 0;
        for (size_t p = 0; p < 12; ++p) sum += (int32_t(x[(h * 5 + i) * 12 + p]) - 131) * b[(h * 12 + p) * 7 + j];
        EXPECT_EQ(int(y.as<uint8_t>()[(h * 5 + i) * 7 + j]), reference::round_q(float(sum) * m, 0, 255, 120));
      }
  const std::vector<NodeReport> report = report_of(g);
  ASSERT_EQ(report.size(), 1u);
  EXPECT_EQ(report[0].precision, "int8");
}

// ---- dynamic convolutions

TEST(Linear, ConvolutionsWithRangesFoundAtRunTimeAreOneCall) {
  struct Case {
    const char* what;
    Shape x, w;
    std::map<std::string, Attribute> attributes;
  };
  const Case cases[] = {
      {"3x3", {2, 8, 7, 9}, {12, 8, 3, 3}, {{"pads", Ints{1, 1, 1, 1}}}},
      {"1x1", {1, 8, 7, 9}, {12, 8, 1, 1}, {}},
      {"strided, uneven pads", {1, 8, 7, 9}, {12, 8, 3, 3}, {{"pads", Ints{0, 1, 2, 3}}, {"strides", Ints{2, 2}}}},
      {"groups", {1, 8, 7, 9}, {12, 4, 3, 3}, {{"pads", Ints{1, 1, 1, 1}}, {"group", int64_t{2}}}},
      {"depthwise", {1, 8, 7, 9}, {8, 1, 3, 3}, {{"pads", Ints{1, 1, 1, 1}}, {"group", int64_t{8}}}},
      {"1-D", {1, 8, 30}, {12, 8, 5}, {{"pads", Ints{2, 2}}}},
  };
  for (const char* preset : {"dynamic", "dynamic_per_row"})
    for (const bool bias : {false, true})
      for (const Case& c : cases) {
        Graph g = with_input(c.x);
        std::vector<std::string> inputs = {"x", g.add_initializer("w", noise(c.w, 14, 0.3f))};
        if (bias) inputs.push_back(g.add_initializer("b", noise({c.w[0]}, 15)));
        set_output(g, g.add_node("Relu", "relu", {g.add_node("Conv", "conv", inputs, c.attributes)}));
        std::vector<float> values = values_of<float>(noise(c.x, 16, 2));
        for (float& v : values) v += 0.7f;  // so that the zero point is not in the middle
        const Sample sample = {{"x", f32(c.x, values)}};
        const Graph q = quantized(g, preset, sample);
        const std::vector<NodeReport> report = report_of(q);
        const NodeReport* conv = find(report, "conv");
        ASSERT_TRUE(conv) << c.what;
        EXPECT_EQ(conv->precision, "int8") << c.what;
        EXPECT_NE(conv->kernel, "generic") << c.what;
        EXPECT_EQ(conv->fused.size(), bias ? 4u : 3u) << c.what;  // Cast, Mul, Add, Relu
        EXPECT_GT(sqnr(run(q, sample)[0], run(g, sample)[0]), 35) << c.what;
        // The same as the operators one by one, but for the order in which scales are multiplied.
        const Tensor want = by_definition(q, sample), got = run(q, sample, 2)[0];
        for (int64_t i = 0; i < want.count(); ++i)
          ASSERT_NEAR(got.as<float>()[i], want.as<float>()[i], 1e-5f * std::max(1.0f, std::fabs(want.as<float>()[i]))) << c.what << " at " << i;
      }
}

}  // namespace
}  // namespace octavo
