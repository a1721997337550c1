#include "octavo/registry.h"

#include "kernels/kernels.h"

namespace octavo {
namespace {

constexpr KernelInfo brgemm(const char* name, Isa needs, DType a, DType b, uint8_t mr, PackFormat format, BrgemmFn run) {
  return {name, Op::brgemm, needs, a, b, mr, format.nr, format.kr, false, false, format, run, nullptr};
}
constexpr KernelInfo dwconv(const char* name, Isa needs, DType a, DType b, uint8_t mr, PackFormat format, DwconvFn run) {
  return {name, Op::dwconv, needs, a, b, mr, format.nr, format.kr, false, false, format, nullptr, run};
}
constexpr KernelInfo test_only(KernelInfo row) {
  row.test_only = true;
  return row;
}

using enum DType;
// In priority order: among the eligible rows of an (op, a, b) the first one wins.
constexpr KernelInfo kKernels[] = {
    //     name                              needs        a    b    mr  {nr kr bytes a_offset}
    brgemm("brgemm_u8s8_scalar_4x4x1", Isa::scalar, u8, s8, 4, {4, 1, 1, 0}, octavo_brgemm_u8s8_scalar_4x4x1),
    brgemm("brgemm_s8s8_scalar_4x4x1", Isa::scalar, s8, s8, 4, {4, 1, 1, 0}, octavo_brgemm_s8s8_scalar_4x4x1),
    brgemm("brgemm_f32f32_scalar_4x4x1", Isa::scalar, f32, f32, 4, {4, 1, 4, 0}, octavo_brgemm_f32f32_scalar_4x4x1),
};

}  // namespace

std::span<const KernelInfo> kernels() noexcept { return kKernels; }

const KernelInfo* find_kernel(std::string_view name) noexcept {
  for (const KernelInfo& k : kKernels)
    if (name == k.name) return &k;
  return nullptr;
}

const KernelInfo* best_kernel(Op op, DType a, DType b, Isa isa) noexcept {
  for (const KernelInfo& k : kKernels)
    if (k.op == op && k.a == a && k.b == b && !k.test_only && covers(isa, k.needs)) return &k;
  return nullptr;
}

}  // namespace octavo
