#include "octavo/session.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <new>
#include <optional>

namespace octavo {
namespace {

struct AlignedDelete {
  void operator()(std::byte* p) const noexcept { ::operator delete[](p, std::align_val_t(64)); }
};

constexpr size_t kMaxPrograms = 16;

// What a Program was compiled for.
struct Specialization {
  std::map<std::string, Shape> shapes;
  std::map<std::string, Tensor> values;
  Program program;
};

bool same_values(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    const Tensor &s = x.second, &t = y.second;
    return x.first == y.first && s.dtype() == t.dtype() && s.shape() == t.shape() &&
           (s.bytes() == 0 || std::memcmp(s.data(), t.data(), s.bytes()) == 0);
  });
}

}  // namespace

struct Session::Impl {
  Graph graph;
  CompileOptions options;
  std::optional<ThreadPool> pool;  // none for one thread
  std::vector<std::string> shape_inputs;
  std::list<Specialization> programs;  // used last first
  std::unique_ptr<std::byte[], AlignedDelete> workspace;
  size_t workspace_bytes = 0;

  static bool has_fixed_shape(const ValueInfo& v) {
    return v.has_shape && std::all_of(v.dims.begin(), v.dims.end(), [](const Dim& d) { return d.size >= 0; });
  }
  // No other Program can follow.
  bool is_fixed() const { return shape_inputs.empty() && std::all_of(graph.inputs.begin(), graph.inputs.end(), has_fixed_shape); }

  Expected<const Program*> specialize(const std::map<std::string, Shape>& shapes, const std::map<std::string, Tensor>& values);

  Parallel parallel() { return pool ? pool->parallel() : single_thread(); }

  void reserve(size_t bytes) {
    if (bytes <= workspace_bytes) return;
    workspace.reset();
    workspace_bytes = 0;
    workspace.reset(new (std::align_val_t(64)) std::byte[bytes]);
    workspace_bytes = bytes;
  }
};

Session::Session(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;
const Graph& Session::graph() const noexcept { return impl_->graph; }

Expected<Session> Session::create(Graph graph, int threads, const CompileOptions& options) try {
  if (threads < 1) return Status::error(Code::invalid_argument, "threads is %d", threads);
  auto impl = std::make_unique<Impl>();
  impl->graph = std::move(graph);
  impl->options = options;
  impl->shape_inputs = octavo::shape_inputs(impl->graph);
  if (threads > 1) {
    Expected<ThreadPool> pool = ThreadPool::create(threads);
    if (!pool) return pool.status();
    impl->pool.emplace(*std::move(pool));
  }
  return Session(std::move(impl));
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "out of memory while creating a session");
}

Expected<const Program*> Session::Impl::specialize(const std::map<std::string, Shape>& shapes,
                                                   const std::map<std::string, Tensor>& values) {
  CompileOptions wanted = options;
  for (const auto& [name, shape] : shapes) wanted.input_shapes[name] = shape;
  for (const auto& [name, value] : values) wanted.input_values[name] = value;
  for (const ValueInfo& input : graph.inputs) {  // one key, whether they are given or not
    if (!has_fixed_shape(input) || wanted.input_shapes.count(input.name)) continue;
    Shape& shape = wanted.input_shapes[input.name];
    for (const Dim& d : input.dims) shape.push_back(d.size);
  }
  for (auto it = programs.begin(); it != programs.end(); ++it) {
    if (it->shapes != wanted.input_shapes || !same_values(it->values, wanted.input_values)) continue;
    programs.splice(programs.begin(), programs, it);
    return &it->program;
  }
  Expected<Program> program = Program::compile(graph, wanted);
  if (!program) return program.status();
  if (programs.size() == kMaxPrograms) programs.pop_back();
  programs.push_front({std::move(wanted.input_shapes), std::move(wanted.input_values), *std::move(program)});
  if (is_fixed()) graph.initializers.clear();
  return &programs.front().program;
}

Expected<const Program*> Session::program(const std::map<std::string, Shape>& input_shapes) try {
  return impl_->specialize(input_shapes, {});
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "out of memory while compiling");
}

Expected<const Program*> Session::program(const std::map<std::string, Tensor>& inputs) try {
  std::map<std::string, Shape> shapes;
  for (const auto& [name, tensor] : inputs) shapes[name] = tensor.shape();
  std::map<std::string, Tensor> values;
  for (const std::string& name : impl_->shape_inputs)
    if (const auto it = inputs.find(name); it != inputs.end()) values[name] = it->second;
  return impl_->specialize(shapes, values);
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "out of memory while compiling");
}

Expected<std::vector<Tensor>> Session::run(const std::map<std::string, Tensor>& inputs, const RunHooks* hooks) try {
  for (const ValueInfo& input : impl_->graph.inputs)
    if (!inputs.count(input.name)) return Status::error(Code::invalid_argument, "input '%s' is missing", input.name.c_str());
  Expected<const Program*> compiled = program(inputs);
  if (!compiled) return compiled.status();
  const Program& p = **compiled;

  std::vector<TensorView> in, out;
  for (const ValueInfo& info : p.inputs()) {
    const Tensor& t = inputs.at(info.name);
    in.push_back({t.dtype(), t.shape(), const_cast<void*>(t.data())});
  }
  std::vector<Tensor> results;
  for (const ValueInfo& info : p.outputs()) {
    Shape shape;
    for (const Dim& d : info.dims) shape.push_back(d.size);
    Expected<Tensor> t = Tensor::create(info.dtype, shape);
    if (!t) return t.status();
    results.push_back(*std::move(t));
    out.push_back({info.dtype, std::move(shape), results.back().mutable_data()});
  }
  const Parallel parallel = impl_->parallel();
  impl_->reserve(p.workspace_bytes(parallel.threads));
  if (Status s = p.run(in, out, impl_->workspace.get(), parallel, hooks); !s.ok()) return s;
  return results;
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "out of memory while running");
}

}  // namespace octavo
