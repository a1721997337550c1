// If and Loop as steps: their branches and their body are Programs.
#pragma once

#include "step.h"

namespace octavo {

// A Program that another one runs: what that one has checked is not checked again.
class InnerProgram {
 public:
  // Loops in it may be unrolled within what is left of `budget`.
  static Expected<InnerProgram> compile(const Graph& graph, const CompileOptions& options, int64_t& budget);
  const Program* operator->() const noexcept { return &program_; }
  // inputs, outputs: their data alone. workspace: memory().arena bytes and memory().scratch for each thread.
  Status run(const TensorView* inputs, const TensorView* outputs, void* workspace, const Parallel& parallel) const noexcept;

 private:
  explicit InnerProgram(Program program) noexcept : program_(std::move(program)) {}
  Program program_;
};

// The step of an If or a Loop. options: those of the Program around it.
Expected<Lowered> lower_control(const net::Net& net, const net::Op& op, const CompileOptions& options, int64_t& budget);
// To be called after lowering: constants that went into inner Programs are no operands of the step.
void release_captured_constants(net::Net& net, int op);

}  // namespace octavo
