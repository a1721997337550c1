// Constant folding and batch-norm folding: what becomes of the nodes, and that values stay.
#include <gtest/gtest.h>

#include <cmath>

#include "graph_test_util.h"
#include "octavo/graph.h"

namespace octavo {
namespace {

ValueInfo value(std::string name, std::vector<Dim> dims) { return {std::move(name), DType::f32, std::move(dims), true}; }

std::vector<std::string> op_types(const Graph& graph) {
  std::vector<std::string> types;
  for (const Node& node : graph.nodes) types.push_back(node.op_type);
  return types;
}

using Types = std::vector<std::string>;

TEST(FoldConstants, ConstantsBecomeInitializers) {
  Graph graph;
  graph.inputs = {value("x", {{-1, "N"}})};
  graph.add_node("Constant", "two", {}, {{"value", f32({}, {2})}});
  graph.add_initializer("three", f32({}, {3}));
  graph.add_node("Mul", "six", {"two", "three"});
  graph.add_node("Mul", "y", {"x", "six"});
  graph.outputs = {value("y", {{-1, "N"}})};
  ASSERT_TRUE(fold_constants(graph).ok());
  EXPECT_EQ(op_types(graph), Types{"Mul"});
  ASSERT_EQ(graph.initializers.size(), 1u);
  EXPECT_EQ(values_of<float>(graph.initializers.at("six")), std::vector<float>{6});
}

TEST(FoldConstants, IdentityDropoutAndNoOpReshapesVanish) {
  Graph graph;
  graph.inputs = {value("x", {{2, ""}, {3, ""}})};
  graph.add_node("Identity", "a", {"x"});
  graph.add_node("Dropout", "b", {"a"});
  graph.add_node("Flatten", "c", {"b"});
  graph.add_node("Relu", "d", {"c"});
  graph.add_node("Identity", "y", {"d"});
  graph.outputs = {value("y", {{2, ""}, {3, ""}})};
  ASSERT_TRUE(fold_constants(graph).ok());
  ASSERT_EQ(op_types(graph), Types{"Relu"});
  EXPECT_EQ(graph.nodes[0].inputs, std::vector<std::string>{"x"});
  EXPECT_EQ(graph.nodes[0].outputs, std::vector<std::string>{"y"});  // the graph output keeps its name
}

TEST(FoldConstants, AnIdentityBetweenInputAndOutputStays) {
  Graph graph;
  graph.inputs = {value("x", {{2, ""}})};
  graph.add_node("Identity", "y", {"x"});
  graph.add_node("Relu", "r", {"x"});
  graph.add_node("Identity", "y1", {"r"});
  graph.add_node("Identity", "y2", {"r"});
  graph.outputs = {value("y", {{2, ""}}), value("y1", {{2, ""}}), value("y2", {{2, ""}})};
  ASSERT_TRUE(fold_constants(graph).ok());
  EXPECT_EQ(op_types(graph), (Types{"Identity", "Relu", "Identity"}));
  EXPECT_TRUE(sort_topologically(graph).ok());
}

TEST(FoldConstants, DropoutWhoseMaskIsUsedStays) {
  Graph graph;
  graph.inputs = {value("x", {{2, ""}})};
  graph.add_node("Dropout", "a", {"x"});
  graph.nodes[0].outputs = {"a", "mask"};
  graph.outputs = {value("a", {{2, ""}}), {"mask", DType::boolean, {{2, ""}}, true}};
  ASSERT_TRUE(fold_constants(graph).ok());
  EXPECT_EQ(op_types(graph), Types{"Dropout"});
}

TEST(FoldConstants, ShapesFoldOnceTheInputIsKnown) {
  Graph graph;
  graph.inputs = {value("x", {{-1, "N"}, {4, ""}})};
  graph.add_node("Shape", "shape", {"x"});
  graph.add_node("Reshape", "z", {"x", "shape"});
  graph.add_node("Relu", "y", {"z"});
  graph.outputs = {value("y", {{-1, "N"}, {4, ""}})};
  Graph dynamic = graph;
  ASSERT_TRUE(fold_constants(dynamic).ok());
  EXPECT_EQ(op_types(dynamic), (Types{"Shape", "Reshape", "Relu"}));
  ASSERT_TRUE(fold_constants(graph, {{"x", {3, 4}}}).ok());
  EXPECT_EQ(op_types(graph), Types{"Relu"});
}

TEST(FoldConstants, QuantizedConstantsStayQuantized) {
  Graph graph;
  graph.inputs = {value("x", {{2, ""}})};
  graph.add_initializer("q", Tensor::from<int8_t>(DType::s8, {2}, {10, -10}));
  graph.add_initializer("s", f32({}, {0.5f}));
  graph.add_node("DequantizeLinear", "w", {"q", "s"});
  graph.add_node("Neg", "n", {"w"});
  graph.add_node("Add", "y", {"x", "n"});
  graph.outputs = {value("y", {{2, ""}})};
  ASSERT_TRUE(fold_constants(graph).ok());
  EXPECT_EQ(op_types(graph), (Types{"DequantizeLinear", "Neg", "Add"}));
}

TEST(FoldConstants, TheBudgetIsKept) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}})};
  graph.add_initializer("n", s64({1000}));
  graph.add_node("ConstantOfShape", "a", {"n"});
  graph.add_node("ConstantOfShape", "b", {"n"});
  graph.add_node("Add", "c", {"x", "a"});
  graph.add_node("Add", "y", {"c", "b"});
  graph.outputs = {value("y", {{1000, ""}})};
  ASSERT_TRUE(fold_constants(graph, {}, 5000).ok());
  EXPECT_EQ(op_types(graph), (Types{"ConstantOfShape", "Add", "Add"}));
}

// ---- batch norm

// scale / sqrt(var) = {2, 0.5}; shift = b - mean * that = {1 - 3*2, 2 - 4*0.5} = {-5, 0}
void add_batch_norm(Graph& graph, const std::string& name, const std::string& input) {
  graph.add_initializer("scale", f32({2}, {4, 1}));
  graph.add_initializer("b", f32({2}, {1, 2}));
  graph.add_initializer("mean", f32({2}, {3, 4}));
  graph.add_initializer("var", f32({2}, {4, 4}));
  graph.add_node("BatchNormalization", name, {input, "scale", "b", "mean", "var"}, {{"epsilon", 0.0f}});
}

TEST(FoldBatchNorm, IntoConvWithoutBias) {
  Graph graph;
  graph.inputs = {value("x", {{-1, "N"}, {1, ""}, {2, ""}, {2, ""}})};
  graph.add_initializer("w", f32({2, 1, 1, 1}, {3, 8}));
  graph.add_node("Conv", "conv", {"x", "w"});
  add_batch_norm(graph, "y", "conv");
  graph.outputs = {value("y", {})};
  ASSERT_TRUE(fold_batch_norm(graph).ok());
  ASSERT_EQ(op_types(graph), Types{"Conv"});
  const Node& conv = graph.nodes[0];
  EXPECT_EQ(conv.outputs, std::vector<std::string>{"y"});
  EXPECT_EQ(values_of<float>(graph.initializers.at(conv.inputs[1])), (std::vector<float>{6, 4}));
  EXPECT_EQ(values_of<float>(graph.initializers.at(conv.inputs[2])), (std::vector<float>{-5, 0}));
}

TEST(FoldBatchNorm, ThenMulAndAddByChannel) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}, {1, ""}, {2, ""}, {2, ""}})};
  graph.add_initializer("w", f32({2, 1, 1, 1}, {3, 8}));
  graph.add_initializer("bias", f32({2}, {1, 1}));
  graph.add_initializer("m", f32({2, 1, 1}, {10, 100}));
  graph.add_initializer("a", f32({1, 2, 1, 1}, {7, 9}));
  graph.add_node("Conv", "conv", {"x", "w", "bias"});
  add_batch_norm(graph, "bn", "conv");
  graph.add_node("Mul", "mul", {"m", "bn"});  // either order of inputs
  graph.add_node("Add", "y", {"mul", "a"});
  graph.outputs = {value("y", {})};
  ASSERT_TRUE(fold_batch_norm(graph).ok());
  ASSERT_EQ(op_types(graph), Types{"Conv"});
  const Node& conv = graph.nodes[0];
  EXPECT_EQ(values_of<float>(graph.initializers.at(conv.inputs[1])), (std::vector<float>{60, 400}));
  EXPECT_EQ(values_of<float>(graph.initializers.at(conv.inputs[2])), (std::vector<float>{(2 - 5) * 10 + 7, 0.5f * 100 + 9}));
}

TEST(FoldBatchNorm, IntoGemmInBothLayouts) {
  for (const int64_t transposed : {0, 1}) {
    Graph graph;
    graph.inputs = {value("x", {{-1, "N"}, {3, ""}})};
    graph.add_initializer("w", transposed ? f32({2, 3}, {1, 2, 3, 10, 20, 30}) : f32({3, 2}, {1, 10, 2, 20, 3, 30}));
    graph.add_initializer("c", f32({2}, {1, 1}));
    graph.add_node("Gemm", "fc", {"x", "w", "c"}, {{"transB", transposed}, {"beta", 3.0f}});
    add_batch_norm(graph, "y", "fc");
    graph.outputs = {value("y", {})};
    ASSERT_TRUE(fold_batch_norm(graph).ok());
    ASSERT_EQ(op_types(graph), Types{"Gemm"});
    const Node& fc = graph.nodes[0];
    EXPECT_EQ(values_of<float>(graph.initializers.at(fc.inputs[1])),
              (transposed ? std::vector<float>{2, 4, 6, 5, 10, 15} : std::vector<float>{2, 5, 4, 10, 6, 15}));
    EXPECT_EQ(values_of<float>(graph.initializers.at(fc.inputs[2])), (std::vector<float>{3 * 2 - 5, 1.5f}));
    EXPECT_EQ(fc.get_float("beta", 1), 1.0f);
  }
}

TEST(FoldBatchNorm, BehindMatMulLeavesAnAdd) {
  Graph graph;
  graph.inputs = {value("x", {{-1, "N"}, {1, ""}})};
  graph.add_initializer("w", f32({1, 2}, {1, 10}));
  graph.add_node("MatMul", "fc", {"x", "w"});
  add_batch_norm(graph, "y", "fc");
  graph.outputs = {value("y", {})};
  ASSERT_TRUE(fold_batch_norm(graph).ok());
  ASSERT_EQ(op_types(graph), (Types{"MatMul", "Add"}));
  EXPECT_EQ(values_of<float>(graph.initializers.at("w")), (std::vector<float>{2, 5}));
  EXPECT_EQ(values_of<float>(graph.initializers.at(graph.nodes[1].inputs[1])), (std::vector<float>{-5, 0}));
}

TEST(FoldBatchNorm, IntoGroupedConvTranspose) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}, {2, ""}, {3, ""}, {3, ""}})};
  graph.add_initializer("w", f32({2, 1, 1, 2}, {1, 2, 10, 20}));
  graph.add_node("ConvTranspose", "up", {"x", "w"}, {{"group", int64_t(2)}});
  add_batch_norm(graph, "y", "up");
  graph.outputs = {value("y", {})};
  ASSERT_TRUE(fold_batch_norm(graph).ok());
  ASSERT_EQ(op_types(graph), Types{"ConvTranspose"});
  EXPECT_EQ(values_of<float>(graph.initializers.at("w")), (std::vector<float>{2, 4, 5, 10}));
}

TEST(FoldBatchNorm, StaysWhereOthersSeeTheValueInBetween) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}, {1, ""}, {2, ""}, {2, ""}})};
  graph.add_initializer("w", f32({2, 1, 1, 1}, {3, 8}));
  graph.add_node("Conv", "conv", {"x", "w"});
  add_batch_norm(graph, "y", "conv");
  graph.outputs = {value("y", {}), value("conv", {})};
  ASSERT_TRUE(fold_batch_norm(graph).ok());
  EXPECT_EQ(op_types(graph), (Types{"Conv", "BatchNormalization"}));
  EXPECT_EQ(values_of<float>(graph.initializers.at("w")), (std::vector<float>{3, 8}));
}

TEST(FoldBatchNorm, SharedWeightsAreCopied) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}, {1, ""}, {2, ""}, {2, ""}})};
  graph.add_initializer("w", f32({2, 1, 1, 1}, {3, 8}));
  graph.add_node("Conv", "conv", {"x", "w"});
  graph.add_node("Conv", "other", {"x", "w"});
  add_batch_norm(graph, "y", "conv");
  graph.outputs = {value("y", {}), value("other", {})};
  ASSERT_TRUE(fold_batch_norm(graph).ok());
  ASSERT_EQ(op_types(graph), (Types{"Conv", "Conv"}));
  EXPECT_EQ(values_of<float>(graph.initializers.at("w")), (std::vector<float>{3, 8}));
  EXPECT_EQ(values_of<float>(graph.initializers.at(graph.nodes[0].inputs[1])), (std::vector<float>{6, 4}));
}

TEST(FoldBatchNorm, AConstantAlongAnotherAxisStays) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}, {1, ""}, {2, ""}, {2, ""}})};
  graph.add_initializer("w", f32({2, 1, 1, 1}, {3, 8}));
  graph.add_initializer("m", f32({2}, {1, 2}));  // the width, not the channels
  graph.add_node("Conv", "conv", {"x", "w"});
  graph.add_node("Mul", "y", {"conv", "m"});
  graph.outputs = {value("y", {})};
  ASSERT_TRUE(fold_batch_norm(graph).ok());
  EXPECT_EQ(op_types(graph), (Types{"Conv", "Mul"}));
}

TEST(FoldBatchNorm, ABiasOfTheWrongSizeIsLeftForShapeInferenceToReport) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}, {1, ""}, {2, ""}, {2, ""}})};
  graph.add_initializer("w", f32({2, 1, 1, 1}, {3, 8}));
  graph.add_initializer("bias", f32({1}, {3}));
  graph.add_node("Conv", "conv", {"x", "w", "bias"});
  add_batch_norm(graph, "y", "conv");
  graph.outputs = {value("y", {})};
  ASSERT_TRUE(fold_batch_norm(graph).ok());
  EXPECT_EQ(op_types(graph), (Types{"Conv", "BatchNormalization"}));
  EXPECT_EQ(infer_shapes(graph, {}).status().code(), Code::invalid_argument);
}

}  // namespace
}  // namespace octavo
