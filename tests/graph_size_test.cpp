// The file of an INT8 model is a quarter of the float one's, and little more.
#include <gtest/gtest.h>

#include "graph_test_util.h"
#include "octavo/onnx.h"
#include "octavo/quantize.h"

namespace octavo {
namespace {

constexpr double kShare = 0.27;  // a byte for each weight of four, and scales, zero points, biases and names

// Of the files, INT8 to float.
double share(const Graph& graph, const std::string& preset, const std::map<std::string, Tensor>& sample) {
  Expected<Prepared> prepared = prepare(graph, *Recipe::preset(preset));
  EXPECT_TRUE(prepared) << prepared.status().text();
  EXPECT_TRUE(calibrate(*prepared, {sample}).ok());
  const Expected<Graph> q = convert(*prepared);
  EXPECT_TRUE(q) << q.status().text();
  const Expected<std::string> before = serialize_onnx(graph), after = serialize_onnx(*q);
  EXPECT_TRUE(before && after);
  return double(after->size()) / double(before->size());
}

// A bottleneck of ResNet-50 (conv4_x): 1x1, 3x3, 1x1 and the residual. In narrower ones what each channel has beside its weights,
// 17 bytes, shows more; the whole model is at 0.255.
TEST(Size, ConvolutionsAreAQuarter) {
  constexpr int64_t kOuter = 1024, kInner = 256;
  Graph g;
  g.opset = 18;
  g.inputs = {{"x", DType::f32, {{1, ""}, {kOuter, ""}, {4, ""}, {4, ""}}}};
  const auto conv = [&](const std::string& name, const std::string& x, int64_t in, int64_t out, int64_t k) {
    g.add_initializer(name + "_w", noise({out, in, k, k}, uint64_t(in + k), 0.1f));
    g.add_initializer(name + "_b", noise({out}, uint64_t(out)));
    return g.add_node("Conv", name, {x, name + "_w", name + "_b"}, {{"pads", std::vector<int64_t>(4, k / 2)}});
  };
  const std::string reduced = g.add_node("Relu", "relu1", {conv("conv1", "x", kOuter, kInner, 1)});
  const std::string seen = g.add_node("Relu", "relu2", {conv("conv2", reduced, kInner, kInner, 3)});
  const std::string sum = g.add_node("Add", "sum", {conv("conv3", seen, kInner, kOuter, 1), "x"});
  g.outputs = {{g.add_node("Relu", "relu3", {sum}), DType::f32, {}, false}};
  for (const char* preset : {"x86_static", "arm_static", "dynamic", "weight_only"})
    EXPECT_LE(share(g, preset, {{"x", noise({1, kOuter, 4, 4}, 1)}}), kShare) << preset;
}

// Embedding and feed-forward layer of a transformer; the table is the largest tensor of BERT-base.
TEST(Size, TablesAndMatricesAreAQuarter) {
  constexpr int64_t kTokens = 16, kWords = 1000, kWidth = 256;
  Graph g;
  g.opset = 18;
  g.inputs = {{"ids", DType::s64, {{1, ""}, {kTokens, ""}}}};
  g.add_initializer("words", noise({kWords, kWidth}, 1));
  const auto linear = [&](const std::string& name, const std::string& x, int64_t in, int64_t out) {
    g.add_initializer(name + "_w", noise({in, out}, uint64_t(in), 0.1f));
    g.add_initializer(name + "_b", noise({out}, uint64_t(out)));
    return g.add_node("Add", name + "_sum", {g.add_node("MatMul", name, {x, name + "_w"}), name + "_b"});
  };
  const std::string x = g.add_node("Gather", "embedding", {"words", "ids"});
  const std::string wide = g.add_node("Relu", "relu", {linear("up", x, kWidth, 4 * kWidth)});
  g.outputs = {{linear("down", wide, 4 * kWidth, kWidth), DType::f32, {}, false}};
  std::vector<int64_t> ids(kTokens);
  for (int64_t i = 0; i < kTokens; ++i) ids[size_t(i)] = i * 61 % kWords;
  for (const char* preset : {"x86_static", "arm_static", "dynamic", "dynamic_per_row", "weight_only"})
    EXPECT_LE(share(g, preset, {{"ids", s64({1, kTokens}, ids)}}), kShare) << preset;
}

}  // namespace
}  // namespace octavo
