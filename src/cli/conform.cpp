// octavo conform: runs ONNX backend-test directories.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "dataset.h"
#include "error.h"
#include "model.h"
#include "op_types.h"
#include "options.h"
#include "progress.h"
#include "text.h"

namespace octavo::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> directories;
  int threads = 1;
  bool json = false;
};

// What ONNX's own runner allows (numpy.testing.assert_allclose); integers and booleans must be equal.
constexpr double kRelative = 1e-3, kAbsolute = 1e-7;

struct Outcome {
  enum Kind { passed, failed, refused } kind = passed;
  std::string reason;
};

std::vector<fs::path> sorted(std::vector<fs::path> paths) {
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Subdirectories of a test with inputs and expected outputs.
std::vector<fs::path> data_sets(const fs::path& test) {
  std::vector<fs::path> sets;
  for (const fs::directory_entry& entry : fs::directory_iterator(test))
    if (entry.is_directory() && entry.path().filename().string().starts_with("test_data_set_")) sets.push_back(entry.path());
  return sorted(std::move(sets));
}

// The directory itself if it is a test, else every test below it.
std::vector<fs::path> find_tests(const std::string& directory) {
  const fs::path root = directory;
  if (!fs::is_directory(root)) throw Failure(directory + ": no such directory");
  if (fs::exists(root / "model.onnx")) return {root};
  std::vector<fs::path> tests;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root))
    if (entry.is_directory() && fs::exists(entry.path() / "model.onnx")) tests.push_back(entry.path());
  if (tests.empty()) throw Failure(directory + ": holds no test (a directory with model.onnx and test_data_set_*)");
  return sorted(std::move(tests));
}

std::string test_name(const fs::path& test) {
  const fs::path normal = fs::absolute(test).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).filename().string();
}

// The operator that an "unsupported" text speaks of: the first one whose name it holds as a word; else all of them.
std::string operator_of(const std::string& text, const std::vector<std::string>& op_types) {
  const auto is_word = [](char c) { return std::isalnum(uint8_t(c)) || c == '_'; };
  for (const std::string& op : op_types)
    for (size_t at = text.find(op); at != std::string::npos && !op.empty(); at = text.find(op, at + 1)) {
      const size_t end = at + op.size();
      if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) return op;
    }
  return fmt::format("{}", fmt::join(op_types, "+"));
}

Outcome from_status(const Status& status) {
  return {status.code() == Code::unsupported ? Outcome::refused : Outcome::failed, status.text()};
}

bool close(double actual, double expected) {
  if (std::isnan(expected) || std::isnan(actual)) return std::isnan(expected) && std::isnan(actual);
  if (std::isinf(expected) || std::isinf(actual)) return actual == expected;
  return std::fabs(actual - expected) <= kAbsolute + kRelative * std::fabs(expected);
}

// Why the output is wrong, or "".
std::string compare(const Tensor& actual, const Tensor& expected, const std::string& name) {
  if (actual.dtype() != expected.dtype())
    return fmt::format("output '{}' is {}, expected {}", name, name_of(actual.dtype()), name_of(expected.dtype()));
  if (actual.shape() != expected.shape())
    return fmt::format("output '{}' has shape {}, expected {}", name, to_string(actual.shape()), to_string(expected.shape()));
  if (actual.dtype() != DType::f32 && actual.dtype() != DType::f64) {
    if (actual.bytes() == 0 || std::memcmp(actual.data(), expected.data(), actual.bytes()) == 0) return "";
    const auto [a, e] = std::mismatch(actual.as<uint8_t>(), actual.as<uint8_t>() + actual.bytes(), expected.as<uint8_t>());
    return fmt::format("output '{}' differs at element {} (byte {}, expected {})", name,
                       size_t(a - actual.as<uint8_t>()) / size_of(actual.dtype()), *a, *e);
  }
  const Tensor a = convert_to(actual, DType::f64, name), e = convert_to(expected, DType::f64, name);
  for (int64_t i = 0; i < a.count(); ++i)
    if (!close(a.as<double>()[i], e.as<double>()[i]))
      return fmt::format("output '{}' is {:g} at element {}, expected {:g}", name, a.as<double>()[i], i, e.as<double>()[i]);
  return "";
}

// The tensors PREFIX_0.pb, PREFIX_1.pb, ... of a data set, at most `count`.
Expected<std::vector<Tensor>> load_tensors(const fs::path& set, const char* prefix, size_t count) {
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < count; ++i) {
    const fs::path file = set / fmt::format("{}_{}.pb", prefix, i);
    if (!fs::exists(file)) break;
    Expected<Tensor> tensor = load_tensor_proto(file.string());
    if (!tensor) return tensor.status();
    tensors.push_back(*std::move(tensor));
  }
  return tensors;
}

Outcome run_set(Session& session, const fs::path& set) {
  const Graph& graph = session.graph();
  const auto inputs = load_tensors(set, "input", graph.inputs.size()),
             expected = load_tensors(set, "output", graph.outputs.size());
  if (!inputs) return from_status(inputs.status());
  if (!expected) return from_status(expected.status());
  if (inputs->size() != graph.inputs.size() || expected->size() != graph.outputs.size())
    return {Outcome::failed, fmt::format("{} holds {} inputs of {} and {} outputs of {}", set.filename().string(), inputs->size(),
                                         graph.inputs.size(), expected->size(), graph.outputs.size())};
  Inputs named;
  for (size_t i = 0; i < inputs->size(); ++i) named.emplace(graph.inputs[i].name, (*inputs)[i]);
  const Expected<std::vector<Tensor>> outputs = session.run(named);
  if (!outputs) return from_status(outputs.status());
  for (size_t i = 0; i < outputs->size(); ++i)
    if (const std::string why = compare((*outputs)[i], (*expected)[i], graph.outputs[i].name); !why.empty())
      return {Outcome::failed, fmt::format("{}: {}", set.filename().string(), why)};
  return {};
}

Outcome run_test(const fs::path& test, int threads) {
  const Expected<Graph> graph = load_onnx((test / "model.onnx").string());
  if (!graph) return from_status(graph.status());
  Expected<Session> session = Session::create(*graph, threads);
  if (!session) return from_status(session.status());
  const std::vector<fs::path> sets = data_sets(test);
  if (sets.empty()) return {Outcome::failed, "no test_data_set_*"};
  for (const fs::path& set : sets)
    if (Outcome outcome = run_set(*session, set); outcome.kind != Outcome::passed) return outcome;
  return {};
}

int run(const Options& options) {
  std::vector<fs::path> tests;
  for (const std::string& directory : options.directories) {
    const std::vector<fs::path> found = find_tests(directory);
    tests.insert(tests.end(), found.begin(), found.end());
  }
  Json passed = Json::array(), failed = Json::array(), refused = Json::array(), reasons = Json::object();
  Table table({"outcome", "test", "reason"});
  {
    Progress progress("testing");
    for (size_t i = 0; i < tests.size(); ++i) {
      const std::string name = test_name(tests[i]);
      const Outcome outcome = run_test(tests[i], options.threads);
      if (outcome.kind == Outcome::passed) {
        passed.push_back(name);
      } else if (outcome.kind == Outcome::failed) {
        failed.push_back(name);
        reasons[name] = outcome.reason;
        table.add({"failed", name, outcome.reason});
      } else {
        const std::string op = operator_of(outcome.reason, onnx_op_types((tests[i] / "model.onnx").string()));
        refused.push_back({{"name", name}, {"operator", op}, {"reason", outcome.reason}});
        table.add({"refused", name, outcome.reason});
      }
      progress.update(i + 1, tests.size());
    }
  }
  if (options.json) {
    print_json(Json{{"passed", passed}, {"failed", failed}, {"refused", refused}, {"failed_reasons", reasons}});
  } else {
    const std::string summary = fmt::format("{} passed, {} failed, {} refused\n", passed.size(), failed.size(), refused.size());
    print(passed.size() == tests.size() ? summary : table.text() + "\n" + summary);
  }
  return failed.empty() ? kDone : kCheckFailed;
}

}  // namespace

void add_conform(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "conform", "Run directories of ONNX's backend tests",
      "A DIR is a test (model.onnx and test_data_set_*/{input,output}_i.pb) or a tree of such. A test is refused where the\n"
      "model needs what this library does not support; everything else that is not right has failed, and makes the exit\n"
      "code 1. Floats may differ by 1e-7 + 1e-3 |expected|, as in ONNX's own runner; integers not at all.",
      [](CLI::App& cmd, Options& o) {
        cmd.add_option("DIR", o.directories, "Test directories, or trees of them")->required()->option_text(" ");
        add_threads(cmd, o.threads);
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
