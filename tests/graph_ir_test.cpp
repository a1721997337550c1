// The graph IR: tensors, sorting, dead code, shape inference.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "graph_test_util.h"
#include "octavo/graph.h"
#include "sanitized.h"

namespace octavo {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

ValueInfo value(std::string name, std::vector<Dim> dims, DType dtype = DType::f32) { return {std::move(name), dtype, std::move(dims), true}; }

TEST(ElementCount, CountsAndRefuses) {
  EXPECT_EQ(*element_count({}, DType::f32), 1);
  EXPECT_EQ(*element_count({2, 3, 4}, DType::f32), 24);
  EXPECT_EQ(*element_count({2, 0, 4}, DType::f32), 0);
  EXPECT_EQ(element_count({kMax, 0, kMax}, DType::f32).status().code(), Code::overflow);
  EXPECT_EQ(element_count({0, int64_t(1) << 31, int64_t(1) << 32}, DType::u8).status().code(), Code::overflow);
  EXPECT_EQ(*element_count({kMax}, DType::u8), kMax);
  EXPECT_EQ(element_count({kMax}, DType::u16).status().code(), Code::overflow);
  EXPECT_EQ(element_count({int64_t(1) << 32, int64_t(1) << 31}, DType::u8).status().code(), Code::overflow);
  EXPECT_EQ(element_count({0, -1}, DType::u8).status().code(), Code::overflow);
}

TEST(Tensor, CreateIsZeroAndCopiesShareUntilWritten) {
  Expected<Tensor> a = Tensor::create(DType::s32, {2, 2});
  ASSERT_TRUE(a);
  EXPECT_EQ(values_of<int32_t>(*a), (std::vector<int32_t>{0, 0, 0, 0}));
  const Tensor b = *a;
  EXPECT_EQ(a->data(), b.data());
  static_cast<int32_t*>(a->mutable_data())[1] = 7;
  EXPECT_EQ(values_of<int32_t>(*a), (std::vector<int32_t>{0, 7, 0, 0}));
  EXPECT_EQ(values_of<int32_t>(b), (std::vector<int32_t>{0, 0, 0, 0}));
  EXPECT_EQ(a->reshaped({4}).data(), a->data());
  EXPECT_EQ(a->reshaped({4}).shape(), Shape{4});
}

TEST(Tensor, CreateReportsWhatDoesNotFit) {
  EXPECT_EQ(Tensor::create(DType::f32, {kMax}).status().code(), Code::overflow);
#if !OCTAVO_SANITIZED  // under which operator new ends the process
  EXPECT_EQ(Tensor::create(DType::u8, {kMax}).status().code(), Code::out_of_memory);
#endif
  EXPECT_EQ(Tensor::create(DType::u8, {-1}).status().code(), Code::overflow);
}

TEST(Node, AttributesFallBack) {
  Node node;
  node.attributes = {{"i", int64_t(3)}, {"f", 2.5f}, {"s", std::string("x")}, {"v", std::vector<int64_t>{1, 2}}};
  EXPECT_EQ(node.get_int("i", 9), 3);
  EXPECT_EQ(node.get_int("f", 9), 9);  // another type
  EXPECT_EQ(node.get_float("f", 0), 2.5f);
  EXPECT_EQ(node.get_string("s", ""), "x");
  EXPECT_EQ(node.get_ints("v"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(node.get_ints("w", {5}), (std::vector<int64_t>{5}));
}

TEST(Sort, KeepsTheOrderOfAFileThatIsSorted) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}})};
  graph.add_node("Relu", "c", {"b"});
  graph.add_node("Relu", "a", {"x"});
  graph.add_node("Relu", "b", {"a"});
  graph.add_node("Relu", "d", {"x"});
  graph.outputs = {value("c", {})};
  ASSERT_TRUE(sort_topologically(graph).ok());
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) names.push_back(node.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "b", "c", "d"}));
}

TEST(Sort, NamesTheNodeAtFault) {
  Graph cycle;
  cycle.inputs = {value("x", {{1, ""}})};
  cycle.add_node("Add", "first", {"x", "second"});
  cycle.add_node("Relu", "second", {"first"});
  EXPECT_NE(std::string(sort_topologically(cycle).text()).find("'first'"), std::string::npos);

  Graph missing;
  missing.add_node("Relu", "lonely", {"nobody"});
  const Status status = sort_topologically(missing);
  EXPECT_EQ(status.code(), Code::invalid_argument);
  EXPECT_NE(std::string(status.text()).find("'lonely'"), std::string::npos);
  EXPECT_NE(std::string(status.text()).find("'nobody'"), std::string::npos);

  Graph twice;
  twice.inputs = {value("x", {{1, ""}})};
  twice.add_node("Relu", "y", {"x"});
  twice.add_node("Neg", "other", {"x"});
  twice.nodes[1].outputs = {"y"};
  EXPECT_NE(std::string(sort_topologically(twice).text()).find("'other'"), std::string::npos);

  Graph output;
  output.outputs = {value("nothing", {})};
  EXPECT_EQ(sort_topologically(output).code(), Code::invalid_argument);
}

TEST(Sort, ALongChainNeedsNoStack) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}})};
  std::string last = "x";
  for (int i = 0; i < 200000; ++i) last = graph.add_node("Relu", "n" + std::to_string(i), {last});
  std::reverse(graph.nodes.begin(), graph.nodes.end());
  ASSERT_TRUE(sort_topologically(graph).ok());
  EXPECT_EQ(graph.nodes.front().name, "n0");
}

TEST(RemoveDead, KeepsWhatOutputsNeed) {
  Graph graph;
  graph.inputs = {value("x", {{1, ""}})};
  graph.add_initializer("w", f32({1}, {1}));
  graph.add_initializer("unused", f32({1}, {1}));
  graph.add_node("Add", "y", {"x", "w"});
  graph.add_node("Relu", "dead", {"y"});
  graph.add_node("Relu", "deader", {"dead"});
  graph.outputs = {value("y", {})};
  remove_dead(graph);
  ASSERT_EQ(graph.nodes.size(), 1u);
  EXPECT_EQ(graph.nodes[0].name, "y");
  EXPECT_EQ(graph.initializers.size(), 1u);
  EXPECT_TRUE(graph.initializers.count("w"));
}

// Reshape to [batch, -1] by way of Shape, Gather, Unsqueeze and Concat, as exporters write it.
Graph flatten_by_shape() {
  Graph graph;
  graph.inputs = {value("x", {{-1, "N"}, {3, ""}, {4, ""}})};
  graph.add_initializer("zero", s64({}, {0}));
  graph.add_initializer("axes", s64({0}));
  graph.add_initializer("open", s64({-1}));
  graph.add_node("Shape", "shape", {"x"});
  graph.add_node("Gather", "batch", {"shape", "zero"});
  graph.add_node("Unsqueeze", "batch1", {"batch", "axes"});
  graph.add_node("Concat", "target", {"batch1", "open"}, {{"axis", int64_t(0)}});
  graph.add_node("Reshape", "y", {"x", "target"});
  graph.outputs = {value("y", {})};
  return graph;
}

TEST(InferShapes, FollowsShapesThroughConstants) {
  const Graph graph = flatten_by_shape();
  const Expected<ShapeMap> shapes = infer_shapes(graph, {{"x", {5, 3, 4}}});
  ASSERT_TRUE(shapes) << shapes.status().text();
  EXPECT_EQ(shapes->at("y").shape, (Shape{5, 12}));
  EXPECT_EQ(shapes->at("shape").dtype, DType::s64);
  EXPECT_EQ(shapes->at("shape").shape, (Shape{3}));
  EXPECT_EQ(shapes->at("zero").shape, Shape{});
}

TEST(InferShapes, InputErrors) {
  const Graph graph = flatten_by_shape();
  const auto text = [&](const std::map<std::string, Shape>& given) { return std::string(infer_shapes(graph, given).status().text()); };
  EXPECT_NE(text({}).find("'x'"), std::string::npos);
  EXPECT_NE(text({{"x", {5, 3}}}).find("[5,3]"), std::string::npos);
  EXPECT_NE(text({{"x", {5, 3, 7}}}).find("[5,3,7]"), std::string::npos);
  EXPECT_NE(text({{"z", {1}}}).find("'z'"), std::string::npos);
  EXPECT_NE(text({{"x", {-5, 3, 4}}}).find("negative"), std::string::npos);
}

TEST(InferShapes, ErrorsNameNodeOperatorAndShapes) {
  Graph graph;
  graph.inputs = {value("a", {{2, ""}, {3, ""}}), value("b", {{4, ""}, {5, ""}})};
  graph.add_node("MatMul", "product", {"a", "b"});
  graph.outputs = {value("product", {})};
  const std::string text = infer_shapes(graph, {}).status().text();
  for (const char* part : {"MatMul", "'product'", "[2,3]", "[4,5]"}) EXPECT_NE(text.find(part), std::string::npos) << text;

  graph.nodes[0].op_type = "Nonsense";
  const Status unknown = infer_shapes(graph, {}).status();
  EXPECT_EQ(unknown.code(), Code::unsupported);
  EXPECT_NE(std::string(unknown.text()).find("Nonsense"), std::string::npos);
}

TEST(InferShapes, HugeResultsAreErrors) {
  Graph graph;
  graph.add_initializer("shape", s64({kMax, kMax}));
  graph.add_node("ConstantOfShape", "y", {"shape"});
  graph.outputs = {value("y", {})};
  EXPECT_EQ(infer_shapes(graph, {}).status().code(), Code::overflow);
}

}  // namespace
}  // namespace octavo
