#include "lower_control.h"

#include <cstring>
#include <limits>
#include <new>

#include "control.h"

namespace octavo {
namespace {

using net::Net;

constexpr size_t kAlign = 64;
size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// What a Program takes and gives while it runs: views in the scratch memory, without shapes, as these were checked at compile time.
class Views {
 public:
  Views(void* memory, size_t count) noexcept : views_(static_cast<TensorView*>(memory)), count_(count) {
    std::uninitialized_default_construct_n(views_, count);
  }
  ~Views() { std::destroy_n(views_, count_); }
  Views(const Views&) = delete;
  Views& operator=(const Views&) = delete;
  TensorView* at(size_t i) const noexcept { return views_ + i; }

 private:
  TensorView* views_;
  size_t count_;
};

ValueInfo fixed(const std::string& name, DType dtype, const Shape& shape) {
  ValueInfo info{name, dtype, {}, true};
  for (const int64_t size : shape) info.dims.push_back({size, ""});
  return info;
}

// A subgraph as a graph of its own: captured constants are its own, other inputs have types and shapes.
struct Closed {
  Graph graph;
  std::vector<size_t> operands;  // of the node: what the inputs are
};

Closed close(const Net& net, const net::Op& op, const Graph& inner) {
  Closed closed{inner, {}};
  closed.graph.captures = 0;
  closed.graph.inputs.clear();
  const size_t first = op.in.size() - inner.inputs.size(), own = inner.inputs.size() - inner.captures;
  for (size_t i = 0; i < inner.inputs.size(); ++i) {
    const std::string& name = inner.inputs[i].name;
    if (const Tensor* constant = i >= own ? net.constant(op, first + i) : nullptr) {
      closed.graph.initializers[name] = *constant;
      continue;
    }
    closed.operands.push_back(first + i);
    if (first + i < 2 && op.node.op_type == "Loop") {  // the number of the iteration, and the condition
      closed.graph.inputs.push_back(fixed(name, i == 0 ? DType::s64 : DType::boolean, single_shape(inner.inputs[i])));
      continue;
    }
    const net::Value& value = net.values[op.in[first + i]];
    closed.graph.inputs.push_back(fixed(name, value.dtype, value.shape));
  }
  return closed;
}

// Those of the Program around, but for what names its values.
CompileOptions inner_options(CompileOptions options) {
  options.input_shapes.clear();
  options.input_values.clear();
  options.keep.clear();
  return options;
}

size_t workspace_of(const InnerProgram& program) { return aligned(program->memory().arena) + program->memory().scratch; }

class IfStep : public Step {
 public:
  struct Branch {
    InnerProgram program;
    std::vector<size_t> operands;
  };
  IfStep(Branch then_branch, Branch else_branch, std::vector<size_t> results)
      : branches_{std::move(else_branch), std::move(then_branch)}, results_(std::move(results)) {
    for (const Branch& b : branches_) {
      views_ = std::max(views_, b.operands.size() + results_.size());
      scratch_bytes = std::max(scratch_bytes, workspace_of(b.program));
    }
    views_bytes_ = aligned(views_ * sizeof(TensorView));
    scratch_bytes += views_bytes_;
  }

  Status run(const Frame& f) const noexcept override {
    const Branch& b = branches_[*static_cast<const uint8_t*>(f.at(in[0])) != 0];
    const Views views(f.scratch, views_);
    for (size_t i = 0; i < b.operands.size(); ++i) views.at(i)->data = f.at(in[b.operands[i]]);
    TensorView* results = views.at(b.operands.size());
    for (size_t i = 0; i < results_.size(); ++i) results[i].data = f.at(out[results_[i]]);
    return b.program.run(views.at(0), results, f.scratch + views_bytes_, f.parallel);
  }

 private:
  Branch branches_[2];            // by condition
  std::vector<size_t> results_;   // of the node, in use
  size_t views_ = 0, views_bytes_ = 0;
};

class LoopStep : public Step {
 public:
  // operands of the body behind iteration and condition; `carried` of them come first.
  LoopStep(InnerProgram body, std::vector<size_t> operands, std::vector<size_t> carried_bytes, std::vector<size_t> stacked,
           std::vector<size_t> stacked_bytes)
      : body_(std::move(body)), operands_(std::move(operands)), carried_bytes_(std::move(carried_bytes)),
        stacked_(std::move(stacked)), stacked_bytes_(std::move(stacked_bytes)) {
    views_bytes_ = aligned((body_->inputs().size() + body_->outputs().size()) * sizeof(TensorView));
    for (const size_t bytes : carried_bytes_) state_bytes_ += aligned(bytes);
    scratch_bytes = views_bytes_ + kAlign + 2 * state_bytes_ + workspace_of(body_);
  }

  Status run(const Frame& f) const noexcept override {
    const size_t carried = carried_bytes_.size();
    const Views views(f.scratch, body_->inputs().size() + body_->outputs().size());
    TensorView *inputs = views.at(0), *outputs = views.at(body_->inputs().size());
    std::byte* memory = f.scratch + views_bytes_;
    int64_t* iteration = new (memory) int64_t(0);
    uint8_t* go = new (memory + sizeof(int64_t)) uint8_t(1);
    uint8_t* next = new (memory + sizeof(int64_t) + 1) uint8_t(1);
    std::byte* state[] = {memory + kAlign, memory + kAlign + state_bytes_};
    std::byte* workspace = state[1] + state_bytes_;

    inputs[0].data = iteration;
    inputs[1].data = go;
    for (size_t i = 0; i < operands_.size(); ++i) inputs[2 + i].data = f.at(in[operands_[i]]);
    outputs[0].data = next;
    const int64_t* trips = static_cast<const int64_t*>(f.at(in[0]));
    const uint8_t* first = static_cast<const uint8_t*>(f.at(in[1]));
    const int64_t count = trips ? *trips : std::numeric_limits<int64_t>::max();
    if (first) *next = *first;
    for (; *next != 0 && *iteration < count; ++*iteration) {
      if (*iteration == kMaxIterations && count > kEndless)
        return Status::error(Code::invalid_argument, "more than %lld iterations, and no trip count",
                             static_cast<long long>(kMaxIterations));
      std::byte* after = state[*iteration % 2];
      for (size_t i = 0; i < carried; ++i) {
        outputs[1 + i].data = after;
        after += aligned(carried_bytes_[i]);
      }
      for (size_t i = 0; i < stacked_.size(); ++i)
        outputs[1 + carried + i].data = static_cast<std::byte*>(f.at(out[stacked_[i]])) + size_t(*iteration) * stacked_bytes_[i];
      *go = 1;
      if (Status s = body_.run(inputs, outputs, workspace, f.parallel); !s.ok()) return s;
      for (size_t i = 0; i < carried; ++i) inputs[2 + i].data = outputs[1 + i].data;
    }
    for (size_t i = 0; i < carried; ++i)
      if (void* y = i < out.size() ? f.at(out[i]) : nullptr; y && carried_bytes_[i] > 0) std::memcpy(y, inputs[2 + i].data, carried_bytes_[i]);
    return {};
  }

 private:
  InnerProgram body_;
  std::vector<size_t> operands_, carried_bytes_;
  std::vector<size_t> stacked_, stacked_bytes_;  // outputs of the node that are in use, and the bytes of one iteration
  size_t views_bytes_ = 0, state_bytes_ = 0;
};

size_t weights_of(const InnerProgram& program) { return program->memory().weights + program->memory().constants; }

// What the report says of the steps inside.
void add_report(const InnerProgram& program, int64_t times, NodeReport& report, bool& int8) {
  for (const NodeReport& inner : program->report()) {
    report.fused.push_back(inner.name);
    report.fused.insert(report.fused.end(), inner.fused.begin(), inner.fused.end());
    report.macs += inner.macs * times;
    if (inner.macs == 0 || inner.precision == "int8") continue;
    int8 = false;
    if (report.why_not_int8.empty()) report.why_not_int8 = "'" + inner.name + "' inside: " + inner.why_not_int8;
  }
}

Status named(const net::Op& op, const char* graph, const Status& s) {
  return Status::error(s.code(), "%.40s '%.100s': %s: %s", op.node.op_type.c_str(), op.node.name.c_str(), graph, s.text());
}

size_t bytes_of(const Shape& shape, DType dtype) { return size_t(product(shape)) * size_of(dtype); }

Expected<std::unique_ptr<Step>> lower_if(const Net& net, const net::Op& op, const CompileOptions& options, int64_t& budget,
                                         NodeReport& report, bool& int8) {
  std::vector<size_t> results;
  for (size_t i = 0; i < op.out.size(); ++i)
    if (op.out[i] >= 0) results.push_back(i);
  std::vector<IfStep::Branch> branches;
  for (const char* name : {"then_branch", "else_branch"}) {
    Closed closed = close(net, op, *subgraph(op.node, name));
    std::vector<ValueInfo> outputs;
    for (const size_t i : results) outputs.push_back(closed.graph.outputs[i]);
    closed.graph.outputs = std::move(outputs);
    Expected<InnerProgram> program = InnerProgram::compile(closed.graph, inner_options(options), budget);
    if (!program) return named(op, name, program.status());
    add_report(*program, 1, report, int8);
    branches.push_back({*std::move(program), std::move(closed.operands)});
  }
  const size_t weights = weights_of(branches[0].program) + weights_of(branches[1].program);
  auto step = std::make_unique<IfStep>(std::move(branches[0]), std::move(branches[1]), std::move(results));
  step->weight_bytes = weights;
  return std::unique_ptr<Step>(std::move(step));
}

Expected<std::unique_ptr<Step>> lower_loop(const Net& net, const net::Op& op, const CompileOptions& options, int64_t& budget,
                                           NodeReport& report, bool& int8) {
  const Graph& body = *subgraph(op.node, "body");
  const size_t carried = carried_values(body);
  Closed closed = close(net, op, body);
  closed.operands.erase(closed.operands.begin(), closed.operands.begin() + 2);
  std::vector<size_t> carried_bytes, stacked, stacked_bytes;
  for (size_t i = 0; i < carried; ++i) {
    const net::Value& value = net.values[op.in[2 + i]];
    carried_bytes.push_back(bytes_of(value.shape, value.dtype));
  }
  closed.graph.outputs.resize(1 + carried);
  for (size_t i = carried; i < op.out.size(); ++i) {
    if (op.out[i] < 0) continue;
    const net::Value& value = net.values[op.out[i]];
    closed.graph.outputs.push_back(body.outputs[1 + i]);
    stacked.push_back(i);
    stacked_bytes.push_back(bytes_of(Shape(value.shape.begin() + 1, value.shape.end()), value.dtype));
  }
  Expected<InnerProgram> program = InnerProgram::compile(closed.graph, inner_options(options), budget);
  if (!program) return named(op, "body", program.status());
  const Tensor* trips = net.constant(op, 0);
  add_report(*program, trips && *trips->as<int64_t>() <= kEndless ? std::max<int64_t>(*trips->as<int64_t>(), 0) : 1, report, int8);
  const size_t weights = weights_of(*program);
  auto step = std::make_unique<LoopStep>(*std::move(program), std::move(closed.operands), std::move(carried_bytes), std::move(stacked),
                                         std::move(stacked_bytes));
  step->weight_bytes = weights;
  return std::unique_ptr<Step>(std::move(step));
}

}  // namespace

Expected<Lowered> lower_control(const Net& net, const net::Op& op, const CompileOptions& options, int64_t& budget) {
  Lowered r;
  r.report.name = op.node.name;
  r.report.op_type = op.node.op_type;
  r.report.kernel = "program";
  if (!op.out.empty() && op.out[0] >= 0) r.report.output_shape = net.values[op.out[0]].shape;
  bool int8 = true;
  const auto lower = op.node.op_type == "If" ? lower_if : lower_loop;
  Expected<std::unique_ptr<Step>> step = lower(net, op, options, budget, r.report, int8);
  if (!step) return step.status();
  r.step = *std::move(step);
  r.step->work = std::numeric_limits<int64_t>::max();  // the steps inside choose for themselves
  int8 = int8 && r.report.macs > 0;
  r.report.precision = int8 ? "int8" : "float";
  if (!int8 && r.report.why_not_int8.empty()) r.report.why_not_int8 = op.why_not_int8;
  return r;
}

void release_captured_constants(Net& net, int id) {
  const net::Op& op = net.ops[id];
  const Graph& inner = *subgraph(op.node, op.node.op_type == "If" ? "then_branch" : "body");
  for (size_t i = op.in.size() - inner.captures; i < op.in.size(); ++i)
    if (net.constant(op, i)) net.set_input(id, i, -1);
}

}  // namespace octavo
