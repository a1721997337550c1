#include "octavo/session.h"

#include <new>
#include <optional>

namespace octavo {
namespace {

struct AlignedDelete {
  void operator()(std::byte* p) const noexcept { ::operator delete[](p, std::align_val_t(64)); }
};

}  // namespace

struct Session::Impl {
  Graph graph;
  CompileOptions options;
  std::optional<ThreadPool> pool;  // none for one thread
  std::map<std::map<std::string, Shape>, Program> programs;
  std::unique_ptr<std::byte[], AlignedDelete> workspace;
  size_t workspace_bytes = 0;

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
  if (threads > 1) {
    Expected<ThreadPool> pool = ThreadPool::create(threads);
    if (!pool) return pool.status();
    impl->pool.emplace(*std::move(pool));
  }
  return Session(std::move(impl));
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "out of memory while creating a session");
}

Expected<const Program*> Session::program(const std::map<std::string, Shape>& input_shapes) try {
  CompileOptions options = impl_->options;
  for (const auto& [name, shape] : input_shapes) options.input_shapes[name] = shape;
  const auto found = impl_->programs.find(options.input_shapes);
  if (found != impl_->programs.end()) return &found->second;
  Expected<Program> program = Program::compile(impl_->graph, options);
  if (!program) return program.status();
  return &impl_->programs.emplace(options.input_shapes, *std::move(program)).first->second;
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "out of memory while compiling");
}

Expected<std::vector<Tensor>> Session::run(const std::map<std::string, Tensor>& inputs, const RunHooks* hooks) try {
  std::map<std::string, Shape> shapes;
  for (const auto& [name, tensor] : inputs) shapes[name] = tensor.shape();
  for (const ValueInfo& input : impl_->graph.inputs)
    if (!inputs.count(input.name)) return Status::error(Code::invalid_argument, "input '%s' is missing", input.name.c_str());
  Expected<const Program*> compiled = program(shapes);
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
