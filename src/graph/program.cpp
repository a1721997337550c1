#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <stdexcept>
#include <unordered_map>

#include "control.h"
#include "lower_control.h"
#include "memory.h"
#include "net.h"
#include "octavo/session.h"
#include "rewrite.h"
#include "step.h"
#include "timing.h"

namespace octavo {
namespace {

using net::Kind;
using net::Net;

constexpr int64_t kParallelWork = 32768;  // below this a step costs less than waking the other threads

// A value that RunHooks::on_value shall see, after the step that computes it.
struct Kept {
  std::string name;
  Place place;
  size_t count = 0;
};

Expected<std::map<std::string, Shape>> bind_inputs(const Graph& graph, const CompileOptions& options) {
  std::map<std::string, Shape> shapes;
  for (const ValueInfo& input : graph.inputs) {
    Shape shape;
    const auto given = options.input_shapes.find(input.name);
    if (given != options.input_shapes.end()) shape = given->second;
    if (const auto value = options.input_values.find(input.name); value != options.input_values.end() && value->second.dtype() != input.dtype)
      return Status::error(Code::invalid_argument, "the value of input '%s' is %s, not %s", input.name.c_str(),
                           name_of(value->second.dtype()), name_of(input.dtype));
    if (!input.has_shape && given == options.input_shapes.end())
      return Status::error(Code::invalid_argument, "input '%s' has no shape; give one", input.name.c_str());
    if (input.has_shape && given != options.input_shapes.end() && shape.size() != input.dims.size())
      return Status::error(Code::invalid_argument, "input '%s' has rank %zu, not %s", input.name.c_str(), input.dims.size(),
                           to_string(shape).c_str());
    for (size_t d = 0; input.has_shape && d < input.dims.size(); ++d) {
      const int64_t size = input.dims[d].size;
      if (given != options.input_shapes.end()) {
        if (size >= 0 && size != shape[d])
          return Status::error(Code::invalid_argument, "dimension %zu of input '%s' is %lld, not %lld", d, input.name.c_str(),
                               static_cast<long long>(size), static_cast<long long>(shape[d]));
      } else if (size >= 0 || d == 0) {
        shape.push_back(size >= 0 ? size : 1);
      } else {
        return Status::error(Code::invalid_argument, "dimension %zu of input '%s' is open; give a shape", d, input.name.c_str());
      }
    }
    if (Expected<int64_t> count = element_count(shape, input.dtype); !count)
      return Status::error(count.status().code(), "input '%s': %s", input.name.c_str(), count.status().text());
    shapes[input.name] = std::move(shape);
  }
  for (const auto& [name, value] : options.input_values) {
    const auto it = shapes.find(name);
    if (it == shapes.end()) return Status::error(Code::invalid_argument, "the graph has no input '%s'", name.c_str());
    if (it->second != value.shape())
      return Status::error(Code::invalid_argument, "the value of input '%s' has the shape %s, not %s", name.c_str(),
                           to_string(value.shape()).c_str(), to_string(it->second).c_str());
  }
  for (const auto& [name, shape] : options.input_shapes)
    if (!shapes.count(name)) return Status::error(Code::invalid_argument, "the graph has no input '%s'", name.c_str());
  return shapes;
}

// Values to keep neither become constants nor vanish behind the name of another.
Status fold_around(Graph& graph, const std::map<std::string, Shape>& shapes, const std::vector<std::string>& keep, int64_t& unroll_budget) {
  const size_t outputs = graph.outputs.size();
  for (const std::string& name : keep) graph.outputs.push_back({name, DType::f32, {}, false});
  constexpr size_t kMaxBytes = size_t(1) << 30;
  const Status status = fold_constants(graph, shapes, kMaxBytes, unroll_budget);
  graph.outputs.resize(outputs);
  return status;
}

Expected<Net> rewritten(Graph graph, const std::map<std::string, Shape>& shapes, const CompileOptions& options, int64_t& unroll_budget) {
  for (const auto& [name, value] : options.input_values) graph.add_initializer(name, value);
  if (Status s = fold_around(graph, shapes, options.keep, unroll_budget); !s.ok()) return s;
  if (Status s = fold_batch_norm(graph); !s.ok()) return s;
  Expected<ShapeMap> types = infer_plain(graph, shapes);
  if (!types) return types.status();
  Expected<Net> net = Net::from(graph, *types, options.keep);
  if (!net) return net;
  net->compact = options.compact;
  net->sweep();
  if (!options.simulate) net::spell_out_integer(*net);
  net::fuse_norms(*net);
  if (Status s = net::recognize(*net, options.simulate); !s.ok()) return s;
  net::dequantize_constants(*net, 1);  // limits of Clip, the constant of Pad
  net::move_quantization(*net);
  net::fuse_shuffles(*net);
  net::recognize_recurrent(*net);
  net::recognize_embedding(*net);
  if (Status s = net::recognize_linear(*net); !s.ok()) return s;
  if (!options.simulate) {
    net::recognize_dynamic(*net);
    if (Status s = net::recognize_integer(*net); !s.ok()) return s;
  }
  if (Status s = net::fuse_epilogues(*net); !s.ok()) return s;
  net::recognize_matmul(*net);
  if (Status s = net::fuse_tables(*net); !s.ok()) return s;
  net::fuse_quantized(*net);
  net::fuse_float(*net);
  if (Status s = net::explain(*net, options.strict); !s.ok()) return s;
  net::merge_linear(*net);
  if (Status s = net::choose_layouts(*net); !s.ok()) return s;
  net::place_parts(*net);
  return net;
}

// Afterwards every output has bytes of its own that a step computes: inputs, constants and second names are copied.
std::unordered_map<int, size_t> claim_outputs(Net& net) {
  std::unordered_map<int, size_t> claimed;
  for (size_t i = 0; i < net.outputs.size(); ++i) {
    int root = net.place(net.outputs[i]).whole;
    if (!net.producer(root) || claimed.count(root)) {
      const net::Value from = net.values[net.outputs[i]];
      net::Op op;
      op.kind = Kind::copy;
      op.node.name = from.name;
      op.node.op_type = "Identity";
      op.in = {net.outputs[i]};
      op.out = {root = net.add_value(from.name, from.dtype, from.shape)};
      op.order = int64_t(net.ops.size());
      net.values[root].output = true;
      net.outputs[i] = root;
      net.add_op(std::move(op));
    }
    claimed[root] = i;
  }
  return claimed;
}

}  // namespace

struct Program::Impl {
  std::vector<ValueInfo> inputs, outputs;
  std::vector<Shape> input_shapes, output_shapes;
  std::vector<std::pair<size_t, Tensor>> input_values;  // of the inputs that were compiled in
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<NodeReport> reports;
  std::vector<Tensor> constants;  // that steps read in place
  std::vector<Kept> kept_inputs;
  std::vector<std::vector<Kept>> kept;         // by step; empty if nothing is kept
  MemoryReport memory;

  Status plan(const Net& net, const std::vector<int>& order, const std::unordered_map<int, size_t>& outputs);
};

// Gives every value a place and every step its operands.
Status Program::Impl::plan(const Net& net, const std::vector<int>& order, const std::unordered_map<int, size_t>& output_of) {
  std::vector<net::Part> home(net.values.size());
  for (size_t v = 0; v < home.size(); ++v) home[v] = net.place(int(v));
  std::vector<int> last(net.values.size(), -1);  // by whole
  for (size_t s = 0; s < order.size(); ++s)
    for (int v : net.ops[order[s]].in)
      if (v >= 0) last[home[v].whole] = int(s);

  std::vector<Place> place(net.values.size());  // of wholes
  std::vector<int> buffer_of(net.values.size(), -1);
  std::vector<Buffer> buffers;
  for (size_t i = 0; i < net.inputs.size(); ++i) place[net.inputs[i]] = {Place::Space::input, i};
  for (const auto& [v, i] : output_of) place[v] = {Place::Space::output, i};
  for (size_t v = 0; v < net.values.size(); ++v)
    if (net.values[v].constant && last[v] >= 0) {
      constants.push_back(*net.values[v].constant);
      memory.constants += constants.back().bytes();
      place[v] = {Place::Space::constant, 0, 0, 0, constants.back().data()};
    }
  for (size_t s = 0; s < order.size(); ++s) {
    const net::Op& op = net.ops[order[s]];
    for (size_t i = 0; i < op.out.size(); ++i) {
      if (op.out[i] < 0) continue;
      const int y = home[op.out[i]].whole;
      if (place[y].space == Place::Space::output) continue;
      const Expected<int64_t> count = element_count(net.values[y].shape, net.values[y].dtype);
      if (!count) return Status::error(count.status().code(), "node '%s': %s", op.node.name.c_str(), count.status().text());
      const size_t bytes = size_t(*count) * size_of(net.values[y].dtype);
      const int x = i == 0 && steps[s]->in_place >= 0 && op.out[i] == y ? op.in[size_t(steps[s]->in_place)] : -1;
      const int whole = x >= 0 ? home[x].whole : -1;
      const bool dies = x >= 0 && buffer_of[y] < 0 && buffer_of[whole] >= 0 && last[whole] == int(s) &&
                        buffers[size_t(buffer_of[whole])].bytes == bytes && home[x].row == home[x].stride && home[x].offset == 0 &&
                        std::count_if(op.in.begin(), op.in.end(), [&](int v) { return v >= 0 && home[v].whole == whole; }) == 1;
      if (dies) {
        buffer_of[y] = buffer_of[whole];
      } else if (buffer_of[y] < 0) {
        buffer_of[y] = int(buffers.size());
        buffers.push_back({bytes, int(s), int(s), 0});
      }
      Buffer& b = buffers[size_t(buffer_of[y])];
      b.last = std::max({b.last, int(s), last[y]});
    }
  }
  Expected<size_t> total = plan_memory(buffers);
  if (!total) return total.status();
  memory.arena = *total;
  for (size_t v = 0; v < place.size(); ++v)
    if (buffer_of[v] >= 0) place[v] = {Place::Space::arena, 0, buffers[size_t(buffer_of[v])].offset};

  const auto place_of = [&](int v) {
    if (v < 0) return Place();
    Place p = place[home[v].whole];
    const size_t size = size_of(net.values[v].dtype);
    p.offset += size_t(home[v].offset) * size;
    if (home[v].row != home[v].stride) p.stride = home[v].stride * ptrdiff_t(size);
    return p;
  };
  for (size_t s = 0; s < order.size(); ++s) {
    for (int v : net.ops[order[s]].in) steps[s]->in.push_back(place_of(v));
    for (int v : net.ops[order[s]].out) steps[s]->out.push_back(place_of(v));
    memory.scratch = std::max(memory.scratch, (steps[s]->scratch_bytes + 63) / 64 * 64);
    memory.weights += steps[s]->weight_bytes;
  }

  std::vector<int> step_of(net.values.size(), -1);
  for (size_t s = 0; s < order.size(); ++s)
    for (int v : net.ops[order[s]].out)
      if (v >= 0) step_of[home[v].whole] = int(s);
  for (size_t v = 0; v < net.values.size(); ++v) {
    const net::Value& value = net.values[v];
    if (!value.kept || value.dtype != DType::f32 || value.constant) continue;
    if (place_of(int(v)).space == Place::Space::none) continue;
    kept.resize(steps.size());
    const int s = step_of[home[v].whole];
    (s < 0 ? kept_inputs : kept[size_t(s)]).push_back({value.name, place_of(int(v)), size_t(product(value.shape))});
  }
  return {};
}

Program::Program(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

Expected<Program> Program::compile(const Graph& graph, const CompileOptions& options) {
  int64_t unroll_budget = kMaxUnrolled;
  return compile(graph, options, unroll_budget);
}

Expected<Program> Program::compile(const Graph& graph, const CompileOptions& options, int64_t& unroll_budget) try {
  if (!graph.status.ok()) return graph.status;
  Isa isa = options.isa;
  if (!options.use_isa) {
    Expected<Isa> active = active_isa();
    if (!active) return active.status();
    isa = *active;
  } else if (!covers(detected_isa(), isa)) {
    return Status::error(Code::unsupported, "this machine lacks the instruction set asked for");
  }
  Expected<std::map<std::string, Shape>> shapes = bind_inputs(graph, options);
  if (!shapes) return shapes.status();
  Expected<Net> net = rewritten(graph, *shapes, options, unroll_budget);
  if (!net) return net.status();
  const std::unordered_map<int, size_t> outputs = claim_outputs(*net);

  auto impl = std::make_shared<Impl>();
  std::vector<int> order;
  for (int id : net->sorted()) {
    if (net->ops[id].kind == Kind::alias || net->ops[id].kind == Kind::parts) continue;
    const bool control = net->ops[id].kind == Kind::generic && is_control(net->ops[id].node);
    Expected<Lowered> lowered = control ? lower_control(*net, net->ops[id], options, unroll_budget) : lower(*net, net->ops[id], isa);
    if (!lowered) return lowered.status();
    if (control) release_captured_constants(*net, id);
    order.push_back(id);
    impl->steps.push_back(std::move(lowered->step));
    impl->reports.push_back(std::move(lowered->report));
    read_timing(graph, impl->reports.back());
    // The plan has its own packed copy.
    if (net->ops[id].linear) net->ops[id].linear->weight = Tensor();
    for (net::Op& part : net->ops[id].parts) part.linear->weight = Tensor();
  }
  if (Status s = impl->plan(*net, order, outputs); !s.ok()) return s;

  const auto info = [&](const ValueInfo& declared, int v) {
    ValueInfo r = declared;
    r.dtype = net->values[v].dtype;
    r.has_shape = true;
    r.dims.clear();
    for (int64_t d : net->values[v].shape) r.dims.push_back({d, ""});
    return r;
  };
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    impl->inputs.push_back(info(graph.inputs[i], net->inputs[i]));
    impl->input_shapes.push_back(net->values[net->inputs[i]].shape);
    if (const auto it = options.input_values.find(graph.inputs[i].name); it != options.input_values.end())
      impl->input_values.emplace_back(i, it->second);
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    impl->outputs.push_back(info(graph.outputs[i], net->outputs[i]));
    impl->output_shapes.push_back(net->values[net->outputs[i]].shape);
  }
  return Program(std::move(impl));
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "out of memory while compiling");
} catch (const std::length_error&) {
  return Status::error(Code::out_of_memory, "out of memory while compiling");
}

std::span<const ValueInfo> Program::inputs() const noexcept { return impl_->inputs; }
std::span<const ValueInfo> Program::outputs() const noexcept { return impl_->outputs; }
size_t Program::workspace_bytes(int threads) const noexcept { return impl_->memory.workspace(threads); }
std::span<const NodeReport> Program::report() const noexcept { return impl_->reports; }
const MemoryReport& Program::memory() const noexcept { return impl_->memory; }

double Program::int8_mac_share() const noexcept {
  int64_t all = 0, int8 = 0;
  for (const NodeReport& r : impl_->reports) {
    all += r.macs;
    if (r.precision == "int8") int8 += r.macs;
  }
  return all == 0 ? 1 : double(int8) / double(all);
}

Status Program::run(std::span<const TensorView> inputs, std::span<const TensorView> outputs, void* workspace,
                    const Parallel& parallel, const RunHooks* hooks) const noexcept {
  const Impl& p = *impl_;
  const auto check = [](std::span<const TensorView> views, const std::vector<ValueInfo>& infos, const std::vector<Shape>& shapes,
                        const char* what) -> Status {
    if (views.size() != infos.size())
      return Status::error(Code::invalid_argument, "%zu %ss given, %zu expected", views.size(), what, infos.size());
    for (size_t i = 0; i < views.size(); ++i) {
      if (views[i].dtype != infos[i].dtype)
        return Status::error(Code::invalid_argument, "%s '%s' is %s, not %s", what, infos[i].name.c_str(),
                             name_of(views[i].dtype), name_of(infos[i].dtype));
      if (views[i].shape != shapes[i])
        return Status::error(Code::invalid_argument, "%s '%s' does not have the compiled shape", what, infos[i].name.c_str());
      if (!views[i].data && product(shapes[i]) > 0)
        return Status::error(Code::invalid_argument, "%s '%s' has no data", what, infos[i].name.c_str());
    }
    return {};
  };
  if (Status s = check(inputs, p.inputs, p.input_shapes, "input"); !s.ok()) return s;
  for (const auto& [i, value] : p.input_values)
    if (value.bytes() > 0 && std::memcmp(inputs[i].data, value.data(), value.bytes()) != 0)
      return Status::error(Code::invalid_argument, "input '%s' differs from the values that the program was compiled for",
                           p.inputs[i].name.c_str());
  if (Status s = check(outputs, p.outputs, p.output_shapes, "output"); !s.ok()) return s;
  if (parallel.threads < 1) return Status::error(Code::invalid_argument, "parallel.threads is %d", parallel.threads);
  if (reinterpret_cast<uintptr_t>(workspace) % 64 != 0 || (!workspace && workspace_bytes(parallel.threads) > 0))
    return Status::error(Code::invalid_argument, "workspace is null or not aligned to 64 bytes");
  return execute(inputs.data(), outputs.data(), workspace, parallel, hooks);
}

Status Program::execute(const TensorView* inputs, const TensorView* outputs, void* workspace, const Parallel& parallel,
                        const RunHooks* hooks) const noexcept {
  const Impl& p = *impl_;
  Frame wide;
  wide.arena = static_cast<std::byte*>(workspace);
  wide.scratch = wide.arena + p.memory.arena;
  wide.inputs = inputs;
  wide.outputs = outputs;
  wide.parallel = parallel;
  Frame narrow = wide;
  narrow.parallel = single_thread();

  const auto show = [&](const std::vector<Kept>& values) {
    for (const Kept& k : values) hooks->on_value(hooks->context, k.name, static_cast<const float*>(wide.at(k.place)), k.count);
  };
  const bool values = hooks && hooks->on_value && !p.kept.empty();
  if (hooks && hooks->on_value) show(p.kept_inputs);
  for (size_t s = 0; s < p.steps.size(); ++s) {
    const Step& step = *p.steps[s];
    const Frame& frame = step.work < kParallelWork ? narrow : wide;
    const bool timed = hooks && hooks->on_step;
    const auto start = timed ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    if (Status status = step.run(frame); !status.ok())
      return Status::error(status.code(), "node '%s': %s", p.reports[s].name.c_str(), status.text());
    if (timed)
      hooks->on_step(hooks->context, s,
                     std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    if (values) show(p.kept[s]);
  }
  return {};
}

Expected<InnerProgram> InnerProgram::compile(const Graph& graph, const CompileOptions& options, int64_t& budget) {
  Expected<Program> program = Program::compile(graph, options, budget);
  if (!program) return program.status();
  return InnerProgram(*std::move(program));
}

Status InnerProgram::run(const TensorView* inputs, const TensorView* outputs, void* workspace,
                         const Parallel& parallel) const noexcept {
  return program_.execute(inputs, outputs, workspace, parallel, nullptr);
}

}  // namespace octavo
