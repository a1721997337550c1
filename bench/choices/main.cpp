// octavo_choices [--json=FILE] [--filter=TEXT] SHAPES...
// Each shape under every choice that its plan has (octavo/choice.h, and the other kernels that this machine runs): all of them in
// short runs, then the best few beside the policy's own in turns. Prints the shapes where the policy is more than 5 % off the best,
// and what would have been better. The policy's result is compared with the reference, and every choice's with the policy's.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "case.h"

namespace octavo::bench {
namespace {

constexpr double kOff = 1.05;

struct Candidate {
  Choice choice;
  const KernelInfo* kernel = nullptr;
  std::string describe;  // without what was asked for
  std::unique_ptr<Case> plan;
  double time = HUGE_VAL;
};

std::string without_asked(std::string text) {
  constexpr std::string_view kAsked = " (asked for)";
  for (size_t at; (at = text.find(kAsked)) != std::string::npos;) text.erase(at, kAsked.size());
  return text;
}

// The candidates so far, each with every value of one more decision.
template <class Field, class T>
void vary(std::vector<Candidate>& all, Field field, const std::vector<T>& values) {
  std::vector<Candidate> more;
  for (const Candidate& c : all) {
    more.push_back({c.choice, c.kernel, {}, nullptr});
    for (const T& v : values) {
      more.push_back({c.choice, c.kernel, {}, nullptr});
      more.back().choice.*field = v;
    }
  }
  all = std::move(more);
}

std::vector<Candidate> candidates(const Shape& s) {
  std::vector<Candidate> all(1);
  const std::vector<bool> both = {false, true};
  const int64_t oh = s.window.oh(), rows = s.conv ? s.batch * oh * s.window.ow() : s.m;
  const bool point = s.conv && s.window.kh == 1 && s.window.kw == 1;
  const auto some = [](std::initializer_list<int64_t> values, int64_t most) {
    std::vector<int64_t> v;
    for (int64_t x : values)
      if (x < most) v.push_back(x);
    v.push_back(most);
    return v;
  };
  if (s.depthwise()) {
    vary(all, &Choice::in_place, both);
    vary(all, &Choice::block_rows, some({1, 2, 4}, std::min<int64_t>(oh, 8)));
  } else if (s.conv) {
    if (point) vary(all, &Choice::flat, both);
    if (!point) vary(all, &Choice::fused, both);
    if (s.groups > 1) vary(all, &Choice::grouped, both);
    if (!point) vary(all, &Choice::winograd, both);
    if (!point) vary(all, &Choice::in_place, both);
    vary(all, &Choice::rows_first, both);
    vary(all, &Choice::short_sums, both);
    vary(all, &Choice::block_rows, point ? some({32, 128, 512}, rows) : some({1, 4, 16}, oh));
    if (point) vary(all, &Choice::panel_group, std::vector<int64_t>{1, 2, 8});
  } else {
    if (s.matmul) vary(all, &Choice::packed, both);
    vary(all, &Choice::short_sums, both);
    vary(all, &Choice::block_rows, some({16, 64, 256}, rows));
    if (!s.matmul) vary(all, &Choice::panel_group, std::vector<int64_t>{1, 2, 4, 8});
  }
  const Expected<Isa> isa = active_isa();
  for (const KernelInfo& k : kernels())
    if (isa && k.op == (s.depthwise() ? Op::dwconv : Op::brgemm) && k.a == s.a && k.group == 0 && !k.test_only &&
        k.needs != Isa::scalar && covers(*isa, k.needs) && best_kernel(k.op, k.a, k.b, *isa) != &k)
      all.push_back({{}, &k, {}, nullptr});
  return all;
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The best of `rounds` short runs.
double best_time(Case& plan, int rounds, double run_seconds) {
  double start = seconds();
  plan.run();
  const int repeats = std::clamp(int(run_seconds / std::max(seconds() - start, 1e-9)), 1, 10000);
  double best = HUGE_VAL;
  for (int i = 0; i < rounds; ++i) {
    start = seconds();
    for (int r = 0; r < repeats; ++r) plan.run();
    best = std::min(best, (seconds() - start) / repeats);
  }
  return best;
}

struct Result {
  const Shape* shape;
  std::string error, policy, best;  // descriptions
  double policy_time = 0, best_time = 0;
  size_t choices = 0;
  double off() const { return policy_time / best_time; }
};

Result measure(const Shape& s) {
  Result r{&s, {}, {}, {}};
  const Operands operands(s);
  const std::string before(operands.c.get(), operands.c.size());  // the residual
  if (const Case checked(s, operands); !checked.error().empty()) {
    r.error = checked.error();
    return r;
  }
  const std::string expected(operands.c.get(), operands.c.size());
  std::vector<Candidate> all;
  std::set<std::string> seen;
  for (Candidate& c : candidates(s)) {
    c.plan = std::make_unique<Case>(s, operands, c.choice, c.kernel);
    if (!c.plan->error().empty()) {
      r.error = c.plan->error();
      return r;
    }
    c.describe = without_asked(c.plan->describe());
    if (!seen.insert(c.describe).second) {
      c.plan.reset();
      continue;
    }
    std::memcpy(operands.c.get(), before.data(), before.size());
    c.plan->run();
    if (std::memcmp(operands.c.get(), expected.data(), expected.size()) != 0) {
      r.error = "another result: " + c.describe;
      return r;
    }
    c.time = best_time(*c.plan, 3, 3e-4);
    all.push_back(std::move(c));
    // Plans hold their weights: only the policy's, which is the first one, and the best few are kept.
    constexpr size_t kFew = 4;
    std::stable_sort(all.begin() + 1, all.end(), [](const Candidate& x, const Candidate& y) { return x.time < y.time; });
    if (all.size() > kFew) all.resize(kFew);
  }
  for (Candidate& c : all) c.time = HUGE_VAL;
  for (int round = 0; round < 10; ++round)
    for (Candidate& c : all) c.time = std::min(c.time, best_time(*c.plan, 1, 1e-3));
  const auto best = std::min_element(all.begin(), all.end(), [](const Candidate& x, const Candidate& y) { return x.time < y.time; });
  r.policy = all[0].describe, r.policy_time = all[0].time, r.best = best->describe, r.best_time = best->time, r.choices = seen.size();
  return r;
}

bool write_json(const char* file, const std::vector<Result>& results) {
  std::FILE* f = std::fopen(file, "w");
  if (!f) return false;
  std::fprintf(f, "{\"shapes\": [");
  const char* comma = "\n";
  for (const Result& r : results) {
    std::fprintf(f, "%s{\"shape\": \"%s\", ", comma, r.shape->label().c_str());
    if (r.error.empty()) {
      std::fprintf(f, "\"choices\": %zu, \"policy_us\": %.4g, \"best_us\": %.4g, \"off\": %.4f, \"policy\": \"%s\", \"best\": \"%s\"}", r.choices,
                   r.policy_time * 1e6, r.best_time * 1e6, r.off(), r.policy.c_str(), r.best.c_str());
    } else {
      std::fprintf(f, "\"error\": \"%s\"}", r.error.c_str());
    }
    comma = ",\n";
  }
  std::fprintf(f, "\n]}\n");
  return std::fclose(f) == 0;
}

int run(int argc, char** argv) {
  std::vector<const char*> files;
  const char* json = nullptr;
  std::string_view filter;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word.starts_with("--json=")) {
      json = argv[i] + 7;
    } else if (word.starts_with("--filter=")) {
      filter = word.substr(9);
    } else if (word.starts_with("-")) {
      files.clear();
      break;
    } else {
      files.push_back(argv[i]);
    }
  }
  if (files.empty()) {
    std::fputs("octavo_choices [--json=FILE] [--filter=TEXT] SHAPES...\n", stderr);
    return 2;
  }
  std::vector<Shape> shapes;
  for (const char* file : files)
    if (!read_shapes(file, shapes)) return 2;
  std::vector<Result> results;
  double log_sum = 0;
  int measured = 0, off = 0, failed = 0;
  for (const Shape& s : shapes) {
    if (s.label().find(filter) == std::string::npos) continue;
    results.push_back(measure(s));
    const Result& r = results.back();
    if (!r.error.empty()) {
      ++failed;
      std::printf("%-40s %s\n", s.label().c_str(), r.error.c_str());
      continue;
    }
    ++measured;
    log_sum += std::log(r.off());
    if (r.off() <= kOff) continue;
    ++off;
    std::printf("%-40s %9.2f us, %.2f times the best of %zu choices (%.2f us)\n  policy  %s\n  best    %s\n", s.label().c_str(),
                r.policy_time * 1e6, r.off(), r.choices, r.best_time * 1e6, r.policy.c_str(), r.best.c_str());
    std::fflush(stdout);
  }
  std::printf("%d shapes, %d more than 5 %% off the best, %.3f times the best in the geometric mean, %d failed\n", measured, off,
              measured ? std::exp(log_sum / measured) : 1.0, failed);
  if (json && !write_json(json, results)) {
    std::fprintf(stderr, "%s: cannot be written\n", json);
    return 1;
  }
  return failed ? 1 : 0;
}

}  // namespace
}  // namespace octavo::bench

int main(int argc, char** argv) { return octavo::bench::run(argc, argv); }
