// ONNX's own backend tests, run by a Session and, where they fold, through constant folding. Refused tests must say why; none may differ.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "graph_test_util.h"
#include "octavo/onnx.h"
#include "octavo/session.h"
#include "paths.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

// What ONNX's own runner allows (numpy.testing.assert_allclose): its expected values come from numpy, often in double.
// Integers and booleans must be equal.
constexpr double kRelative = 1e-3, kAbsolute = 1e-7;

struct Row {
  std::string suite, test, category, plain, ops;
};

std::vector<Row> read_scope(const fs::path& csv) {
  std::vector<Row> rows;
  std::ifstream file(csv);
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    Row row;
    std::getline(fields, row.suite, ',');
    std::getline(fields, row.test, ',');
    std::getline(fields, row.category, ',');
    std::getline(fields, row.plain, ',');
    for (int skipped = 0; skipped < 2; ++skipped) std::getline(fields, row.ops, ',');
    std::getline(fields, row.ops, ',');
    rows.push_back(row);
  }
  return rows;
}

template <class T>
std::string differing(const Tensor& got, const Tensor& want) {
  for (int64_t i = 0; i < got.count(); ++i) {
    const double a = double(got.as<T>()[i]), b = double(want.as<T>()[i]);
    const bool same = a == b || (std::isnan(a) && std::isnan(b));
    const bool near = std::is_floating_point_v<T> && std::abs(a - b) <= kAbsolute + kRelative * std::abs(b);
    if (!same && !near) return "element " + std::to_string(i) + " is " + std::to_string(a) + ", not " + std::to_string(b);
  }
  return "";
}

std::string difference(const Tensor& got, const Tensor& want) {
  if (got.dtype() != want.dtype() || got.shape() != want.shape())
    return std::string(name_of(got.dtype())) + to_string(got.shape()) + ", not " + name_of(want.dtype()) + to_string(want.shape());
  switch (got.dtype()) {
    case DType::f32: return differing<float>(got, want);
    case DType::f64: return differing<double>(got, want);
    case DType::s64: return differing<int64_t>(got, want);
    case DType::s32: return differing<int32_t>(got, want);
    case DType::s8: return differing<int8_t>(got, want);
    default: return std::equal(got.as<char>(), got.as<char>() + got.bytes(), want.as<char>()) ? "" : "bytes differ";
  }
}

enum class Result { passed, failed, refused };

// Runs one test directory; `why` explains all but `passed`.
Result run(const fs::path& test, std::string& why) {
  const auto refused = [&](const Status& status) {
    why = status.text();
    return status.code() == Code::unsupported ? Result::refused : Result::failed;
  };
  Expected<Graph> graph = load_onnx((test / "model.onnx").string());
  if (!graph) return refused(graph.status());
  // Folding keeps a DequantizeLinear of a constant, and nodes with unused outputs.
  const bool folds = std::none_of(graph->nodes.begin(), graph->nodes.end(), [](const Node& n) {
    return n.op_type == "DequantizeLinear" || std::find(n.outputs.begin(), n.outputs.end(), "") != n.outputs.end();
  });
  Expected<Session> session = Session::create(*graph);
  if (!session) return refused(session.status());
  for (int set = 0; fs::exists(test / ("test_data_set_" + std::to_string(set))); ++set) {
    const fs::path data = test / ("test_data_set_" + std::to_string(set));
    std::map<std::string, Tensor> inputs;
    for (size_t i = 0; i < graph->inputs.size(); ++i) {
      const Expected<Tensor> tensor = load_tensor_proto((data / ("input_" + std::to_string(i) + ".pb")).string());
      if (!tensor) return refused(tensor.status());
      inputs[graph->inputs[i].name] = *tensor;
    }
    const Expected<std::vector<Tensor>> outputs = session->run(inputs);
    if (!outputs) return refused(outputs.status());
    const Expected<std::vector<Tensor>> folded = folds ? fold_all(*graph, inputs) : outputs;
    if (!folded) return refused(folded.status());
    for (size_t i = 0; i < outputs->size(); ++i) {
      const Expected<Tensor> want = load_tensor_proto((data / ("output_" + std::to_string(i) + ".pb")).string());
      if (!want) return refused(want.status());
      why = difference((*outputs)[i], *want);
      if (why.empty()) why = difference((*folded)[i], *want);
      if (!why.empty()) return Result::failed;
    }
  }
  return Result::passed;
}

// What a refusal is due to: the opset, or the operator that its text speaks of first; else all operators of the model.
std::string cause(const std::string& why, const std::string& ops) {
  if (why.starts_with("opset ")) return "opset";
  const std::string op = why.substr(0, why.find(' '));
  return ("+" + ops + "+").find("+" + op + "+") != std::string::npos ? op : ops;
}

// Models with control flow, which are of no category of their own.
bool branches(const std::string& ops) {
  return ("+" + ops + "+").find("+If+") != std::string::npos || ("+" + ops + "+").find("+Loop+") != std::string::npos;
}

std::set<std::string> read_lines(const fs::path& path) {
  std::set<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.insert(line);
  return lines;
}

TEST(Conformance, CoreAndQuant) {
  const fs::path archive = fs::path(test::kSharedDir) / "data/onnx-conformance.tar.xz";
  if (!fs::exists(archive)) GTEST_SKIP() << "the ONNX conformance suite is not here: " << archive;
  std::string folder = (fs::temp_directory_path() / "octavo_conformance_XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string command = "tar -xJf '" + archive.string() + "' -C '" + folder + "'";
  ASSERT_EQ(std::system(command.c_str()), 0);
  const fs::path suite = fs::path(folder) / "onnx-conformance";

  int counts[3] = {};
  std::set<std::string> refused;
  for (const Row& row : read_scope(suite / "SCOPE.csv")) {
    if ((row.category != "core" && row.category != "quant" && !branches(row.ops)) || row.plain != "1") continue;
    const fs::path test = suite / row.suite / row.test;
    if (row.suite == "light") continue;  // whole models, which the archive leaves out
    std::string why;
    const Result result = run(test, why);
    ++counts[int(result)];
    EXPECT_NE(result, Result::failed) << row.suite << "/" << row.test << ": " << why;
    if (result == Result::refused) refused.insert(row.suite + "/" + row.test + " " + cause(why, row.ops));
  }
  std::printf("core, quant and control flow, plain types: %d passed, %d failed, %d refused\n", counts[0], counts[1], counts[2]);
  EXPECT_GE(counts[int(Result::passed)], 609);
  EXPECT_EQ(counts[int(Result::failed)], 0);

  // The list only shrinks: whoever adds an operator takes its tests off.
  const std::set<std::string> allowed = read_lines(fs::path(test::kSourceDir) / "tests/conformance_refused.txt");
  for (const std::string& line : refused) EXPECT_TRUE(allowed.count(line)) << "refused, but not in the list: " << line;
  for (const std::string& line : allowed) EXPECT_TRUE(refused.count(line)) << "in the list, but no longer refused so: " << line;
  fs::remove_all(folder);
}

}  // namespace
}  // namespace octavo
