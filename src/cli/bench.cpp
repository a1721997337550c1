// octavo bench: latency of a model, against another one in interleaved runs, and the time by node.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <random>

#include "dataset.h"
#include "error.h"
#include "model.h"
#include "octavo/threads.h"
#include "options.h"
#include "text.h"

namespace octavo::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string model, compare, data;
  std::vector<std::string> shapes;
  int threads = 1, runs = 0;
  double seconds = 3;
  bool compact = false, json = false;
};

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double quantile(std::vector<double> values, double q) {
  const size_t at = size_t(std::lround(q * double(values.size() - 1)));
  std::nth_element(values.begin(), values.begin() + ptrdiff_t(at), values.end());
  return values[at];
}

// Floats in [-1, 1), 8-bit integers over their range; wider integers are 0 or 1, which any table can be indexed with.
Tensor random_tensor(const ValueInfo& input) {
  Shape shape;
  for (const Dim& d : input.dims) shape.push_back(d.size);
  Tensor tensor = value(Tensor::create(input.dtype, shape), input.name);
  std::mt19937 random(7);
  const auto fill = [&]<class T>(T* out, auto make) {
    std::generate(out, out + tensor.count(), [&] { return T(make(random())); });
  };
  void* out = tensor.mutable_data();
  const auto uniform = [](uint32_t r) { return double(r) / 2147483648.0 - 1; };
  const auto bit = [](uint32_t r) { return r & 1; };
  switch (input.dtype) {
    case DType::f32:
      fill(static_cast<float*>(out), uniform);
      break;
    case DType::f64:
      fill(static_cast<double*>(out), uniform);
      break;
    case DType::u8:
    case DType::s8:
      fill(static_cast<uint8_t*>(out), [](uint32_t r) { return r; });
      break;
    case DType::boolean:
      fill(static_cast<uint8_t*>(out), bit);
      break;
    case DType::u16:
    case DType::s16:
      fill(static_cast<uint16_t*>(out), bit);
      break;
    case DType::u32:
    case DType::s32:
      fill(static_cast<uint32_t*>(out), bit);
      break;
    case DType::u64:
    case DType::s64:
      fill(static_cast<uint64_t*>(out), bit);
      break;
  }
  return tensor;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// A compiled model with its buffers: what is timed is Program::run alone.
class Subject {
 public:
  Subject(const std::string& path, const Options& options, bool compact) : path_(path), program_(compile(options, compact)) {
    for (size_t i = 0; i < program_.inputs().size(); ++i) {
      if (options.data.empty()) inputs_.push_back(random_tensor(program_.inputs()[i]));
      input_views_.push_back(view(inputs_[i]));
    }
    for (const ValueInfo& output : program_.outputs()) {
      Shape shape;
      for (const Dim& d : output.dims) shape.push_back(d.size);
      outputs_.push_back(value(Tensor::create(output.dtype, shape), path));
      output_views_.push_back(view(outputs_.back()));
    }
    workspace_.reset(std::aligned_alloc(64, (program_.workspace_bytes(options.threads) + 64) / 64 * 64));
    if (!workspace_) throw std::bad_alloc();
  }

  void run(const Parallel& parallel, const RunHooks* hooks = nullptr) {
    check(program_.run(input_views_, output_views_, workspace_.get(), parallel, hooks), path_);
  }
  void timed_run(const Parallel& parallel) {
    const Clock::time_point start = Clock::now();
    run(parallel);
    times_.push_back(milliseconds_since(start));
  }
  // Separate runs, so that reading the clock at each step is no part of the latency above.
  void time_nodes(const Parallel& parallel, int runs) {
    step_times_.assign(program_.report().size(), {});
    const auto on_step = [](void* self, size_t step, double ms) { static_cast<Subject*>(self)->step_times_[step].push_back(ms); };
    const RunHooks hooks{this, nullptr, on_step};
    for (int i = 0; i < runs; ++i) run(parallel, &hooks);
  }

  const std::vector<double>& times() const { return times_; }
  double median_ms() const { return quantile(times_, 0.5); }
  Json nodes() const {
    std::vector<double> medians;
    double total = 0;
    for (const auto& times : step_times_) {
      medians.push_back(times.empty() ? 0 : quantile(times, 0.5));
      total += medians.back();
    }
    Json list = Json::array();
    for (size_t i = 0; i < medians.size(); ++i) {
      const NodeReport& n = program_.report()[i];
      list.push_back({{"name", n.name},
                      {"op_type", n.op_type},
                      {"precision", n.precision},
                      {"kernel", n.kernel},
                      {"ms", medians[i]},
                      {"share", total > 0 ? medians[i] / total : 0},
                      {"gmacs_per_s", medians[i] > 0 ? double(n.macs) / medians[i] * 1e-6 : 0}});
    }
    return list;
  }

 private:
  static TensorView view(Tensor& t) { return {t.dtype(), t.shape(), t.mutable_data()}; }

  Program compile(const Options& options, bool compact) {
    const Graph graph = load_model(path_);
    CompileOptions compile;
    if (options.data.empty()) {
      compile.input_shapes = shapes_of_inputs(options.shapes, graph);
    } else {
      if (!options.shapes.empty()) throw Failure("--shape: the samples of --data have shapes of their own");
      const Inputs inputs = Dataset(options.data, graph, Dataset::load(options.data, {&graph})).group(0);
      for (const ValueInfo& input : graph.inputs) inputs_.push_back(inputs.at(input.name));
      compile = options_for(graph, inputs);
    }
    compile.compact = compact;
    return value(Program::compile(graph, compile), path_);
  }

  std::string path_;
  std::vector<Tensor> inputs_, outputs_;
  Program program_;
  std::vector<TensorView> input_views_, output_views_;
  std::unique_ptr<void, Free> workspace_;
  std::vector<double> times_;
  std::vector<std::vector<double>> step_times_;
};

// Subjects take turns, so that a change of the machine's clock or load meets all of them alike.
void time_interleaved(std::vector<Subject>& subjects, const Parallel& parallel, const Options& options) {
  constexpr int kWarmUp = 2, kLeast = 5;
  for (int i = 0; i < kWarmUp; ++i)
    for (Subject& s : subjects) s.run(parallel);
  const Clock::time_point start = Clock::now();
  const auto enough = [&](int done) {
    return options.runs > 0 ? done >= options.runs : done >= kLeast && milliseconds_since(start) >= 1e3 * options.seconds;
  };
  for (int done = 0; !enough(done); ++done)
    for (Subject& s : subjects) s.timed_run(parallel);
}

void add_times(Json& result, const std::string& prefix, const Subject& s) {
  result[prefix + "median_ms"] = s.median_ms();
  result[prefix + "min_ms"] = quantile(s.times(), 0);
  result[prefix + "p10_ms"] = quantile(s.times(), 0.1);
  result[prefix + "p90_ms"] = quantile(s.times(), 0.9);
}

std::string node_table(const Json& nodes) {
  Table table({"node", "operator", "precision", "kernel", "ms", "share", "GMAC/s"});
  for (const Json& n : nodes)
    table.add({n["name"].get<std::string>(), n["op_type"].get<std::string>(), n["precision"].get<std::string>(),
               n["kernel"].get<std::string>(), fmt::format("{:.4f}", n["ms"].get<double>()),
               fmt::format("{:.1f} %", 100 * n["share"].get<double>()), fmt::format("{:.1f}", n["gmacs_per_s"].get<double>())});
  return table.text();
}

int run(const Options& options) {
  ThreadPool pool = value(ThreadPool::create(options.threads), "--threads");
  const Parallel parallel = options.threads > 1 ? pool.parallel() : single_thread();
  std::vector<Subject> subjects;
  subjects.reserve(2);
  subjects.emplace_back(options.model, options, options.compact);
  if (!options.compare.empty()) subjects.emplace_back(options.compare, options, false);
  time_interleaved(subjects, parallel, options);
  for (Subject& s : subjects) s.time_nodes(parallel, int(std::clamp<size_t>(s.times().size() / 4, 5, 100)));

  Json result = {{"model", options.model}, {"threads", options.threads}, {"runs", subjects[0].times().size()}};
  add_times(result, "", subjects[0]);
  if (subjects.size() > 1) {
    result["compare"] = options.compare;
    add_times(result, "compare_", subjects[1]);
    result["ratio"] = subjects[1].median_ms() / subjects[0].median_ms();
  }
  result["nodes"] = subjects[0].nodes();
  if (subjects.size() > 1) result["compare_nodes"] = subjects[1].nodes();
  if (options.json) {
    print_json(result);
    return kDone;
  }
  Table times({"model", "median ms", "min", "p10", "p90"});
  for (size_t i = 0; i < subjects.size(); ++i) {
    const std::vector<double>& t = subjects[i].times();
    times.add({i == 0 ? options.model : options.compare, fmt::format("{:.4f}", quantile(t, 0.5)),
               fmt::format("{:.4f}", quantile(t, 0)), fmt::format("{:.4f}", quantile(t, 0.1)),
               fmt::format("{:.4f}", quantile(t, 0.9))});
  }
  std::string text = node_table(result["nodes"]) + "\n" + times.text();
  if (subjects.size() > 1)
    text += fmt::format("\n{} is {:.2f} times as fast as {}\n", options.model, result["ratio"].get<double>(), options.compare);
  print(text);
  return kDone;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "bench", "Time a model, against another one, and node by node",
      "Prints the median over runs of Program::run, and the time by node from runs of their own. With --compare the runs of\n"
      "the two models alternate, and 'ratio' is the other's median over this one's: above 1 where this model is the faster,\n"
      "so that octavo bench int8.onnx --compare float.onnx gives the speed-up. Inputs are random unless DATA (.npz) is\n"
      "given.",
      [](CLI::App& cmd, Options& o) {
        add_model(cmd, o.model);
        cmd.add_option("--compare", o.compare, "Another model, run in turns with this one")->option_text("OTHER.onnx");
        cmd.add_option("--data", o.data, "Take the inputs from the first samples of this .npz")->option_text("DATA");
        cmd.add_option("--runs", o.runs, "Time N runs of each model")->check(CLI::Range(1, 1'000'000))->option_text("N");
        cmd.add_option("--seconds", o.seconds, "Without --runs: time for S seconds in all (default 3; at least 5 runs)")
            ->check(CLI::Range(0.0, 3600.0))
            ->option_text("S");
        add_shapes(cmd, o.shapes);
        add_threads(cmd, o.threads);
        add_compact(cmd, o.compact);
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
