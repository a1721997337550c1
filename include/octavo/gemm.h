// GEMM plans: C[m][n] = epilogue(A[m][k] * B[k][n]), B packed once. reference.h defines every bit of C.
//
//   A   u8, s8 or f32, row-major: k contiguous elements a row, any row stride, any alignment
//   B   s8 (f32 where A is f32), any two strides, so that [k][n] and [n][k] both do; may be freed after create()
//   C   s32, f32, u8 or s8, row-major: n contiguous elements a row. Where A is f32, C is f32
//
// An argument that is wrong gives invalid_argument, one that is right but not done here unsupported, one that would not fit a
// size or the int32 accumulators overflow; each text names the argument and its limit. Nothing outside the named elements
// is read or written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "octavo/choice.h"
#include "octavo/packed.h"
#include "octavo/quant.h"
#include "octavo/registry.h"
#include "octavo/threads.h"
#include "octavo/types.h"

namespace octavo {

struct GemmDesc {
  int64_t n = 0, k = 0;
  DType a = DType::u8;             // u8, s8 (B is s8) or f32 (B is f32)
  const void* b = nullptr;         // read during create() only
  ptrdiff_t b_row_stride = 0;      // elements between B[p][j] and B[p+1][j]; [k][n] row-major: n, [n][k]: 1
  ptrdiff_t b_col_stride = 0;      // elements between B[p][j] and B[p][j+1]; [k][n] row-major: 1, [n][k]: k
  const PackedWeights* packed = nullptr;  // instead of b: what packed() of a plan of the same n, k and kernel layout gave
  Numerics numerics;
  const KernelInfo* kernel = nullptr;  // null: the best one for `isa`
  Isa isa = Isa::scalar;           // used if use_isa is set; else active_isa()
  bool use_isa = false;
  Choice choice;                   // of what else the policy decides
};

// Row i of a, c and residual starts i * stride bytes further on; strides are at least a row long (for m = 1 they do not matter).
struct GemmArgs {
  int64_t m = 0;                        // rows; 0 is allowed and does nothing
  const void* a = nullptr;              // [m][k]
  ptrdiff_t a_stride_bytes = 0;
  void* c = nullptr;                    // [m][n] of numerics.out. May be the residual (same stride), else aliases nothing
  ptrdiff_t c_stride_bytes = 0;
  const void* residual = nullptr;       // [m][n] of numerics.residual_dtype if numerics.has_residual, else null
  ptrdiff_t residual_stride_bytes = 0;
};

// Immutable; copies share the packed weights; any number of threads may run() one plan at once.
class GemmPlan {
 public:
  // Packs B and derives the constants of the epilogue; a good multiple of the time that run() takes for m = 1, so do it once.
  // `overflow` if k * max(|a|, |a - zero point|) * 128, plus the bias in the case of bias_f32, does not fit int32: k > 65,793
  // for u8, > 131,071 for s8 with zero point 0. `out_of_memory` if an allocation fails. Never throws.
  static Expected<GemmPlan> create(const GemmDesc&) noexcept;
  // run() splits into this many tiles for m rows; any partition of [0, tiles(m)) over threads gives the same bytes.
  int64_t tiles(int64_t m) const noexcept;
  size_t workspace_bytes() const noexcept;  // for each concurrent run(); 64-byte aligned; 0 (none needed) without numerics.function
  // Computes tiles [tile_begin, tile_end). Allocates nothing, locks nothing.
  Status run(const GemmArgs&, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept;
  // All tiles on the caller's threads, or on this one where the work is less than waking another takes. `workspace` holds
  // parallel.threads times workspace_bytes().
  Status run(const GemmArgs&, void* workspace, const Parallel& parallel) const noexcept;

  const KernelInfo& kernel() const noexcept;
  PackedWeights packed() const noexcept;  // shared with this plan
  size_t packed_bytes() const noexcept;  // all that the plan holds: panels, folded bias, scales
  int64_t n() const noexcept;
  int64_t k() const noexcept;
  // Kernel, blocking and memory for products of m rows (0: of many), each with its reason. May throw std::bad_alloc.
  std::string describe(int64_t m = 0) const;

 private:
  struct Impl;
  explicit GemmPlan(std::shared_ptr<const Impl>) noexcept;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace octavo
