// GEMM plans: C[m][n] = epilogue(A[m][k] * B[k][n]), B packed once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

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
  Numerics numerics;
  const KernelInfo* kernel = nullptr;  // null: the best one for `isa`
  Isa isa = Isa::scalar;           // used if use_isa is set; else active_isa()
  bool use_isa = false;
};

struct GemmArgs {
  int64_t m = 0;
  const void* a = nullptr;
  ptrdiff_t a_stride_bytes = 0;
  void* c = nullptr;
  ptrdiff_t c_stride_bytes = 0;
  const void* residual = nullptr;
  ptrdiff_t residual_stride_bytes = 0;
};

// Immutable; copies share the packed weights; any number of threads may run() one plan at once.
class GemmPlan {
 public:
  // Errors name the argument. `overflow` if k * max|a| * 128 does not fit int32 (k > 65,793 for u8, > 131,071 for s8).
  static Expected<GemmPlan> create(const GemmDesc&) noexcept;
  // run() splits into this many tiles for m rows; any partition of [0, tiles(m)) over threads gives the same bytes.
  int64_t tiles(int64_t m) const noexcept;
  size_t workspace_bytes() const noexcept;  // for each concurrent run(); 64-byte aligned; 0 = none needed
  // Computes tiles [tile_begin, tile_end). Allocates nothing, locks nothing.
  Status run(const GemmArgs&, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept;
  // All tiles on the caller's threads. `workspace` holds parallel.threads times workspace_bytes().
  Status run(const GemmArgs&, void* workspace, const Parallel& parallel) const noexcept;

  const KernelInfo& kernel() const noexcept;
  size_t packed_bytes() const noexcept;
  int64_t n() const noexcept;
  int64_t k() const noexcept;
  std::string describe() const;  // kernel, blocking, why

 private:
  struct Impl;
  explicit GemmPlan(std::shared_ptr<const Impl>) noexcept;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace octavo
