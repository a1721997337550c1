// octavo run: .npy files in and out.
#include "cli_util.h"

namespace octavo::test {
namespace {

struct RunTest : ::testing::Test {
  TempDir dir;
  std::string model = save(relu_model(), dir / "relu.onnx");

  // Runs relu on an .npy of these bytes.
  Result run(const std::string& bytes) {
    return octavo({"run", model, "--input", "x=" + write_file(dir / "x.npy", bytes), "--output-dir", dir / "out"});
  }
  void expect_output(const std::string& bytes, const std::string& shape, const std::vector<float>& expected) {
    const Result result = run(bytes);
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    EXPECT_EQ(npy_values(dir / "out/y.npy", "<f4", shape), expected);
  }
};

TEST_F(RunTest, ReadsEveryVersion) {
  for (int version = 1; version <= 3; ++version)
    expect_output(npy("<f4", "(1, 4)", bytes_of<float>({1, -2, 3, -4}), false, version), "(1, 4)", {1, 0, 3, 0});
}

TEST_F(RunTest, ConvertsEveryNumericType) {
  const std::vector<float> expected = {1, 0, 3, 100};
  const std::string shape = "(1, 4)";
  expect_output(npy("<f8", shape, bytes_of<double>({1, -2, 3, 100})), shape, expected);
  expect_output(npy("|i1", shape, bytes_of<int8_t>({1, -2, 3, 100})), shape, expected);
  expect_output(npy("<i2", shape, bytes_of<int16_t>({1, -2, 3, 100})), shape, expected);
  expect_output(npy("<i4", shape, bytes_of<int32_t>({1, -2, 3, 100})), shape, expected);
  expect_output(npy("<i8", shape, bytes_of<int64_t>({1, -2, 3, 100})), shape, expected);
  expect_output(npy("|u1", shape, bytes_of<uint8_t>({1, 0, 3, 100})), shape, expected);
  expect_output(npy("<u2", shape, bytes_of<uint16_t>({1, 0, 3, 100})), shape, expected);
  expect_output(npy("<u4", shape, bytes_of<uint32_t>({1, 0, 3, 100})), shape, expected);
  expect_output(npy("<u8", shape, bytes_of<uint64_t>({1, 0, 3, 100})), shape, expected);
  expect_output(npy("|b1", shape, bytes_of<uint8_t>({1, 0, 1, 0})), shape, {1, 0, 1, 0});
}

TEST_F(RunTest, FortranOrderBecomesRowMajor) {
  // The matrix {{1,2,3,4},{5,6,7,8}}, column by column.
  expect_output(npy("<f4", "(2, 4)", bytes_of<float>({1, 5, 2, 6, 3, 7, 4, 8}), true), "(2, 4)", {1, 2, 3, 4, 5, 6, 7, 8});
}

TEST_F(RunTest, EveryTruncationIsAnError) {
  const std::string whole = npy_f32("(1, 4)", {1, 2, 3, 4});
  for (size_t size = 0; size < whole.size(); ++size) expect_bad_input(run(whole.substr(0, size)), "x.npy");
  expect_bad_input(run(whole + "x"), "x.npy");
}

TEST_F(RunTest, MalformedHeaders) {
  const std::string data = bytes_of<float>({1, 2, 3, 4});
  const auto header = [&](const std::string& text) { return run(npy_raw(text, data)); };
  expect_bad_input(header(""), "expected '{'");
  expect_bad_input(header("{'descr': '<f4', 'fortran_order': False}"), "incomplete header");
  expect_bad_input(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4)} x"), "trailing text");
  expect_bad_input(header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1, 4)}"), "unexpected key");
  expect_bad_input(header("{'descr': '<f4', 'fortran_order': 0, 'shape': (1, 4)}"), "fortran_order");
  expect_bad_input(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, -4)}"), "dimension");
  expect_bad_input(header("{'descr': '<f4', 'fortran_order': False, 'shape': (4)}"), "comma");
  expect_bad_input(header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}"), "64 bits");
  expect_bad_input(header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}"), "int64");
  expect_bad_input(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 4)}"), "needs 16000000000 bytes");
  expect_bad_input(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,4)}"), "more than 8 dimensions");
  expect_bad_input(header("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 4)}"), "big-endian");
  expect_bad_input(header("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 4)}"), "'<f2' is not supported");
  expect_bad_input(header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 4)}"), "structured");
  expect_bad_input(run(npy("|b1", "(1, 4)", bytes_of<uint8_t>({0, 1, 2, 0}))), "neither 0 nor 1");
  expect_bad_input(run("\x93NUMPX" + std::string(100, ' ')), "wrong magic");
  expect_bad_input(run(npy("<f4", "(1, 4)", data, false, 4)), "version 4.0");
}

TEST_F(RunTest, WrongInputs) {
  const std::string x = write_file(dir / "x.npy", npy_f32("(1, 4)", {1, 2, 3, 4})), out = dir / "out";
  const std::string wide = write_file(dir / "wide.npy", npy_f32("(1, 5)", {1, 2, 3, 4, 5}));
  expect_bad_input(octavo({"run", model, "--output-dir", out}), "no --input for the model's input 'x' (f32 [N,4])");
  expect_bad_input(octavo({"run", model, "--input", "z=" + x, "--output-dir", out}), "no input 'z' (its inputs: x)");
  expect_bad_input(octavo({"run", model, "--input", x, "--output-dir", out}), "expected NAME=VALUE");
  expect_bad_input(octavo({"run", model, "--input", "x=" + x, "--input", "x=" + x, "--output-dir", out}), "given twice");
  expect_bad_input(octavo({"run", model, "--input", "x=" + (dir / "no.npy"), "--output-dir", out}), "no.npy: cannot open");
  expect_bad_input(octavo({"run", model, "--input", "x=" + dir.path(), "--output-dir", out}), "not a regular file");
  expect_bad_input(octavo({"run", model, "--input", "x=" + wide, "--output-dir", out}),
                   "shape [1,5] where the model's input 'x' has [N,4]");
  expect_bad_input(octavo({"run", dir / "no.onnx", "--input", "x=" + x, "--output-dir", out}), "no.onnx");
  expect_bad_input(octavo({"run", x, "--input", "x=" + x, "--output-dir", out}), "x.npy");
  expect_bad_input(octavo({"run", model, "--input", "x=" + x}), "--output-dir");
  expect_bad_input(octavo({"run", model, "--input", "x=" + x, "--output-dir", x}), "x.npy: cannot create the directory");
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(RunTest, IntegersAreCheckedAgainstTheirRange) {
  Graph g;
  g.inputs = {{"i", DType::u8, {{4, ""}}}};
  g.add_node("Identity", "same", {"i"});
  g.outputs = {{"same", DType::u8, {{4, ""}}}};
  save(g, model);
  const auto feed = [&](const std::string& bytes) {
    return octavo({"run", model, "--input", "i=" + write_file(dir / "i.npy", bytes), "--output-dir", dir / "out"});
  };
  EXPECT_EQ(feed(npy("<i8", "(4,)", bytes_of<int64_t>({0, 1, 128, 255}))).code, 0);
  EXPECT_TRUE(read_file(dir / "out/same.npy").ends_with(std::string("\x00\x01\x80\xff", 4)));
  expect_bad_input(feed(npy("<i8", "(4,)", bytes_of<int64_t>({0, 1, 2, 256}))), "the value 256 does not fit u8");
  expect_bad_input(feed(npy("|i1", "(4,)", bytes_of<int8_t>({0, 1, 2, -1}))), "the value -1 does not fit u8");
  expect_bad_input(feed(npy_f32("(4,)", {0, 1, 2, 3})), "f32 cannot become the u8");
}

TEST_F(RunTest, OutputNamesBecomeSafeFileNames) {
  Graph g = relu_model();
  g.nodes.clear();
  g.outputs.clear();
  for (const char* name : {"../up", "a/b", "a_b", "a:b"}) {
    g.add_node("Relu", name, {"x"});
    g.outputs.push_back({name, DType::f32, {{-1, "N"}, {4, ""}}});
  }
  save(g, model);
  const std::string x = write_file(dir / "x.npy", npy_f32("(1, 4)", {1, -2, 3, 4}));
  const Result result = octavo({"run", model, "--input", "x=" + x, "--output-dir", dir / "deep/out", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const Json outputs = result.json()["outputs"];
  ASSERT_EQ(outputs.size(), 4u);
  const char* const files[] = {"_._up.npy", "a_b.npy", "a_b_2.npy", "a_b_3.npy"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(outputs[i]["name"], g.outputs[i].name);
    EXPECT_EQ(outputs[i]["file"], dir / "deep/out/" + files[i]);
    EXPECT_EQ(outputs[i]["dtype"], "f32");
    EXPECT_EQ(outputs[i]["shape"], (std::vector<int>{1, 4}));
    EXPECT_EQ(npy_values(outputs[i]["file"], "<f4", "(1, 4)"), (std::vector<float>{1, 0, 3, 4}));
  }
}

TEST_F(RunTest, SeveralInputsInAnyStyleAndThreads) {
  Graph g = relu_model();
  g.nodes.clear();
  g.inputs.push_back({"x=y", DType::f32, {{-1, "N"}, {4, ""}}});  // a name with the separator in it
  g.add_node("Add", "y", {"x", "x=y"});
  save(g, model);
  const std::string x = write_file(dir / "x.npy", npy_f32("(1, 4)", {1, -2, 3, 4}));
  for (const std::vector<std::string>& inputs :
       {std::vector<std::string>{"--input", "x=" + x, "--input", "x=y=" + x}, {"--input", "x=" + x, "x=y=" + x}}) {
    std::vector<std::string> arguments = {"run", model, "--output-dir", dir / "out", "--threads", "2"};
    arguments.insert(arguments.end(), inputs.begin(), inputs.end());
    const Result result = octavo(arguments);
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(npy_values(dir / "out/y.npy", "<f4", "(1, 4)"), (std::vector<float>{2, -4, 6, 8}));
  }
}

}  // namespace
}  // namespace octavo::test
