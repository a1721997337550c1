// octavo analyze: where a quantized model loses accuracy, and which nodes to leave in float for a given loss.
#include "octavo/analyze.h"

#include <fmt/format.h>

#include <cmath>

#include "dataset.h"
#include "error.h"
#include "files.h"
#include "model.h"
#include "options.h"
#include "progress.h"
#include "quantizing.h"
#include "text.h"

namespace octavo::cli {
namespace {

struct Options {
  std::string model, int8, data, proposal, base = "x86_static", calib;
  int64_t samples = 64;
  double least_db = 0, most_loss = -1;
  int threads = 1;
  bool json = false, observers = false;
};

Json finite(double x) { return std::isfinite(x) ? Json(x) : Json(); }
std::string decibels(double x) { return std::isfinite(x) ? fmt::format("{:.2f}", x) : "infinite"; }

// The first output of a graph on all samples, against the labels and against the float graph's.
class Judge {
 public:
  Judge(const Graph& float_graph, std::vector<Inputs> samples, std::optional<std::vector<int64_t>> labels, int64_t batch)
      : samples_(std::move(samples)), labels_(std::move(labels)), batch_(batch) {
    Session session = value(Session::create(float_graph), "");
    for (const Inputs& sample : samples_) expected_.push_back(scores(session, sample));
    float_right_ = right(expected_);
  }

  struct Verdict {
    double sqnr_db = 0, top1 = 0;  // percent, where there are labels
  };
  Verdict judge(const Graph& graph) const {
    Session session = value(Session::create(graph), "");
    std::vector<std::vector<double>> y;
    for (const Inputs& sample : samples_) y.push_back(scores(session, sample));
    double signal = 0, noise = 0;
    for (size_t i = 0; i < y.size(); ++i)
      for (size_t k = 0; k < y[i].size(); ++k) {
        signal += expected_[i][k] * expected_[i][k];
        noise += (expected_[i][k] - y[i][k]) * (expected_[i][k] - y[i][k]);
      }
    return {10 * std::log10(signal / noise), percent(right(y))};
  }
  bool labelled() const { return labels_.has_value(); }
  double float_top1() const { return percent(float_right_); }

 private:
  static std::vector<double> scores(Session& session, const Inputs& sample) {
    const Tensor y = convert_to(value(session.run(sample), "")[0], DType::f64, "output");
    return {y.as<double>(), y.as<double>() + y.count()};
  }
  int64_t right(const std::vector<std::vector<double>>& y) const {
    int64_t n = 0;
    for (size_t i = 0; labels_ && i < y.size(); ++i) {
      const size_t classes = y[i].size() / size_t(batch_);
      for (size_t b = 0; b < size_t(batch_); ++b) {
        const auto first = y[i].begin() + long(b * classes);
        n += std::max_element(first, first + long(classes)) - first == (*labels_)[i * size_t(batch_) + b];
      }
    }
    return n;
  }
  double percent(int64_t n) const { return 100.0 * double(n) / double(samples_.size() * size_t(batch_)); }

  std::vector<Inputs> samples_;
  std::optional<std::vector<int64_t>> labels_;
  int64_t batch_, float_right_ = 0;
  std::vector<std::vector<double>> expected_;
};

// One row for each way to choose ranges.
int compare_observers(const Graph& graph, const Judge& judge, const Options& options) {
  if (options.calib.empty()) throw Failure("--observers: needs --calib");
  QuantizeInputs inputs;
  inputs.calib = options.calib;
  inputs.threads = options.threads;
  Json rows = Json::array();
  Table table({"observer", "SQNR dB", "top-1 %"});
  for (const ObserverKind kind : {ObserverKind::min_max, ObserverKind::moving_average, ObserverKind::histogram,
                                  ObserverKind::percentile, ObserverKind::mse, ObserverKind::kl}) {
    Recipe recipe = load_recipe(options.base);
    const QuantConfig* config = recipe.match(Node());
    if (!config) throw Failure(options.base + ": has no global rule");
    QuantConfig changed = *config;
    changed.activation.observer = kind;
    recipe.set_global(changed);
    Prepared prepared = value(prepare(graph, recipe), options.model);
    calibrate_on(prepared, graph, inputs);
    const Judge::Verdict verdict = judge.judge(value(convert(prepared), options.model));
    rows.push_back({{"observer", name_of(kind)},
                    {"sqnr_db", finite(verdict.sqnr_db)},
                    {"top1", judge.labelled() ? Json(verdict.top1 / 100) : Json()}});
    table.add({name_of(kind), decibels(verdict.sqnr_db), judge.labelled() ? fmt::format("{:.2f}", verdict.top1) : "no labels"});
  }
  if (options.json)
    print_json(Json{{"observers", rows}, {"float_top1", judge.labelled() ? Json(judge.float_top1() / 100) : Json()}});
  else
    print(table.text());
  return kDone;
}

int run(const Options& options) {
  const Graph graph = load_model(options.model);
  std::vector<Inputs> samples;
  const Dataset data(options.data, graph, Dataset::load(options.data, {&graph}), options.samples);
  for (int64_t i = 0; i < data.groups(); ++i) samples.push_back(data.group(i));
  // Named and folded as convert() has it.
  const Prepared prepared = value(prepare(graph, value(Recipe::preset("x86_static"), "")), options.model);
  const Judge judge(prepared.graph(), samples, data.labels(), data.batch());
  if (options.observers) return compare_observers(graph, judge, options);
  if (options.int8.empty()) throw Failure("INT8: a quantized model is needed, or --observers");

  const Graph int8 = load_model(options.int8);
  Analysis analysis;
  {
    Progress progress("analyzing");
    analysis = value(octavo::analyze(prepared.graph(), int8, samples,
                                     [&](size_t done, size_t total) { progress.update(done, total); }),
                     options.int8);
  }
  const Judge::Verdict before = judge.judge(int8);
  Json steps = Json::array();
  Table table({"node", "operator", "own result, dB", "alone in int8, outputs, dB", "MACs"});
  for (const StepDamage& step : analysis.steps) {
    steps.push_back({{"node", step.nodes[0]},
                     {"nodes", step.nodes},
                     {"op_type", step.op_type},
                     {"macs", step.macs},
                     {"output_db", finite(step.output_db)},
                     {"alone_db", finite(step.alone_db)}});
    table.add({step.nodes[0], step.op_type, decibels(step.output_db), decibels(step.alone_db), human_count(uint64_t(step.macs))});
  }
  Json result = {{"sqnr_db", finite(analysis.sqnr_db)}, {"steps", steps}};
  if (judge.labelled()) {
    result["float_top1"] = judge.float_top1() / 100;
    result["int8_top1"] = before.top1 / 100;
  }
  std::string text = table.text() + fmt::format("\noutputs: {} dB on {} samples", decibels(analysis.sqnr_db), samples.size());
  if (judge.labelled()) text += fmt::format("; top-1 {:.2f} % -> {:.2f} %", judge.float_top1(), before.top1);
  text += "\n";

  if (!options.proposal.empty()) {
    if (options.most_loss >= 0 && !judge.labelled()) throw Failure(options.data + ": --max-loss needs 'labels'");
    Judge::Verdict verdict = before;
    const auto good = [&](const Graph& mixed) -> Expected<bool> {
      verdict = judge.judge(mixed);
      return verdict.sqnr_db >= options.least_db &&
             (options.most_loss < 0 || judge.float_top1() - verdict.top1 <= options.most_loss);
    };
    const std::set<std::string> nodes = value(least_float_nodes(prepared.graph(), int8, analysis, good), options.int8);
    Json rules = Json::array();
    for (const std::string& node : nodes) rules.push_back({{"node_name", node}, {"config", nullptr}});
    write_file(options.proposal, Json{{"base", options.base}, {"rules", rules}}.dump(2) + "\n");
    result["float_nodes"] = nodes;
    text += fmt::format("{}: {} nodes in float\n", options.proposal, nodes.size());
  }
  if (options.json)
    print_json(result);
  else
    print(text);
  return kDone;
}

}  // namespace

void add_analyze(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "analyze", "Show which nodes cost accuracy, and propose which to leave in float",
      "Compares INT8, as `octavo quantize` made it from MODEL, with MODEL, step by step: the signal-to-noise ratio of each step's own\n"
      "result, and that of the model's outputs when the step alone is quantized, by which steps are ranked. --propose writes a\n"
      "recipe for `octavo quantize` that leaves as few multiplications in float as it takes for --min-sqnr and --max-loss.\n"
      "--observers quantizes MODEL with each observer in turn and compares the results.",
      [](CLI::App& cmd, Options& o) {
        add_model(cmd, o.model);
        cmd.add_option("INT8", o.int8, "The quantized model")->option_text(" ");
        cmd.add_option("--data", o.data, "Samples (.npz), with 'labels' for the accuracy")->required()->option_text("DATA");
        cmd.add_option("--samples", o.samples, "Use the first N samples only (default 64)")
            ->check(CLI::PositiveNumber)
            ->option_text("N");
        cmd.add_option("--propose", o.proposal, "Write the recipe here")->option_text("RECIPE.json");
        cmd.add_option("--base", o.base, "The recipe that INT8 was made with: the base of the proposal (default x86_static)")
            ->option_text("NAME");
        cmd.add_option("--min-sqnr", o.least_db, "The least signal-to-noise ratio of the first output, in dB")->option_text("DB");
        cmd.add_option("--max-loss", o.most_loss, "The largest loss of top-1 accuracy, in points")->option_text("POINTS");
        cmd.add_flag("--observers", o.observers, "Compare the observers instead");
        cmd.add_option("--calib", o.calib, "Calibration data for --observers (.npz)")->option_text("DATA");
        add_threads(cmd, o.threads);
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
