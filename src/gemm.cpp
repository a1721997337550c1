#include "octavo/gemm.h"

#include <exception>

#include "src/flat.h"
#include "src/pack.h"
#include "src/plan.h"

namespace octavo {
using namespace detail;

struct GemmPlan::Impl {
  int64_t n = 0, k = 0;
  bool has_residual = false;
  DType out = DType::f32, residual_dtype = DType::f32;
  Weights weights;

  Status check(const GemmArgs& g) const noexcept {
    if (Status s = check_at_least("m", g.m, 0); !s.ok()) return s;
    if (Status s = check_rows("a", g.a, g.m, k * int64_t(size_of(weights.kernel->a)), g.a_stride_bytes); !s.ok()) return s;
    if (Status s = check_rows("c", g.c, g.m, n * int64_t(size_of(out)), g.c_stride_bytes); !s.ok()) return s;
    if (has_residual)
      return check_rows("residual", g.residual, g.m, n * int64_t(size_of(residual_dtype)), g.residual_stride_bytes);
    if (g.residual) return residual_error();
    return {};
  }
  void run(const GemmArgs& g, const FlatBlocks& blocks, int64_t begin, int64_t end, void* workspace) const noexcept {
    FlatArgs f{g.m,
                     static_cast<const char*>(g.a),
                     g.a_stride_bytes,
                     static_cast<char*>(g.c),
                     g.c_stride_bytes,
                     static_cast<const char*>(g.residual),
                     g.residual_stride_bytes};
    f.far_c = is_far(weights, g.m);
    f.scratch = static_cast<float*>(workspace);
    run_flat(weights, blocks, f, begin, end);
  }
};

Expected<GemmPlan> GemmPlan::create(const GemmDesc& d) noexcept try {
  if (Status s = check_at_least("n", d.n, 1); !s.ok()) return s;
  if (Status s = check_at_least("k", d.k, 1); !s.ok()) return s;
  if (Status s = check_weights("b", d.b, d.packed); !s.ok()) return s;
  if (Status s = check_choice(d.choice); !s.ok()) return s;
  const Expected<const KernelInfo*> kernel = choose_kernel(Op::brgemm, d.a, d.kernel, d.use_isa, d.isa);
  if (!kernel) return kernel.status();
  if (Status s = check_numerics(d.numerics, d.a, d.n, d.k); !s.ok()) return s;

  const Expected<const EltwiseKernels*> functions = function_kernels(d.numerics, d.use_isa, d.isa);
  if (!functions) return functions.status();

  const PackFormat& format = (*kernel)->format;
  int64_t bytes;
  if (__builtin_mul_overflow(d.n + format.nr, d.k + format.kr, &bytes) ||
      __builtin_mul_overflow(bytes, int64_t(format.elem_bytes) * 2, &bytes))
    return Status::error(Code::overflow, "n * k is %lld * %lld: too many weights", static_cast<long long>(d.n),
                         static_cast<long long>(d.k));

  auto impl = std::make_shared<Impl>();
  impl->n = d.n;
  impl->k = d.k;
  impl->has_residual = d.numerics.has_residual;
  impl->out = d.numerics.out;
  impl->residual_dtype = d.numerics.residual_dtype;
  Weights& w = impl->weights;
  w.kernel = *kernel;
  w.kernel_asked = d.kernel;
  w.choice = d.choice;
  w.k = d.k;
  w.short_sums = short_sums(w);
  const int64_t panels = ceil_div(d.n, format.nr);
  for (int64_t p = 0; p < panels; ++p)
    w.panels.push_back({p * format.nr, int32_t(std::min<int64_t>(format.nr, d.n - p * format.nr)), 0});
  PackedShape shape;
  shape.set_kernel(**kernel);
  shape.columns = d.n, shape.depth = shape.k = d.k, shape.panels = panels, shape.sum_rows = d.a != DType::f32;
  if (d.packed) {
    if (Status s = check_packed(*d.packed, shape, **kernel); !s.ok()) return s;
    w.packed = *d.packed;
  } else {
    w.packed = PackedAccess::make(shape);
    pack_matrix(w, {d.b, (*kernel)->b, d.k, d.n, d.b_row_stride, d.b_col_stride}, PackedAccess::panels(w.packed),
                PackedAccess::sums(w.packed));
  }
  w.data = panels_of(w.packed);
  w.epilogue = Epilogue(d.numerics, d.a, d.n, sums_of(w.packed), 1, format.a_offset, largest_weight_sum(w), *functions);
  return GemmPlan(std::move(impl));
} catch (const std::exception&) {
  return Status::error(Code::out_of_memory, "GemmPlan::create: no memory for %lld x %lld weights", static_cast<long long>(d.k),
                       static_cast<long long>(d.n));
}

GemmPlan::GemmPlan(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

int64_t GemmPlan::tiles(int64_t m) const noexcept {
  return m < 1 ? 0 : flat_blocks(impl_->weights, m).blocks * impl_->weights.panel_count();
}
size_t GemmPlan::workspace_bytes() const noexcept { return impl_->weights.scratch_bytes(); }

Status GemmPlan::run(const GemmArgs& g, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept {
  if (Status s = impl_->check(g); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  const FlatBlocks blocks = flat_blocks(impl_->weights, g.m);
  if (Status s = check_tiles(tile_begin, tile_end, blocks.blocks * impl_->weights.panel_count()); !s.ok()) return s;
  impl_->run(g, blocks, tile_begin, tile_end, workspace);
  return {};
}

Status GemmPlan::run(const GemmArgs& g, void* workspace, const Parallel& parallel) const noexcept {
  if (Status s = check_parallel(parallel); !s.ok()) return s;
  if (Status s = impl_->check(g); !s.ok()) return s;
  if (Status s = check_workspace(workspace, workspace_bytes()); !s.ok()) return s;
  const FlatBlocks blocks = flat_blocks(impl_->weights, g.m);
  const int64_t panels = impl_->weights.panel_count();
  run_parallel(parallel, {blocks.blocks * panels, panels}, double(g.m) * double(impl_->n) * double(impl_->k), workspace,
               workspace_bytes(),
               [&](int64_t begin, int64_t end, void* own) { impl_->run(g, blocks, begin, end, own); });
  return {};
}

const KernelInfo& GemmPlan::kernel() const noexcept { return *impl_->weights.kernel; }
PackedWeights GemmPlan::packed() const noexcept { return impl_->weights.packed; }
size_t GemmPlan::packed_bytes() const noexcept { return impl_->weights.bytes(); }
int64_t GemmPlan::n() const noexcept { return impl_->n; }
int64_t GemmPlan::k() const noexcept { return impl_->k; }

std::string GemmPlan::describe(int64_t m) const {
  constexpr int64_t kManyRows = 1 << 20;
  const Weights& w = impl_->weights;
  std::string why;
  explain_kernel(*w.kernel, w.kernel_asked, &why);
  short_sums(w, &why);
  flat_blocks(w, m > 0 ? m : kManyRows, &why);
  return std::string(kernel().name) + ": " + std::to_string(impl_->k) + "x" + std::to_string(impl_->n) + " weights in " +
         std::to_string(w.panel_count()) + " panels, " + std::to_string(w.bytes()) + " bytes, workspace " +
         std::to_string(workspace_bytes()) + " bytes. " + why;
}

}  // namespace octavo
