// octavo run: one inference from .npy files to .npy files.
#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "dataset.h"
#include "error.h"
#include "files.h"
#include "model.h"
#include "npy.h"
#include "options.h"
#include "text.h"

namespace octavo::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model, output_dir;
  std::vector<std::string> inputs, more_inputs;
  int threads = 1;
  bool json = false;
};

Inputs load_inputs(const Options& options, const Graph& graph) {
  std::vector<std::string> arguments = options.inputs;
  arguments.insert(arguments.end(), options.more_inputs.begin(), options.more_inputs.end());
  Inputs inputs;
  for (const std::string& argument : arguments) {
    const auto [name, path] = split_assignment(argument, graph);
    if (inputs.count(name) != 0) throw Failure(fmt::format("--input: '{}' is given twice", name));
    for (const ValueInfo& input : graph.inputs) {
      if (input.name != name) continue;
      const Tensor tensor = load_npy(path);
      check_shape(input, tensor.shape(), path);
      inputs.emplace(name, convert_to(tensor, input.dtype, path));
    }
  }
  for (const ValueInfo& input : graph.inputs)
    if (inputs.count(input.name) == 0)
      throw Failure(
          fmt::format("no --input for the model's input '{}' ({} {})", input.name, name_of(input.dtype), dims_of(input)));
  return inputs;
}

// NAME.npy with what no file name should hold replaced; a number is added where two names become one.
std::string output_file(const std::string& name, std::set<std::string>& taken) {
  const std::string base = safe_file_name(name);
  std::string file = base + ".npy";
  for (int i = 2; !taken.insert(file).second; ++i) file = fmt::format("{}_{}.npy", base, i);
  return file;
}

int run(const Options& options) {
  Graph graph = load_model(options.model);
  const Inputs inputs = load_inputs(options, graph);
  Session session = open_session(std::move(graph), options.model, options.threads);
  const std::vector<Tensor> outputs = value(session.run(inputs), options.model);

  std::error_code error;
  fs::create_directories(options.output_dir, error);
  if (error) throw Failure(fmt::format("{}: cannot create the directory: {}", options.output_dir, error.message()));
  std::set<std::string> taken;
  Json list = Json::array();
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = session.graph().outputs[i].name;
    const std::string path = (fs::path(options.output_dir) / output_file(name, taken)).string();
    save_npy(path, outputs[i]);
    list.push_back({{"name", name}, {"file", path}, {"dtype", name_of(outputs[i].dtype())}, {"shape", outputs[i].shape()}});
  }
  if (options.json) {
    print_json(Json{{"outputs", list}});
    return kDone;
  }
  Table table({"output", "type", "shape", "file"});
  for (size_t i = 0; i < outputs.size(); ++i)
    table.add({list[i]["name"].get<std::string>(), list[i]["dtype"].get<std::string>(), to_string(outputs[i].shape()),
               list[i]["file"].get<std::string>()});
  print(table.text());
  return kDone;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "run", "Run a model once, from .npy files to .npy files",
      "Inputs hold all of a tensor, the batch dimension included. Each output goes to DIR/NAME.npy; characters that do not\n"
      "belong in file names become '_'.",
      [](CLI::App& cmd, Options& o) {
        add_model(cmd, o.model);
        cmd.add_option("--input", o.inputs, "Data of one input, batch dimension included; repeat it for each input")
            ->option_text("NAME=FILE.npy")
            ->allow_extra_args(false);
        cmd.add_option("NAME=FILE.npy", o.more_inputs, "Further inputs")->option_text(" ");
        cmd.add_option("--output-dir", o.output_dir, "Where the outputs go; created if it is not there")
            ->required()
            ->option_text("DIR");
        add_threads(cmd, o.threads);
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
