// octavo kernels: what this binary holds, and what of it this machine runs.
#include <fmt/format.h>

#include "error.h"
#include "octavo/eltwise.h"
#include "octavo/isa.h"
#include "octavo/registry.h"
#include "options.h"
#include "text.h"

namespace octavo::cli {
namespace {

struct Options {
  bool json = false;
};

// The name of a kernel's instruction set: the smallest named set that covers its needs.
std::string isa_name(Isa needs) {
  for (const IsaName& n : isa_names())
    if (covers(n.implies, needs)) return n.name;
  return "?";
}

// The names of all bits in a set, "scalar" where there are none.
std::vector<std::string> isa_list(Isa set) {
  std::vector<std::string> names;
  for (const IsaName& n : isa_names())
    if (n.bit != Isa::scalar && covers(set, n.bit)) names.push_back(n.name);
  if (names.empty()) names.push_back("scalar");
  return names;
}

std::string why_not(Isa needs, bool test_only) {
  if (!covers(detected_isa(), needs)) return fmt::format("this machine lacks {}", isa_name(needs));
  if (!covers(*active_isa(), needs)) {
    const char* word = std::getenv("OCTAVO_ISA");
    return word ? fmt::format("excluded by OCTAVO_ISA={}", word) : "no gain on this core";
  }
  return test_only ? "for tests only" : "";
}

Json kernel_rows(Isa active) {
  Json rows = Json::array();
  for (const KernelInfo& k : kernels()) {
    const std::string why = why_not(k.needs, k.test_only);
    rows.push_back({{"name", k.name},
                    {"op", octavo::name_of(k.op)},
                    {"a", octavo::name_of(k.a)},
                    {"b", octavo::name_of(k.b)},
                    {"isa", isa_name(k.needs)},
                    {"tile", fmt::format("{}x{}x{}", k.mr, k.nr, k.kr)},
                    {"eligible", why.empty()},
                    {"why_not", why},
                    {"chosen", best_kernel(k.op, k.a, k.b, active) == &k}});
  }
  return rows;
}

Json eltwise_rows(Isa active) {
  Json rows = Json::array();
  for (const EltwiseKernels& table : eltwise_tables()) {
    const std::string why = why_not(table.needs, false);
    rows.push_back({{"name", table.name},
                    {"op", "eltwise"},
                    {"isa", isa_name(table.needs)},
                    {"eligible", why.empty()},
                    {"why_not", why},
                    {"chosen", &eltwise(active) == &table}});
  }
  return rows;
}

int run(const Options& options) {
  const Isa active = value(active_isa(), "");
  const Json result = {{"detected", isa_list(detected_isa())},
                       {"active", isa_list(active)},
                       {"kernels", kernel_rows(active)},
                       {"eltwise", eltwise_rows(active)}};
  if (options.json) {
    print_json(result);
    return kDone;
  }
  Table table({"kernel", "isa", "eligible", "why not"});
  for (const char* list : {"kernels", "eltwise"})
    for (const Json& row : result[list])
      table.add({row["name"].get<std::string>(), row["isa"].get<std::string>(),
                 row["chosen"] == true     ? "chosen"
                 : row["eligible"] == true ? "yes"
                                           : "no",
                 row["why_not"].get<std::string>()});
  print(fmt::format("machine: {}\nin use:  {}\n\n{}", fmt::join(isa_list(detected_isa()), " "), fmt::join(isa_list(active), " "),
                    table.text()));
  return kDone;
}

}  // namespace

void add_kernels(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "kernels", "List the kernels of this binary and what this machine runs of them",
      "In priority order: the first eligible kernel of each operator and type is the chosen one.",
      [](CLI::App& cmd, Options& o) { add_json(cmd, o.json); }, run);
}

}  // namespace octavo::cli
