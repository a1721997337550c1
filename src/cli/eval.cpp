// octavo eval: scores a model on labelled samples, and compares it with another one on the same samples.
#include <fmt/format.h>

#include <cmath>

#include "dataset.h"
#include "error.h"
#include "model.h"
#include "options.h"
#include "progress.h"
#include "text.h"

namespace octavo::cli {
namespace {

struct Options {
  std::string model, data, compare, output;
  int64_t samples = std::numeric_limits<int64_t>::max();
  int threads = 1;
  bool json = false;
};

// Counts how often the label is the best class, or among the best five.
struct Accuracy {
  int64_t top1 = 0, top5 = 0;

  // Among equal scores the lower index ranks first, as argmax has it. A score that is not a number is never right.
  void add(const std::vector<double>& scores, int64_t label) {
    const double own = scores[size_t(label)];
    if (std::isnan(own)) return;
    int64_t better = 0;
    for (size_t i = 0; i < scores.size(); ++i) better += scores[i] > own || (scores[i] == own && int64_t(i) < label);
    top1 += better < 1;
    top5 += better < 5;
  }
};

struct Agreement {
  int64_t same = 0;
  double signal = 0, noise = 0;

  void add(const std::vector<double>& x, const std::vector<double>& y) {
    same += argmax(x) == argmax(y);
    for (size_t i = 0; i < x.size(); ++i) {
      signal += x[i] * x[i];
      noise += (x[i] - y[i]) * (x[i] - y[i]);
    }
  }
  static size_t argmax(const std::vector<double>& v) {
    size_t best = 0;
    for (size_t i = 1; i < v.size(); ++i)
      if (v[i] > v[best]) best = i;
    return best;
  }
  double sqnr_db() const { return 10 * std::log10(signal / noise); }
};

// One model with its view of the data.
struct Subject {
  Subject(Graph graph, const std::string& path, const Options& options, const std::map<std::string, Tensor>& arrays)
      : path(path),
        output(find_output(graph, options.output, path)),
        data(options.data, graph, arrays, options.samples),
        session(open_session(std::move(graph), path, options.threads)) {}

  // The scores of sample i. A batch is run when its first sample is asked for.
  std::vector<double> scores(int64_t i) {
    if (i % data.batch() == 0) {
      const std::vector<Tensor> outputs = value(session.run(data.group(i / data.batch())), path);
      result = convert_to(outputs[output], DType::f64, path);
      if (result.count() % data.batch() != 0 || result.count() == 0)
        throw Failure(fmt::format("{}: output '{}' of shape {} is no set of scores for {} samples", path,
                                  session.graph().outputs[output].name, to_string(result.shape()), data.batch()));
    }
    const int64_t classes = result.count() / data.batch();
    const double* first = result.as<double>() + i % data.batch() * classes;
    return {first, first + classes};
  }

  std::string path;
  size_t output;
  Dataset data;
  Session session;
  Tensor result;
};

void check_label(const Subject& subject, int64_t sample, size_t classes) {
  const int64_t label = (*subject.data.labels())[size_t(sample)];
  if (label < 0 || uint64_t(label) >= classes)
    throw Failure(fmt::format("sample {}: label {} where the model has {} classes", sample, label, classes));
}

// A number, or null for what JSON cannot say (the SQNR of equal outputs is infinite).
Json finite(double x) { return std::isfinite(x) ? Json(x) : Json(); }
std::string percent(const Json& fraction) {
  return fraction.is_null() ? "no labels" : fmt::format("{:.2f} %", 100 * fraction.get<double>());
}

int run(const Options& options) {
  Graph graph = load_model(options.model);
  const bool comparing = !options.compare.empty();
  Graph other_graph = comparing ? load_model(options.compare) : Graph();
  const auto arrays = Dataset::load(
      options.data, comparing ? std::vector<const Graph*>{&graph, &other_graph} : std::vector<const Graph*>{&graph});
  Subject model(std::move(graph), options.model, options, arrays);
  std::optional<Subject> other;
  if (comparing) other.emplace(std::move(other_graph), options.compare, options, arrays);

  Accuracy accuracy, other_accuracy;
  Agreement agreement;
  const int64_t samples = model.data.samples();
  const bool labelled = model.data.labels().has_value();
  Progress progress("evaluating");
  for (int64_t i = 0; i < samples; ++i) {
    const std::vector<double> scores = model.scores(i);
    if (labelled) {
      check_label(model, i, scores.size());
      accuracy.add(scores, (*model.data.labels())[size_t(i)]);
    }
    if (other) {
      const std::vector<double> other_scores = other->scores(i);
      if (other_scores.size() != scores.size())
        throw Failure(fmt::format("{} has {} scores for a sample, {} has {}", options.model, scores.size(), options.compare,
                                  other_scores.size()));
      if (labelled) other_accuracy.add(other_scores, (*model.data.labels())[size_t(i)]);
      agreement.add(scores, other_scores);
    }
    progress.update(size_t(i + 1), size_t(samples));
  }

  const auto fraction = [&](int64_t n) { return labelled ? Json(double(n) / double(samples)) : Json(); };
  Json result = {
      {"model", options.model}, {"samples", samples}, {"top1", fraction(accuracy.top1)}, {"top5", fraction(accuracy.top5)}};
  if (other) {
    result["compare"] = options.compare;
    result["compare_top1"] = fraction(other_accuracy.top1);
    result["compare_top5"] = fraction(other_accuracy.top5);
    result["agreement"] = double(agreement.same) / double(samples);
    result["sqnr_db"] = finite(agreement.sqnr_db());
    result["identical"] = agreement.noise == 0;
  }
  if (options.json) {
    print_json(result);
    return kDone;
  }
  Table table({"model", "top-1", "top-5"});
  table.add({options.model, percent(result["top1"]), percent(result["top5"])});
  if (other) table.add({options.compare, percent(result["compare_top1"]), percent(result["compare_top5"])});
  std::string text = table.text() + fmt::format("\n{} samples", samples);
  if (other)
    text += fmt::format("; same class for {}; SQNR {}", percent(result["agreement"]),
                        agreement.noise == 0 ? "infinite (equal outputs)" : fmt::format("{:.2f} dB", agreement.sqnr_db()));
  print(text + "\n");
  return kDone;
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "eval", "Score a model on labelled samples, and compare it with another",
      "DATA is an .npz file whose arrays are named after the model's inputs (first axis = samples; where an array has one axis\n"
      "more than its input, each sample is a whole input). With 'labels' in it, top-1 and top-5 accuracy are given. With\n"
      "--compare also how often both models choose the same class, and the signal-to-noise ratio of the other's output y\n"
      "against this one's x: 10 log10(sum x^2 / sum (x - y)^2). Outputs are flattened to one row of scores for each sample.\n"
      "In JSON, what there is not (no labels; the infinite ratio of equal outputs) is null.",
      [](CLI::App& cmd, Options& o) {
        add_model(cmd, o.model);
        cmd.add_option("--data", o.data, "Samples (.npz), with 'labels' for the accuracy")->required()->option_text("DATA");
        cmd.add_option("--compare", o.compare, "Another model with the same inputs and outputs")->option_text("OTHER.onnx");
        cmd.add_option("--output", o.output, "The output to score (default: the first)")->option_text("NAME");
        cmd.add_option("--samples", o.samples, "Use the first N samples only")->check(CLI::PositiveNumber)->option_text("N");
        add_threads(cmd, o.threads);
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
