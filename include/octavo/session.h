// compile -> run: a Program is a graph lowered to plans for fixed input shapes; a Session keeps Programs by shape.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "octavo/graph.h"
#include "octavo/isa.h"
#include "octavo/threads.h"

namespace octavo {

struct CompileOptions {
  std::map<std::string, Shape> input_shapes;  // for inputs with dynamic dimensions; a batch left open becomes 1
  Isa isa = Isa::scalar;                      // used if use_isa is set; else active_isa()
  bool use_isa = false;
  bool strict = false;                        // an error for each node between Q and DQ that cannot run in int8
  bool simulate = false;                      // everything between DequantizeLinear and QuantizeLinear in float, as in training
  // Weights of convolutions stay one byte each: no F(4x4, 3x3), which multiplies less and holds eight times as many bytes. The results
  // are the same.
  bool compact = false;
  std::vector<std::string> keep;              // values that must exist at run time for RunHooks::on_value
  // Inputs whose values are known now: axes, target shapes, repeats ... on which the shapes of results depend. The Program is
  // for these values only, and run() refuses others.
  std::map<std::string, Tensor> input_values;
};

// The graph inputs on whose values some shape depends, through any number of nodes: a Program needs them as input_values. So do
// conditions and trip counts on which a shape depends; and inputs of one bool that choose the branch of an If (use_cache_branch of a
// decoder) are among them, so that each Program has one branch alone.
std::vector<std::string> shape_inputs(const Graph& graph);

// Dense row-major data as ONNX has it (NCHW). For inputs, data is only read.
struct TensorView {
  DType dtype = DType::f32;
  Shape shape;
  void* data = nullptr;
};

// One line of report(): a node of the compiled graph, after fusion.
struct NodeReport {
  std::string name;                    // of the main node
  std::string op_type;
  std::vector<std::string> fused;      // names of the other nodes that the step computes
  std::string precision;               // "int8", "float" (whatever no int8 kernel computes), or "copy" (moves bytes)
  std::string kernel;                  // registry row, elementwise table, or "generic"
  std::string why_not_int8;            // empty for int8 and copy
  int64_t macs = 0;                    // multiply-accumulates of Conv, ConvTranspose, Gemm, MatMul for the compiled shapes
  Shape output_shape;
  // What both forms of the step took where keep_faster (tune.h) timed them, on the machine that did. 0: never timed.
  double int8_ms = 0, float_ms = 0;
};

struct RunHooks {
  void* context = nullptr;
  // Called with every f32 value named in CompileOptions::keep, in the order of execution.
  void (*on_value)(void* context, const std::string& name, const float* data, size_t count) = nullptr;
  // Called after each step with its index in report() and its time.
  void (*on_step)(void* context, size_t step, double milliseconds) = nullptr;
};

// What a Program holds and what a run needs, in bytes.
struct MemoryReport {
  size_t weights = 0;    // packed, once; the file's own are no longer needed
  size_t constants = 0;  // other tensors that steps read
  size_t arena = 0;      // values, by lifetime: one place serves many
  size_t scratch = 0;    // of the steps, for each thread
  size_t workspace(int threads) const noexcept { return arena + scratch * size_t(threads > 1 ? threads : 1); }
  size_t peak(int threads) const noexcept { return weights + constants + workspace(threads); }
};

// If and Loop that only the run decides are one step each, and their branches and body Programs of their own, in which constants and
// shapes are known as outside. A Loop without a trip count (or with one above 2^31) ends with an error after 2^20 iterations.
// Immutable; copies share everything; any number of threads may run() one Program at once, each with its own workspace.
class Program {
 public:
  static Expected<Program> compile(const Graph& graph, const CompileOptions& options = {});
  std::span<const ValueInfo> inputs() const noexcept;   // with the compiled shapes
  std::span<const ValueInfo> outputs() const noexcept;
  size_t workspace_bytes(int threads) const noexcept;   // memory().workspace(threads); 64-byte aligned
  // inputs and outputs in the order of inputs() and outputs(). Allocates nothing.
  Status run(std::span<const TensorView> inputs, std::span<const TensorView> outputs, void* workspace, const Parallel& parallel,
             const RunHooks* hooks = nullptr) const noexcept;

  std::span<const NodeReport> report() const noexcept;
  double int8_mac_share() const noexcept;   // MACs on int8 kernels / all MACs; 1 where there are none
  const MemoryReport& memory() const noexcept;

 private:
  struct Impl;
  friend class InnerProgram;
  explicit Program(std::shared_ptr<const Impl>) noexcept;
  static Expected<Program> compile(const Graph& graph, const CompileOptions& options, int64_t& unroll_budget);
  // run() without the checks; of the views only the data.
  Status execute(const TensorView* inputs, const TensorView* outputs, void* workspace, const Parallel& parallel,
                 const RunHooks* hooks) const noexcept;
  std::shared_ptr<const Impl> impl_;
};

// A graph, its Programs by input shape (and by the values of shape_inputs), a workspace and threads. It keeps the Programs
// used last, 16 of them. Not thread-safe: one Session per thread.
class Session {
 public:
  static Expected<Session> create(Graph graph, int threads = 1, const CompileOptions& options = {});
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();
  // Outputs in the order of the graph. Errors name the missing or misshapen input.
  Expected<std::vector<Tensor>> run(const std::map<std::string, Tensor>& inputs, const RunHooks* hooks = nullptr);
  // The Program for these input shapes, or for these inputs, compiled on first sight; valid until the next call.
  Expected<const Program*> program(const std::map<std::string, Shape>& input_shapes);
  Expected<const Program*> program(const std::map<std::string, Tensor>& inputs);
  // Where all inputs have fixed shapes there is nothing to compile after the first Program: its constants are then let go.
  const Graph& graph() const noexcept;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl>) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace octavo
