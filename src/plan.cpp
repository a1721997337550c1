#include "src/plan.h"

namespace octavo::detail {

Expected<Isa> resolve_isa(bool use_isa, Isa asked) noexcept {
  if (!use_isa) return active_isa();
  if (covers(detected_isa(), asked)) return asked;
  return Status::error(Code::unsupported, "isa is 0x%x: this machine supports 0x%x only", unsigned(asked),
                       unsigned(detected_isa()));
}

Expected<const KernelInfo*> choose_kernel(Op op, DType a, const KernelInfo* forced, bool use_isa, Isa isa) noexcept {
  if (a != DType::u8 && a != DType::s8 && a != DType::f32)
    return Status::error(Code::unsupported, "a is %s: must be u8, s8 or f32", name_of(a));
  const DType b = a == DType::f32 ? DType::f32 : DType::s8;
  if (forced) {
    if (forced->op != op || forced->a != a || forced->b != b)
      return Status::error(Code::invalid_argument, "kernel is %s: must be a %s_%s%s one", forced->name, name_of(op), name_of(a),
                           name_of(b));
    if (!covers(detected_isa(), forced->needs))
      return Status::error(Code::unsupported, "kernel is %s: this machine cannot run it", forced->name);
    return forced;
  }
  const Expected<Isa> use = resolve_isa(use_isa, isa);
  if (!use) return use.status();
  if (const KernelInfo* best = best_kernel(op, a, b, *use)) return best;
  return Status::error(Code::unsupported, "there is no %s_%s%s kernel for isa 0x%x", name_of(op), name_of(a), name_of(b),
                       unsigned(*use));
}

Expected<const EltwiseKernels*> function_kernels(const Numerics& n, bool use_isa, Isa asked) noexcept {
  if (!n.function) return nullptr;
  const Expected<Isa> isa = resolve_isa(use_isa, asked);
  if (!isa) return isa.status();
  return &eltwise(*isa);
}

Status check_weights(const char* name, const void* elements, const PackedWeights* packed) noexcept {
  if (!elements && !packed) return Status::error(Code::invalid_argument, "%s is null", name);
  if (elements && packed) return Status::error(Code::invalid_argument, "%s and packed are both set: only one may be", name);
  return {};
}

Status least_error(const char* name, int64_t value, int64_t least) noexcept {
  return Status::error(Code::invalid_argument, "%s is %lld: must be at least %lld", name, static_cast<long long>(value),
                       static_cast<long long>(least));
}

Status rows_error(const char* name, const void* data, int64_t rows, int64_t row_bytes, ptrdiff_t stride) noexcept {
  if (!data) return Status::error(Code::invalid_argument, "%s is null", name);
  if (stride < row_bytes)
    return Status::error(Code::invalid_argument, "%s: the stride is %lld bytes: must be at least the %lld bytes of a row", name,
                         static_cast<long long>(stride), static_cast<long long>(row_bytes));
  return Status::error(Code::overflow, "%s: %lld rows of stride %lld do not fit a 64-bit offset", name,
                       static_cast<long long>(rows), static_cast<long long>(stride));
}

Status tiles_error(int64_t begin, int64_t end, int64_t tiles) noexcept {
  return Status::error(Code::invalid_argument,
                       "tile_begin is %lld and tile_end is %lld: must be 0 <= tile_begin <= tile_end <= %lld",
                       static_cast<long long>(begin), static_cast<long long>(end), static_cast<long long>(tiles));
}

Status workspace_error(const void* workspace, size_t bytes) noexcept {
  if (!workspace) return Status::error(Code::invalid_argument, "workspace is null: %zu bytes are needed", bytes);
  return Status::error(Code::invalid_argument, "workspace is %p: must be aligned to %zu bytes", workspace, kAlign);
}

Status parallel_error(const Parallel& p) noexcept {
  if (p.threads < 1) return Status::error(Code::invalid_argument, "parallel.threads is %d: must be at least 1", p.threads);
  return Status::error(Code::invalid_argument, "parallel.run is null");
}

Status residual_error() noexcept {
  return Status::error(Code::invalid_argument, "residual is set, but the plan was made without numerics.has_residual");
}

}  // namespace octavo::detail
