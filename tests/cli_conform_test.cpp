// octavo conform: ONNX backend-test directories.
#include "cli_util.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;

struct ConformTest : ::testing::Test {
  TempDir dir;

  // A test of relu that expects `output` for {-1, 2, 3, 4}.
  void add_test(const std::string& name, const std::vector<int>& dims, const std::vector<float>& output,
                const char* op = "Relu") {
    fs::create_directories(dir / (name + "/test_data_set_0"));
    Graph g = relu_model();
    g.nodes[0].op_type = op;
    save(g, dir / (name + "/model.onnx"));
    write_file(dir / (name + "/test_data_set_0/input_0.pb"), tensor_proto({1, 4}, {-1, 2, 3, 4}));
    write_file(dir / (name + "/test_data_set_0/output_0.pb"), tensor_proto(dims, output));
  }
};

TEST_F(ConformTest, PassedFailedRefused) {
  add_test("node/test_right", {1, 4}, {0, 2, 3, 4});
  add_test("node/test_close", {1, 4}, {0, 2.001f, 3, 4});
  add_test("node/test_far", {1, 4}, {0, 2.01f, 3, 4});
  add_test("other/test_shape", {4, 1}, {0, 2, 3, 4});
  add_test("other/test_unknown", {1, 4}, {0, 2, 3, 4}, "NoSuchOperator");
  const Result result = octavo({"conform", dir.path(), "--json"});
  EXPECT_EQ(result.code, 1) << result.err;
  const Json json = result.json();
  EXPECT_EQ(json["passed"], (Json{"test_close", "test_right"}));
  EXPECT_EQ(json["failed"], (Json{"test_far", "test_shape"}));
  ASSERT_EQ(json["refused"].size(), 1u);
  EXPECT_EQ(json["refused"][0]["name"], "test_unknown");
  EXPECT_EQ(json["refused"][0]["operator"], "NoSuchOperator");
  EXPECT_NE(json["failed_reasons"]["test_far"].get<std::string>().find("element 1"), std::string::npos) << json;

  EXPECT_EQ(octavo({"conform", dir / "node/test_right", dir / "node/test_close/"}).code, 0);
}

TEST_F(ConformTest, RefusedModelsThatDoNotImport) {
  add_test("test_half", {1, 4}, {0, 2, 3, 4});
  // The element type of the input's declaration, from float (1) to float16 (10).
  std::string model = read_file(dir / "test_half/model.onnx");
  const size_t at = model.find(std::string("\x08\x01\x12", 3));
  ASSERT_NE(at, std::string::npos);
  model[at + 1] = 10;
  write_file(dir / "test_half/model.onnx", model);
  const Result result = octavo({"conform", dir.path(), "--json"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.json()["refused"][0]["operator"], "Relu") << result.out;
}

TEST_F(ConformTest, DamagedTests) {
  add_test("test_model", {1, 4}, {0, 2, 3, 4});
  write_file(dir / "test_model/model.onnx", "no model");
  add_test("test_no_input", {1, 4}, {0, 2, 3, 4});
  fs::remove(dir / "test_no_input/test_data_set_0/input_0.pb");
  add_test("test_tensor", {1, 4}, {0, 2, 3});
  add_test("test_no_set", {1, 4}, {0, 2, 3});
  fs::remove_all(dir / "test_no_set/test_data_set_0");
  const Result result = octavo({"conform", dir.path(), "--json"});
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_EQ(result.json()["failed"], (Json{"test_model", "test_no_input", "test_no_set", "test_tensor"}));
}

TEST_F(ConformTest, WrongDirectories) {
  expect_bad_input(octavo({"conform"}), "DIR");
  expect_bad_input(octavo({"conform", dir / "nowhere"}), "nowhere: no such directory");
  expect_bad_input(octavo({"conform", dir.path()}), "holds no test");
}

}  // namespace
}  // namespace octavo::test
