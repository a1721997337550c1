#include "octavo/analyze.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <unordered_map>
#include <unordered_set>

#include "octavo/session.h"
#include "octavo/tune.h"

namespace octavo {
namespace {

using Sample = std::map<std::string, Tensor>;

struct Power {
  double signal = 0, noise = 0;
  void add(const float* x, const float* y, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      signal += double(x[i]) * double(x[i]);
      noise += (double(x[i]) - double(y[i])) * (double(x[i]) - double(y[i]));
    }
  }
  // Outputs that are no numbers are the greatest damage there is.
  double db() const {
    constexpr double kMost = std::numeric_limits<double>::infinity();
    const double db = noise == 0 ? kMost : 10 * std::log10(signal / noise);
    return std::isnan(db) ? -kMost : db;
  }
};

using Values = std::unordered_map<std::string, std::vector<float>>;

// Runs one sample; `values` gets the f32 values that the session keeps, and the f32 outputs.
Status run(Session& session, const Sample& sample, Values& values) {
  struct Context {
    Values& values;
    bool failed = false;
  } context{values};
  RunHooks hooks;
  hooks.context = &context;
  hooks.on_value = [](void* c, const std::string& name, const float* data, size_t count) {
    Context& to = *static_cast<Context*>(c);
    try {
      to.values[name].assign(data, data + count);
    } catch (const std::bad_alloc&) {
      to.failed = true;
    }
  };
  const Expected<std::vector<Tensor>> y = session.run(sample, &hooks);
  if (!y) return y.status();
  if (context.failed) return Status::error(Code::out_of_memory, "analyze: out of memory");
  for (size_t i = 0; i < y->size(); ++i)
    if ((*y)[i].dtype() == DType::f32)
      values[session.graph().outputs[i].name].assign((*y)[i].as<float>(), (*y)[i].as<float>() + (*y)[i].count());
  return {};
}

Status add(const Values& x, const Values& y, const std::string& name, Power& power) {
  const auto a = x.find(name), b = y.find(name);
  if (a == x.end() || b == y.end() || a->second.size() != b->second.size())
    return Status::error(Code::invalid_argument, "value '%.150s' is not the same in both models", name.c_str());
  power.add(a->second.data(), b->second.data(), a->second.size());
  return {};
}

class Analyzer {
 public:
  Analyzer(const Graph& float_graph, const Graph& int8_graph, const std::vector<Sample>& samples) 
      : float_(float_graph), int8_(int8_graph), samples_(samples) {
    std::unordered_set<std::string> quantized;
    for (const Node& node : int8_graph.nodes) quantized.insert(node.name);
    for (const Node& node : float_graph.nodes) {
      if (!node.outputs.empty()) output_of_[node.name] = node.outputs[0];
      if (quantized.count(node.name)) common_.insert(node.name);
    }
    for (const ValueInfo& output : float_graph.outputs) is_output_.insert(output.name);
  }

  Expected<Analysis> run_all(const std::function<void(size_t, size_t)>& progress) {
    if (samples_.empty()) return Status::error(Code::invalid_argument, "analyze: no samples");
    Expected<std::vector<QuantizedStep>> steps = quantized_steps(float_, int8_, samples_[0]);
    if (!steps) return steps.status();
    Analysis analysis;
    for (QuantizedStep& s : *steps) analysis.steps.push_back({s.op_type, std::move(s.nodes), s.macs, 0, 0});
    if (Status s = observe_steps(analysis); !s.ok()) return s;
    for (size_t i = 0; i < analysis.steps.size(); ++i) {
      Expected<double> db = alone(analysis.steps[i]);
      if (!db) return db.status();
      analysis.steps[i].alone_db = *db;
      if (progress) progress(i + 1, analysis.steps.size());
    }
    // By name where damages are equal. (Not stable_sort: in libstdc++ 12 it calls what is deprecated, and Clang says so.)
    std::sort(analysis.steps.begin(), analysis.steps.end(), [](const StepDamage& a, const StepDamage& b) {
      return a.alone_db != b.alone_db ? a.alone_db < b.alone_db : a.nodes < b.nodes;
    });
    return analysis;
  }

 private:
  // The last value of a step that both models have in float.
  std::string result_of(const StepDamage& step) const {
    for (auto name = step.nodes.rbegin(); name != step.nodes.rend(); ++name)
      if (const auto it = output_of_.find(*name); it != output_of_.end()) return it->second;
    return "";
  }

  Status observe_steps(Analysis& analysis) {
    CompileOptions options;
    for (const StepDamage& step : analysis.steps)
      if (const std::string v = result_of(step); !is_output_.count(v)) options.keep.push_back(v);
    Expected<Session> a = Session::create(float_, 1, options), b = Session::create(int8_, 1, options);
    if (!a) return a.status();
    if (!b) return b.status();
    Power total;
    std::vector<Power> powers(analysis.steps.size());
    for (const Sample& sample : samples_) {
      Values x, y;
      if (Status s = run(*a, sample, x); !s.ok()) return s;
      if (Status s = run(*b, sample, y); !s.ok()) return s;
      for (size_t i = 0; i < powers.size(); ++i)
        if (const std::string v = result_of(analysis.steps[i]); x.count(v) && y.count(v))
          if (Status s = add(x, y, v, powers[i]); !s.ok()) return s;
      Values outputs;
      for (const std::string& name : is_output_)
        if (const auto it = x.find(name); it != x.end()) {
          if (Status s = add(x, y, name, total); !s.ok()) return s;
          outputs[name] = it->second;
        }
      expected_.push_back(std::move(outputs));
    }
    for (size_t i = 0; i < powers.size(); ++i) analysis.steps[i].output_db = powers[i].db();
    analysis.sqnr_db = total.db();
    return {};
  }

  Expected<double> alone(const StepDamage& step) {
    std::set<std::string> others = common_;
    for (const std::string& name : step.nodes) others.erase(name);
    const Expected<Graph> graph = mixed(float_, int8_, others);
    if (!graph) return graph.status();
    Expected<Session> session = Session::create(*graph);
    if (!session) return session.status();
    Power power;
    for (size_t i = 0; i < samples_.size(); ++i) {
      Values y;
      if (Status s = run(*session, samples_[i], y); !s.ok()) return s;
      for (const auto& [name, x] : expected_[i])
        if (Status s = add(expected_[i], y, name, power); !s.ok()) return s;
    }
    return power.db();
  }

  const Graph &float_, &int8_;
  const std::vector<Sample>& samples_;
  std::set<std::string> common_, is_output_;
  std::unordered_map<std::string, std::string> output_of_;
  std::vector<Values> expected_;  // the float outputs of each sample
};

}  // namespace

Expected<Analysis> analyze(const Graph& float_graph, const Graph& int8_graph, const std::vector<Sample>& samples,
                           const std::function<void(size_t, size_t)>& progress) try {
  return Analyzer(float_graph, int8_graph, samples).run_all(progress);
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "analyze: out of memory");
}

Expected<std::set<std::string>> least_float_nodes(const Graph& float_graph, const Graph& int8_graph, const Analysis& analysis,
                                                  const std::function<Expected<bool>(const Graph&)>& good) try {
  std::vector<const StepDamage*> order;
  for (const StepDamage& step : analysis.steps) order.push_back(&step);
  const auto gain = [](const StepDamage* s) { return -s->alone_db / 10 - std::log10(double(std::max<int64_t>(s->macs, 1))); };
  std::sort(order.begin(), order.end(),
            [&](const auto* a, const auto* b) { return gain(a) != gain(b) ? gain(a) > gain(b) : a < b; });
  std::set<size_t> chosen;
  const auto nodes_of = [&](const std::set<size_t>& steps) {
    std::set<std::string> nodes;
    for (const size_t i : steps) nodes.insert(order[i]->nodes.begin(), order[i]->nodes.end());
    return nodes;
  };
  const auto is_good = [&](const std::set<size_t>& steps) -> Expected<bool> {
    const Expected<Graph> graph = mixed(float_graph, int8_graph, nodes_of(steps));
    if (!graph) return graph.status();
    return good(*graph);
  };
  const auto first = [](size_t n) {
    std::set<size_t> steps;
    for (size_t i = 0; i < n; ++i) steps.insert(i);
    return steps;
  };
  size_t bad = 0, enough = order.size();
  Expected<bool> ok = is_good({});
  if (!ok) return ok.status();
  if (*ok) return std::set<std::string>();
  ok = is_good(first(enough));
  if (!ok) return ok.status();
  if (!*ok) return Status::error(Code::invalid_argument, "not even with all %zu steps in float", enough);
  while (enough - bad > 1) {
    const size_t middle = bad + (enough - bad) / 2;
    ok = is_good(first(middle));
    if (!ok) return ok.status();
    (*ok ? enough : bad) = middle;
  }
  chosen = first(enough);
  // The last one is needed, or the bisection would not have ended with it; the dearest others are tried first.
  std::vector<size_t> others(chosen.begin(), std::prev(chosen.end()));
  std::sort(others.begin(), others.end(),
            [&](size_t a, size_t b) { return order[a]->macs != order[b]->macs ? order[a]->macs > order[b]->macs : a < b; });
  for (const size_t i : others) {
    std::set<size_t> without = chosen;
    without.erase(i);
    ok = is_good(without);
    if (!ok) return ok.status();
    if (*ok) chosen = std::move(without);
  }
  return nodes_of(chosen);
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "least_float_nodes: out of memory");
}

}  // namespace octavo
