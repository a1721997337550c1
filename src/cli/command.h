// The subcommands of `octavo`. Each add_...() declares one on the command line and, when the user names it, leaves in
// `action` what it does; the action returns the exit code or throws.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace octavo::cli {

using Action = std::function<int()>;

void add_quantize(CLI::App& app, Action& action);
void add_calibrate(CLI::App& app, Action& action);
void add_tune(CLI::App& app, Action& action);
void add_analyze(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_conform(CLI::App& app, Action& action);
void add_kernels(CLI::App& app, Action& action);

}  // namespace octavo::cli
