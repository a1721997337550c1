// octavo inspect: for each node its precision, its kernel, and why it is not int8.
#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "files.h"
#include "model.h"
#include "options.h"
#include "text.h"

namespace octavo::cli {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> shapes, values;
  bool strict = false, compact = false, json = false;
};

struct Totals {
  int64_t int8_nodes = 0, float_nodes = 0, copy_nodes = 0, int8_macs = 0, macs = 0;
};

Totals count(std::span<const NodeReport> report) {
  Totals t;
  for (const NodeReport& node : report) {
    const bool int8 = node.precision == "int8";
    ++(int8 ? t.int8_nodes : node.precision == "copy" ? t.copy_nodes : t.float_nodes);
    t.macs += node.macs;
    if (int8) t.int8_macs += node.macs;
  }
  return t;
}

Json to_json(std::span<const NodeReport> report) {
  Json nodes = Json::array();
  for (const NodeReport& n : report)
    nodes.push_back({{"name", n.name},
                     {"op_type", n.op_type},
                     {"fused", n.fused},
                     {"precision", n.precision},
                     {"kernel", n.kernel},
                     {"why_not_int8", n.why_not_int8},
                     {"macs", n.macs},
                     {"int8_ms", n.int8_ms},
                     {"float_ms", n.float_ms},
                     {"output_shape", n.output_shape}});
  return nodes;
}

int run(const Options& options) {
  const Graph graph = load_model(options.model);
  CompileOptions compile;
  compile.input_shapes = shapes_of_inputs(options.shapes, graph);
  compile.input_values = parse_values(options.values, graph);
  compile.compact = options.compact;
  const Program program = value(Program::compile(graph, compile), options.model);
  // What compiles at leisure and not strictly has a node between Q and DQ that is not int8; the status names it.
  Status strict;
  if (options.strict) {
    compile.strict = true;
    strict = Program::compile(graph, compile).status();
  }
  const MemoryReport& memory = program.memory();
  const Totals totals = count(program.report());
  if (options.json) {
    Json result = {{"model", options.model},
                   {"int8_mac_share", program.int8_mac_share()},
                   {"macs", totals.macs},
                   {"int8_macs", totals.int8_macs},
                   {"int8_nodes", totals.int8_nodes},
                   {"float_nodes", totals.float_nodes},
                   {"copy_nodes", totals.copy_nodes},
                   {"file_bytes", file_size(options.model)},
                   {"weight_bytes", memory.weights},
                   {"constant_bytes", memory.constants},
                   {"arena_bytes", memory.arena},
                   {"scratch_bytes", memory.scratch},
                   {"peak_bytes", memory.peak(1)},
                   {"nodes", to_json(program.report())}};
    if (options.strict) result["strict"] = strict.ok() ? Json("ok") : Json(strict.text());
    print_json(result);
  } else {
    const bool timed = std::any_of(program.report().begin(), program.report().end(), [](const NodeReport& n) { return n.int8_ms > 0; });
    std::vector<std::string> header = {"node", "operator", "precision", "kernel", "MACs", "output"};
    if (timed) header.insert(header.end(), {"int8 us", "float us"});
    header.push_back("why not int8");
    Table table(header);
    for (const NodeReport& n : program.report()) {
      std::string op = n.op_type;
      if (!n.fused.empty()) op += fmt::format(" +{}", n.fused.size());
      std::vector<std::string> row = {n.name, op, n.precision, n.kernel, n.macs ? human_count(uint64_t(n.macs)) : "", to_string(n.output_shape)};
      for (double ms : {n.int8_ms, n.float_ms})
        if (timed) row.push_back(ms > 0 ? fmt::format("{:.1f}", 1000 * ms) : "");
      row.push_back(n.why_not_int8);
      table.add(row);
    }
    print(table.text() +
          fmt::format("\n{} steps in int8, {} in float, {} copies; {:.2f} % of {} MACs in int8\n"
                      "packed weights {}, constants {}, arena {}, scratch {} a thread: {} at most on one thread\n",
                      totals.int8_nodes, totals.float_nodes, totals.copy_nodes, 100 * program.int8_mac_share(),
                      human_count(uint64_t(totals.macs)), human_bytes(memory.weights), human_bytes(memory.constants),
                      human_bytes(memory.arena), human_bytes(memory.scratch), human_bytes(memory.peak(1))));
    if (!strict.ok()) print(fmt::format("strict: {}\n", printable(strict.text())));
  }
  return strict.ok() ? kDone : kCheckFailed;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "inspect", "Show precision and kernel of each node, and why it is not int8",
      "One line for each step ('+2' = two more nodes are fused into it), then the share of all multiply-accumulates that\n"
      "run in int8.",
      [](CLI::App& cmd, Options& o) {
        add_model(cmd, o.model);
        add_shapes(cmd, o.shapes);
        cmd.add_option("--value", o.values, "Value of an input of one element that chooses a branch or a shape. May be repeated")
            ->option_text("NAME=1")
            ->allow_extra_args(false);
        cmd.add_flag("--strict", o.strict,
                     "Exit with 1 if a node between QuantizeLinear and DequantizeLinear does not run in int8");
        add_compact(cmd, o.compact);
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
