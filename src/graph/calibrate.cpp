#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <thread>

#include "branches.h"

namespace octavo {
namespace {

using Observers = std::map<std::string, std::unique_ptr<Observer>>;

// Samples go to whichever worker is free; each shows them to observers of its own, which are merged at the end. As observers
// depend on the set of values alone, so does the result: not on the number of threads nor on who took which sample.
class Calibration {
 public:
  Calibration(const QuantPlan& plan, const std::vector<Sample>& samples, const std::vector<uint64_t>& numbers,
              const std::function<void(size_t, size_t)>& progress)
      : plan_(plan), samples_(samples), numbers_(numbers), progress_(progress), failed_(samples.size()) {}

  // What each worker has seen.
  Status run(const Graph& graph, int threads, std::vector<Observers>& seen) {
    CompileOptions options;
    std::unordered_map<std::string, bool> is_input;
    for (const ValueInfo& input : graph.inputs) is_input[input.name] = true;
    for (const QuantizedValue& v : plan_.values) {
      if (!v.observed) continue;
      if (is_input.count(v.name))
        observed_inputs_.push_back(v.name);
      else
        options.keep.push_back(v.name);
    }
    Expected<Session> session = Session::create(graph, 1, options);
    if (!session) return session.status();
    session_ = &*session;

    const size_t workers = std::min(size_t(std::max(threads, 1)), std::max<size_t>(samples_.size(), 1));
    seen.resize(workers);
    for (Observers& own : seen)
      for (const QuantizedValue& v : plan_.values)
        if (v.observed) own[v.name] = Observer::create(v.config.observer);
    {
      std::vector<std::jthread> pool;
      for (size_t w = 1; w < workers; ++w) pool.emplace_back([&, w] { work(seen[w]); });
      work(seen[0]);
    }
    return failed_ < samples_.size() ? error_ : Status();
  }

 private:
  void work(Observers& observers) {
    for (size_t i; !stop_ && (i = next_.fetch_add(1)) < samples_.size();) {
      Status status;
      try {
        status = show(i, observers);
      } catch (const std::bad_alloc&) {
        status = Status::error(Code::out_of_memory, "out of memory");
      }
      const std::lock_guard lock(mutex_);
      if (!status.ok()) {
        stop_ = true;
        if (i < failed_) {  // samples are taken in order, so this finds the first bad one
          failed_ = i;
          error_ = Status::error(status.code(), "calibration sample %zu: %s", i, status.text());
        }
        return;
      }
      ++done_;
      if (progress_) progress_(done_, samples_.size());
    }
  }

  Status show(size_t index, Observers& observers) {
    const Sample& sample = samples_[index];
    Expected<Program> program = compiled(sample);
    if (!program) return program.status();

    std::vector<TensorView> inputs, outputs;
    for (const ValueInfo& info : program->inputs()) {
      const auto it = sample.find(info.name);
      if (it == sample.end()) return Status::error(Code::invalid_argument, "input '%.100s' is missing", info.name.c_str());
      if (it->second.dtype() != info.dtype)
        return Status::error(Code::invalid_argument, "input '%.100s' is %s, not %s", info.name.c_str(),
                             name_of(it->second.dtype()), name_of(info.dtype));
      inputs.push_back({info.dtype, it->second.shape(), const_cast<void*>(it->second.data())});
    }
    std::vector<Tensor> results;
    for (const ValueInfo& info : program->outputs()) {
      Shape shape;
      for (const Dim& d : info.dims) shape.push_back(d.size);
      Expected<Tensor> result = Tensor::create(info.dtype, shape);
      if (!result) return result.status();
      results.push_back(*std::move(result));
    }
    for (Tensor& result : results) outputs.push_back({result.dtype(), result.shape(), result.mutable_data()});

    for (const std::string& name : observed_inputs_)
      observers.at(name)->observe(sample.at(name).as<float>(), size_t(sample.at(name).count()), numbers_[index]);
    Hook hook{&observers, numbers_[index], nullptr};
    RunHooks hooks;
    hooks.context = &hook;
    hooks.on_value = [](void* context, const std::string& name, const float* data, size_t count) {
      Hook& h = *static_cast<Hook*>(context);
      const auto it = h.observers->find(name);
      if (it == h.observers->end() || h.error) return;
      try {
        it->second->observe(data, count, h.sample);
      } catch (...) {
        h.error = std::current_exception();  // Program::run is noexcept
      }
    };
    const size_t bytes = (program->workspace_bytes(1) + 63) / 64 * 64;
    const std::unique_ptr<void, decltype(&std::free)> workspace(std::aligned_alloc(64, std::max<size_t>(bytes, 64)), &std::free);
    if (!workspace) return Status::error(Code::out_of_memory, "no memory for a workspace of %zu bytes", bytes);
    const Status status = program->run(inputs, outputs, workspace.get(), single_thread(), &hooks);
    if (hook.error) std::rethrow_exception(hook.error);
    return status;
  }

  struct Hook {
    Observers* observers;
    uint64_t sample;
    std::exception_ptr error;
  };

  // Programs are shared; compiling them is not thread-safe.
  Expected<Program> compiled(const Sample& sample) {
    const std::lock_guard lock(mutex_);
    Expected<const Program*> program = session_->program(sample);
    if (!program) return program.status();
    return **program;
  }

  const QuantPlan& plan_;
  const std::vector<Sample>& samples_;
  const std::vector<uint64_t>& numbers_;
  const std::function<void(size_t, size_t)>& progress_;
  std::vector<std::string> observed_inputs_;
  Session* session_ = nullptr;
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;  // of what follows, and of the session
  size_t done_ = 0, failed_;
  Status error_;
};

struct Seen {
  Observers* by;
  std::vector<Observers> seen;
};

// The graph, then its branches.
Status observe(Preparation& p, const std::vector<Sample>& samples, const std::vector<uint64_t>& numbers, int threads,
               const std::function<void(size_t, size_t)>& progress, std::vector<Seen>& seen) {
  seen.push_back({&p.observers, {}});
  if (Status s = Calibration(p.plan, samples, numbers, progress).run(p.graph, threads, seen.back().seen); !s.ok()) return s;
  Expected<std::vector<BranchSamples>> taken = sample_branches(p, samples, numbers);
  if (!taken) return taken.status();
  for (size_t b = 0; b < taken->size(); ++b) {
    const BranchSamples& branch = (*taken)[b];
    if (branch.samples.empty()) continue;
    if (Status s = observe(p.branches[b].part, branch.samples, branch.numbers, threads, {}, seen); !s.ok()) return s;
  }
  return {};
}

}  // namespace

Status calibrate(Prepared& prepared, const std::vector<Sample>& samples, int threads,
                 const std::function<void(size_t, size_t)>& progress, int64_t first) try {
  SampleRanges& seen = prepared.impl_->samples;
  const uint64_t begin = first >= 0 ? uint64_t(first) : seen.end();
  if (Status s = seen.check(begin, samples.size()); !s.ok()) return s;
  std::vector<uint64_t> numbers(samples.size());
  std::iota(numbers.begin(), numbers.end(), begin);
  std::vector<Seen> observed;
  Preparation& root = prepared.impl_->root;
  if (Status s = observe(root, samples, numbers, threads, progress, observed); !s.ok()) return s;
  for (const Seen& part : observed)
    for (const Observers& own : part.seen)
      for (const auto& [name, observer] : own)
        if (Status s = part.by->at(name)->merge(*observer); !s.ok()) return s;
  seen.add(begin, samples.size());
  prepared.impl_->annotations = annotations_of(root, seen.end() > 0);
  return {};
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "calibrate: out of memory");
} catch (const std::system_error& e) {
  return Status::error(Code::internal, "calibrate: no thread could be started: %s", e.what());
}

}  // namespace octavo
