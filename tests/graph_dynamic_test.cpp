// Dynamic ranges and weights alone: what convert() writes, that compile() lowers it to kernels, and the values.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "octavo/onnx.h"
#include "octavo/quantize.h"
#include "graph_test_util.h"

namespace octavo {
namespace {

// x [rows, 48] -> MatMul + bias -> Relu -> Gemm (transB) -> y [rows, 10]; the rows of x differ in size.
Graph two_layers(int64_t opset = 13) {
  Graph g;
  g.opset = opset;
  g.inputs = {{"x", DType::f32, {{-1, "rows"}, {48, ""}}, true}};
  g.add_initializer("w1", noise({48, 40}, 1));
  g.add_initializer("b1", noise({40}, 2));
  g.add_initializer("w2", noise({10, 40}, 3));
  g.add_initializer("b2", noise({10}, 4));
  g.add_node("MatMul", "fc1", {"x", "w1"});
  g.add_node("Add", "add1", {"fc1", "b1"});
  g.add_node("Relu", "relu1", {"add1"});
  g.add_node("Gemm", "fc2", {"relu1", "w2", "b2"}, {{"transB", int64_t(1)}});
  g.outputs = {{"fc2", DType::f32, {}, false}};
  return g;
}

Tensor rows_of_many_sizes(int64_t rows) {
  Tensor x = noise({rows, 48}, 7);
  float* v = static_cast<float*>(x.mutable_data());
  for (int64_t i = 0; i < rows * 48; ++i) v[i] *= std::pow(4.0f, float(i / 48 % 5) - 3) + (i < 48 ? 0.0f : 0.01f);
  return x;
}

Graph quantized(const Graph& graph, const Recipe& recipe) {
  Expected<Prepared> p = prepare(graph, recipe);
  EXPECT_TRUE(p) << p.status().text();
  if (!p) return {};
  Expected<Graph> q = convert(*p);
  EXPECT_TRUE(q) << q.status().text();
  return q ? *std::move(q) : Graph();
}

std::vector<float> run(const Graph& graph, const Tensor& x, Isa isa = Isa::scalar, bool use_isa = false, int threads = 1) {
  CompileOptions options;
  options.isa = isa;
  options.use_isa = use_isa;
  Expected<Session> session = Session::create(graph, threads, options);
  EXPECT_TRUE(session) << session.status().text();
  if (!session) return {};
  const auto y = session->run({{"x", x}});
  EXPECT_TRUE(y) << y.status().text();
  if (!y) return {};
  return {(*y)[0].as<float>(), (*y)[0].as<float>() + (*y)[0].count()};
}

double sqnr(const std::vector<float>& x, const std::vector<float>& y) {
  double signal = 0, error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    signal += double(x[i]) * double(x[i]);
    error += (double(x[i]) - double(y[i])) * (double(x[i]) - double(y[i]));
  }
  return 10 * std::log10(signal / error);
}

std::vector<std::string> kernels_of(const Graph& graph, const char* op_type) {
  CompileOptions options;
  options.input_shapes["x"] = {6, 48};
  const Expected<Program> program = Program::compile(graph, options);
  EXPECT_TRUE(program) << program.status().text();
  std::vector<std::string> kernels;
  if (program)
    for (const NodeReport& node : program->report())
      if (node.op_type == op_type) kernels.push_back(node.precision + " " + node.kernel);
  return kernels;
}

class Dynamic : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Recipe, Dynamic, testing::Values("dynamic", "dynamic_per_row"), [](const auto& p) { return p.param; });

TEST_P(Dynamic, NeedsNoCalibrationAndRunsOnInt8Kernels) {
  for (const int64_t opset : {13, 18}) {
    const Graph graph = two_layers(opset), q = quantized(graph, *Recipe::preset(GetParam()));
    CompileOptions options;
    options.input_shapes["x"] = {6, 48};
    const Expected<Program> program = Program::compile(q, options);
    ASSERT_TRUE(program) << program.status().text();
    EXPECT_EQ(program->int8_mac_share(), 1);
    for (const std::string& kernel : kernels_of(q, "MatMulInteger")) EXPECT_EQ(kernel.substr(0, 11), "int8 brgemm");
    // Two times: bytes of x, product with bias and clamp.
    EXPECT_EQ(program->report().size(), 4u);
    const Tensor x = rows_of_many_sizes(6);
    EXPECT_GT(sqnr(run(graph, x), run(q, x)), 30);
  }
}

TEST_P(Dynamic, EqualsTheOperatorsThatTheFileHolds) {
  const Graph q = quantized(two_layers(), *Recipe::preset(GetParam()));
  // With all inner values kept, nothing can be fused: the file as any runtime computes it.
  CompileOptions options;
  options.input_shapes["x"] = {6, 48};
  for (const Node& node : q.nodes)
    for (const std::string& output : node.outputs) options.keep.push_back(output);
  Expected<Session> plain = Session::create(q, 1, options);
  ASSERT_TRUE(plain) << plain.status().text();
  const Tensor x = rows_of_many_sizes(6);
  const auto expected = plain->run({{"x", x}});
  ASSERT_TRUE(expected) << expected.status().text();
  const std::vector<float> y = run(q, x);
  ASSERT_EQ(y.size(), size_t((*expected)[0].count()));
  for (size_t i = 0; i < y.size(); ++i)  // one fma in place of a product and a sum
    EXPECT_NEAR(y[i], (*expected)[0].as<float>()[i], 1e-5 * std::max(1.0f, std::fabs(y[i]))) << i;
}

TEST_P(Dynamic, SameBitsOnEveryIsaAndForEveryNumberOfThreads) {
  const Graph q = quantized(two_layers(), *Recipe::preset(GetParam()));
  const Tensor x = rows_of_many_sizes(133);
  const std::vector<float> y = run(q, x);
  EXPECT_EQ(run(q, x, Isa::scalar, true), y);
  for (const int threads : {2, 3}) EXPECT_EQ(run(q, x, Isa::scalar, false, threads), y);
}

TEST_P(Dynamic, SurvivesTheFile) {
  const Graph q = quantized(two_layers(), *Recipe::preset(GetParam()));
  const Expected<std::string> bytes = serialize_onnx(q);
  ASSERT_TRUE(bytes) << bytes.status().text();
  const Expected<Graph> again = parse_onnx(std::as_bytes(std::span(*bytes)));
  ASSERT_TRUE(again) << again.status().text();
  const Tensor x = rows_of_many_sizes(3);
  EXPECT_EQ(run(*again, x), run(q, x));
}

TEST(DynamicTensor, IsTheFormulaOfReference) {
  // One layer, one row: acc = sum (q - zp) w, y = fma(acc, s_x * s_w[j], b[j]).
  Graph g;
  g.inputs = {{"x", DType::f32, {{1, ""}, {48, ""}}, true}};
  g.add_initializer("w", noise({48, 5}, 1));
  g.add_initializer("b", noise({5}, 2));
  g.add_node("Gemm", "fc", {"x", "w", "b"});
  g.outputs = {{"fc", DType::f32, {}, false}};
  const Graph q = quantized(g, *Recipe::preset("dynamic"));
  const Tensor x = noise({1, 48}, 9);
  const float* v = x.as<float>();
  const float lo = std::min(0.0f, *std::min_element(v, v + 48)), hi = std::max(0.0f, *std::max_element(v, v + 48));
  const float scale = (hi - lo) / 255, zero = std::nearbyint(-lo / scale);
  const std::vector<float> y = run(q, x);
  const Tensor &w = q.initializers.at("w_quantized"), &w_scale = q.initializers.at("w_scale");
  ASSERT_EQ(w.shape(), (Shape{48, 5}));
  for (int64_t j = 0; j < 5; ++j) {
    int32_t acc = 0;
    for (int64_t p = 0; p < 48; ++p)
      acc += (int32_t(std::clamp(std::nearbyint(v[p] / scale) + zero, 0.0f, 255.0f)) - int32_t(zero)) * w.as<int8_t>()[p * 5 + j];
    EXPECT_EQ(y[size_t(j)], std::fma(float(acc), scale * w_scale.as<float>()[j], g.initializers.at("b").as<float>()[j]));
  }
}

TEST(DynamicRows, KeepSmallRowsThatATensorWideRangeLoses) {
  const Graph g = two_layers();
  const Tensor x = rows_of_many_sizes(5);
  const std::vector<float> y = run(g, x);
  const auto whole = run(quantized(g, *Recipe::preset("dynamic")), x);
  const auto rows = run(quantized(g, *Recipe::preset("dynamic_per_row")), x);
  const auto first = [](const std::vector<float>& v) { return std::vector<float>(v.begin(), v.begin() + 10); };  // the smallest row
  EXPECT_GT(sqnr(first(y), first(rows)), sqnr(first(y), first(whole)) + 3);
}

TEST(Dynamic, ReadersOfOneValueShareItsBytes) {
  Graph g;
  g.inputs = {{"x", DType::f32, {{4, ""}, {48, ""}}, true}};
  for (const char* name : {"q", "k", "v"}) {
    g.add_initializer(std::string(name) + ".w", noise({48, 16}, uint64_t(*name)));
    g.add_node("MatMul", name, {"x", std::string(name) + ".w"});
    g.outputs.push_back({name, DType::f32, {}, false});
  }
  const Graph q = quantized(g, *Recipe::preset("dynamic"));
  EXPECT_EQ(std::count_if(q.nodes.begin(), q.nodes.end(), [](const Node& n) { return n.op_type == "DynamicQuantizeLinear"; }), 1);
  const Expected<Program> program = Program::compile(q);
  ASSERT_TRUE(program) << program.status().text();
  EXPECT_EQ(program->report().size(), 4u);
}

TEST(Dynamic, ForMatricesOnly) {
  Graph g;
  g.inputs = {{"x", DType::f32, {{1, ""}, {3, ""}, {8, ""}, {8, ""}}, true}};
  g.add_initializer("w", noise({3, 4, 3, 3}, 1));
  g.add_node("ConvTranspose", "conv", {"x", "w"});
  g.outputs = {{"conv", DType::f32, {}, false}};
  const Expected<Prepared> p = prepare(g, *Recipe::preset("dynamic"));
  ASSERT_TRUE(p) << p.status().text();
  EXPECT_FALSE(p->annotations()[0].quantized);
  EXPECT_EQ(p->annotations()[0].reason, "dynamic ranges are not for operator ConvTranspose");
}

TEST(Dynamic, MixesWithStaticRules) {
  const Graph g = two_layers();
  Recipe recipe = *Recipe::preset("x86_static");
  recipe.set_node_name("fc2", *Recipe::preset("dynamic")->match(Node()));
  Expected<Prepared> p = prepare(g, recipe);
  ASSERT_TRUE(p) << p.status().text();
  EXPECT_EQ(p->observed_values(), (std::vector<std::string>{"x"}));
  ASSERT_TRUE(calibrate(*p, {{{"x", rows_of_many_sizes(6)}}}).ok());
  const Expected<Graph> q = convert(*p);
  ASSERT_TRUE(q) << q.status().text();
  EXPECT_EQ(kernels_of(*q, "MatMulInteger").size(), 1u);
  EXPECT_EQ(kernels_of(*q, "MatMul").size(), 1u);
  CompileOptions options;
  options.input_shapes["x"] = {6, 48};
  EXPECT_EQ(Program::compile(*q, options)->int8_mac_share(), 1);
  const Tensor x = rows_of_many_sizes(6);
  EXPECT_GT(sqnr(run(g, x), run(*q, x)), 28);
}

TEST(WeightOnly, WeightsAreBytesInTheFileAndActivationsFloat) {
  Graph g = two_layers();
  g.add_initializer("table", noise({20, 48}, 11));
  g.add_initializer("ids", Tensor::from(DType::s64, {2}, std::vector<int64_t>{3, 19}));
  g.inputs.push_back({"id", DType::s64, {{2, ""}}, true});
  g.add_node("Gather", "embed", {"table", "id"});
  g.outputs.push_back({"embed", DType::f32, {}, false});
  const Graph q = quantized(g, *Recipe::preset("weight_only"));
  for (const char* name : {"w1_quantized", "w2_quantized", "table_quantized"}) {
    ASSERT_TRUE(q.initializers.count(name)) << name;
    EXPECT_EQ(q.initializers.at(name).dtype(), DType::s8);
  }
  EXPECT_EQ(q.initializers.count("w1"), 0u);
  EXPECT_EQ(q.initializers.at("table_scale").shape(), (Shape{20}));
  Session float_session = *Session::create(g), session = *Session::create(q);
  const std::map<std::string, Tensor> inputs = {{"x", rows_of_many_sizes(3)},
                                                {"id", Tensor::from(DType::s64, {2}, std::vector<int64_t>{19, 3})}};
  const auto a = float_session.run(inputs), b = session.run(inputs);
  ASSERT_TRUE(a) << a.status().text();
  ASSERT_TRUE(b) << b.status().text();
  for (size_t o = 0; o < 2; ++o) {
    const std::vector<float> x((*a)[o].as<float>(), (*a)[o].as<float>() + (*a)[o].count());
    const std::vector<float> y((*b)[o].as<float>(), (*b)[o].as<float>() + (*b)[o].count());
    EXPECT_GT(sqnr(x, y), 40);
  }
}

// Against sums in double; the same bits on every instruction set and for any number of threads.
TEST(WeightOnly, WeightsStayBytesInMemory) {
  constexpr int64_t kDeep = 600, kWide = 37;
  for (const bool transposed : {false, true})
    for (const int64_t rows : {1, 5, 40}) {
      Graph g;
      g.opset = 13;
      g.inputs = {{"x", DType::f32, {{rows, ""}, {kDeep, ""}}, true}, {"r", DType::f32, {{rows, ""}, {kWide, ""}}, true}};
      g.add_initializer("w", noise(transposed ? Shape{kWide, kDeep} : Shape{kDeep, kWide}, 1));
      g.add_initializer("b", noise({kWide}, 2));
      const std::string y = g.add_node("Gemm", "fc", {"x", "w", "b"}, {{"transB", int64_t(transposed)}});
      g.outputs = {{g.add_node("Relu", "relu", {g.add_node("Add", "sum", {y, "r"})}), DType::f32, {}, false}};
      const Graph q = quantized(g, *Recipe::preset("weight_only"));
      const Expected<Program> program = Program::compile(q), plain = Program::compile(g);
      ASSERT_TRUE(program && plain) << program.status().text();
      ASSERT_EQ(program->report().size(), 1u);
      EXPECT_TRUE(program->report()[0].kernel.ends_with(" on s8 weights")) << program->report()[0].kernel;
      EXPECT_EQ(program->report()[0].fused.size(), 2u);
      EXPECT_LT(program->memory().weights + program->memory().constants, 0.4 * double(plain->memory().weights));

      const std::map<std::string, Tensor> x = {{"x", noise({rows, kDeep}, 5)}, {"r", noise({rows, kWide}, 6)}};
      const std::vector<float> got = values_of<float>((*Session::create(q)->run(x))[0]);
      CompileOptions scalar;
      scalar.use_isa = true;
      EXPECT_EQ(got, values_of<float>((*Session::create(q, 1, scalar)->run(x))[0]));
      EXPECT_EQ(got, values_of<float>((*Session::create(q, 3)->run(x))[0]));

      const int8_t* w = q.initializers.at("w_quantized").as<int8_t>();
      const float* scale = q.initializers.at("w_scale").as<float>();
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < kWide; ++j) {
          double sum = 0, size = 0;
          for (int64_t p = 0; p < kDeep; ++p) {
            const double product = double(x.at("x").as<float>()[i * kDeep + p]) * w[transposed ? j * kDeep + p : p * kWide + j];
            sum += product, size += std::abs(product);
          }
          const double want = sum * double(scale[j]) + double(g.initializers.at("b").as<float>()[j]) + double(x.at("r").as<float>()[i * kWide + j]);
          // Each of at most 256 + 3 additions rounds by 2^-24 of a sum that is at most `size`.
          EXPECT_NEAR(got[size_t(i * kWide + j)], std::max(want, 0.0), 260 * size * double(scale[j]) * 0x1p-24 + 1e-6);
        }
    }
}

TEST(WeightOnly, WeightsOfConvolutionsStayBytesToo) {
  using Ints = std::vector<int64_t>;
  struct Case {
    const char* what;
    Shape x, w;
    std::map<std::string, Attribute> attributes;
  };
  const Case cases[] = {
      {"1x1", {2, 40, 5, 7}, {37, 40, 1, 1}, {}},
      {"1x1, strided", {1, 40, 6, 7}, {37, 40, 1, 1}, {{"strides", Ints{2, 2}}}},
      {"1x1, padded", {1, 40, 6, 7}, {37, 40, 1, 1}, {{"pads", Ints{0, 1, 1, 0}}}},
      {"3x3", {2, 24, 7, 5}, {37, 24, 3, 3}, {{"pads", Ints{1, 1, 1, 1}}}},
      {"strided, uneven pads", {1, 24, 9, 8}, {37, 24, 3, 2}, {{"pads", Ints{0, 1, 2, 1}}, {"strides", Ints{2, 3}}}},
      {"dilated", {1, 24, 9, 8}, {37, 24, 3, 3}, {{"pads", Ints{2, 0, 2, 0}}, {"dilations", Ints{2, 3}}}},
      {"1-D", {2, 24, 30}, {37, 24, 5}, {{"pads", Ints{2, 2}}}},
  };
  for (const Case& c : cases) {
    Graph g;
    g.opset = 13;
    std::vector<Dim> dims;
    for (int64_t d : c.x) dims.push_back({d, ""});
    g.inputs = {{"x", DType::f32, dims, true}};
    g.add_initializer("w", noise(c.w, 1));
    g.add_initializer("b", noise({37}, 2));
    const std::string y = g.add_node("Conv", "conv", {"x", "w", "b"}, c.attributes);
    Graph only = g;
    only.outputs = {{y, DType::f32, {}, false}};
    Shape shape = infer_shapes(only, {{"x", c.x}})->at(y).shape;
    dims.clear();
    for (int64_t d : shape) dims.push_back({d, ""});
    g.inputs.push_back({"r", DType::f32, dims, true});
    g.outputs = {{g.add_node("Relu", "relu", {g.add_node("Add", "sum", {y, "r"})}), DType::f32, {}, false}};
    const Graph q = quantized(g, *Recipe::preset("weight_only"));
    const Expected<Program> program = Program::compile(q), plain = Program::compile(g);
    ASSERT_TRUE(program && plain) << c.what << program.status().text();
    const NodeReport* conv = nullptr;
    for (const NodeReport& r : program->report())
      if (r.name == "conv") conv = &r;
    ASSERT_TRUE(conv) << c.what;
    EXPECT_TRUE(conv->kernel.ends_with(" on s8 weights")) << conv->kernel;
    EXPECT_EQ(conv->fused.size(), 2u) << c.what;
    EXPECT_LT(double(program->memory().weights + program->memory().constants), 0.4 * double(plain->memory().weights)) << c.what;

    const std::map<std::string, Tensor> sample = {{"x", noise(c.x, 5)}, {"r", noise(shape, 6)}};
    const std::vector<float> got = values_of<float>((*Session::create(q)->run(sample))[0]);
    CompileOptions scalar;
    scalar.use_isa = true;
    EXPECT_EQ(got, values_of<float>((*Session::create(q, 1, scalar)->run(sample))[0])) << c.what;
    EXPECT_EQ(got, values_of<float>((*Session::create(q, 3)->run(sample))[0])) << c.what;

    // The generic operators in float on what the weights stand for. A sum of some hundred products below 1.
    Graph real = g;
    std::vector<float> w;
    const Tensor &bytes = q.initializers.at("w_quantized"), &scale = q.initializers.at("w_scale");
    for (int64_t i = 0; i < bytes.count(); ++i)
      w.push_back(float(bytes.as<int8_t>()[i]) * scale.as<float>()[i / (bytes.count() / 37)]);
    real.add_initializer("w", f32(c.w, w));
    const Expected<std::vector<Tensor>> want = fold_all(real, sample);
    ASSERT_TRUE(want) << want.status().text();
    ASSERT_EQ(got.size(), size_t((*want)[0].count()));
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], (*want)[0].as<float>()[i], 1e-4) << c.what << " " << i;
  }
}

TEST(WeightOnly, PaddingBeyondAllMemoryIsAnError) {
  constexpr int64_t kFar = 1 << 24;
  Graph g;
  g.opset = 13;
  g.inputs = {{"x", DType::f32, {{1, ""}, {1 << 14, ""}, {1, ""}, {1, ""}}, true}};
  g.add_initializer("q", Tensor::from(DType::s8, {1, 1 << 14, 1, 1}, std::vector<int8_t>(1 << 14, 1)));
  g.add_initializer("s", f32({}, {0.5f}));
  g.add_node("DequantizeLinear", "w", {"q", "s"});
  g.add_node("Conv", "y", {"x", "w"}, {{"pads", std::vector<int64_t>(4, kFar)}, {"strides", std::vector<int64_t>(2, kFar)}});
  g.outputs = {{"y", DType::f32, {}, false}};
  const Expected<Program> p = Program::compile(g);
  ASSERT_FALSE(p);
  EXPECT_EQ(p.status().code(), Code::overflow) << p.status().text();
}

TEST(UnsignedWeights, WithZeroPoint128RunInInt8) {
  // As exporters of models trained with fake quantization write them.
  Graph g = two_layers();
  Prepared p = *prepare(g, *Recipe::preset("x86_static"));
  ASSERT_TRUE(calibrate(p, {{{"x", rows_of_many_sizes(6)}}}).ok());
  const Graph s8 = *convert(p);
  Graph u8 = s8;
  for (const char* name : {"w1", "w2"}) {
    const Tensor& w = s8.initializers.at(std::string(name) + "_quantized");
    std::vector<uint8_t> shifted;
    for (int64_t i = 0; i < w.count(); ++i) shifted.push_back(uint8_t(w.as<int8_t>()[i] + 128));
    u8.add_initializer(std::string(name) + "_quantized", Tensor::from(DType::u8, w.shape(), shifted));
    const Tensor& zero = s8.initializers.at(std::string(name) + "_zero_point");
    u8.add_initializer(std::string(name) + "_zero_point",
                       Tensor::from(DType::u8, zero.shape(), std::vector<uint8_t>(size_t(zero.count()), 128)));
  }
  CompileOptions options;
  options.input_shapes["x"] = {6, 48};
  EXPECT_EQ(Program::compile(u8, options)->int8_mac_share(), 1);
  EXPECT_EQ(run(u8, rows_of_many_sizes(6)), run(s8, rows_of_many_sizes(6)));
}

}  // namespace
}  // namespace octavo
