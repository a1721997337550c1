// The `octavo` command: parses the command line, runs one subcommand, turns every error into one line and exit code 2.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <new>
#include <string>
#include <vector>

#include "command.h"
#include "error.h"
#include "octavo/isa.h"
#include "text.h"

namespace octavo::cli {
namespace {

// CLI11 would only say that some command is required.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || *argv[1] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == argv[1]) return;
    names.push_back(command->get_name());
  }
  throw Failure(fmt::format("no command '{}' (there are {})", argv[1], fmt::join(names, ", ")));
}

int run(int argc, char** argv) {
  CLI::App app("INT8 inference on the CPU: quantize a float ONNX model, run it, and see where it stands.", "octavo");
  app.set_version_flag("--version", "octavo " OCTAVO_VERSION);
  app.require_subcommand(1);
  app.footer(
      "octavo COMMAND --help says more. All commands have --json.\n"
      "OCTAVO_ISA=NAME in the environment forces an instruction set (octavo kernels lists them).\n"
      "Exit code: 0 done, 1 the check failed, 2 bad input (one line on the standard error says what).");
  Action action;
  add_quantize(app, action);
  add_calibrate(app, action);
  add_tune(app, action);
  add_analyze(app, action);
  add_run(app, action);
  add_eval(app, action);
  add_bench(app, action);
  add_inspect(app, action);
  add_conform(app, action);
  add_kernels(app, action);
  check_command(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    throw Failure(error.what());
  }
  check(active_isa().status(), "");
  return action();
}

}  // namespace
}  // namespace octavo::cli

int main(int argc, char** argv) {
  using namespace octavo::cli;
  const auto fail = [](const char* what) {
    std::fputs("octavo: error: ", stderr);
    for (const char* c = what; *c; ++c) std::fputc(uint8_t(*c) < 0x20 || *c == 0x7f ? ' ' : *c, stderr);
    std::fputc('\n', stderr);
    return int(kBadInput);
  };
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    return fail("out of memory");
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}
