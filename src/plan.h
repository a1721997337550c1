// What all plans share: choosing a kernel, checking arguments, running on the caller's threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "octavo/eltwise.h"
#include "octavo/isa.h"
#include "octavo/packed.h"
#include "octavo/quant.h"
#include "octavo/registry.h"
#include "octavo/threads.h"
#include "octavo/types.h"
#include "src/buffer.h"
#include "src/policy.h"

namespace octavo::detail {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
// Where part i of n things begins, of parts that differ by one at most, larger ones among the others; without n * i, which could
// overflow.
constexpr int64_t part_begin(int64_t n, int64_t parts, int64_t i) { return n / parts * i + n % parts * i / parts; }

// `asked` if use_isa is set, else active_isa(); an error if this machine lacks it.
Expected<Isa> resolve_isa(bool use_isa, Isa asked) noexcept;

// `forced` after checking that it fits and can run here, or the best row for (op, a, its weight type).
Expected<const KernelInfo*> choose_kernel(Op op, DType a, const KernelInfo* forced, bool use_isa, Isa isa) noexcept;

// The routines for the numerics' function on floats; null where there is none.
Expected<const EltwiseKernels*> function_kernels(const Numerics&, bool use_isa, Isa asked) noexcept;

// Weights come either as elements (the argument `name`) or packed.
Status check_weights(const char* name, const void* elements, const PackedWeights* packed) noexcept;

// The checks that every run() makes: inline where all is well, so that they cost next to nothing; the errors are elsewhere.
[[gnu::cold]] Status least_error(const char* name, int64_t value, int64_t least) noexcept;
[[gnu::cold]] Status rows_error(const char* name, const void* data, int64_t rows, int64_t row_bytes, ptrdiff_t stride) noexcept;
[[gnu::cold]] Status tiles_error(int64_t begin, int64_t end, int64_t tiles) noexcept;
[[gnu::cold]] Status workspace_error(const void* workspace, size_t bytes) noexcept;
[[gnu::cold]] Status parallel_error(const Parallel&) noexcept;
[[gnu::cold]] Status residual_error() noexcept;

inline Status check_at_least(const char* name, int64_t value, int64_t least) noexcept {
  if (value >= least) [[likely]]
    return {};
  return least_error(name, value, least);
}
// `rows` rows of `row_bytes`, `stride` bytes apart. Errors name the argument `name`.
inline Status check_rows(const char* name, const void* data, int64_t rows, int64_t row_bytes, ptrdiff_t stride) noexcept {
  int64_t last = 0;
  const bool overflow = __builtin_mul_overflow(rows, int64_t(stride), &last) || __builtin_add_overflow(last, row_bytes, &last);
  if (rows == 0 || (data && (rows == 1 || (stride >= row_bytes && !overflow)))) [[likely]]
    return {};
  return rows_error(name, data, rows, row_bytes, stride);
}
inline Status check_tiles(int64_t begin, int64_t end, int64_t tiles) noexcept {
  if (begin >= 0 && begin <= end && end <= tiles) [[likely]]
    return {};
  return tiles_error(begin, end, tiles);
}
inline Status check_workspace(const void* workspace, size_t bytes) noexcept {
  if (bytes == 0 || (workspace && reinterpret_cast<uintptr_t>(workspace) % kAlign == 0)) [[likely]]
    return {};
  return workspace_error(workspace, bytes);
}
inline Status check_parallel(const Parallel& p) noexcept {
  if (p.threads == 1 || (p.threads > 1 && p.run)) [[likely]]
    return {};
  return parallel_error(p);
}

// Tiles of a plan, in blocks that share lines of C and, with `copies`, what is copied first.
struct Tiles {
  int64_t count = 0, block = 1;
  bool copies = false;
};

// Runs body(begin, end, workspace of the thread) over all tiles on the caller's threads. Blocks stay together where there are enough to
// go round, or as many for each thread.
template <class Body>
void run_parallel(const Parallel& parallel, const Tiles& tiles, double macs, void* workspace, size_t workspace_bytes,
                  const Body& body) {
  constexpr int64_t kEnough = 16;
  if (parallel.threads == 1 || tiles.count <= 1 || macs < kMinParallelMacs) return body(int64_t(0), tiles.count, workspace);
  const int64_t blocks = tiles.count / tiles.block;
  const bool whole = blocks >= kEnough * parallel.threads || (tiles.copies && blocks > 0 && blocks % parallel.threads == 0);
  struct Context {
    const Body* body;
    char* workspace;
    size_t bytes;
    int64_t unit;
  } context{&body, static_cast<char*>(workspace), workspace_bytes, whole ? tiles.block : 1};
  parallel.run(
      parallel.context, tiles.count / context.unit,
      [](void* arg, int64_t begin, int64_t end, int thread) {
        const Context& c = *static_cast<const Context*>(arg);
        (*c.body)(begin * c.unit, end * c.unit, static_cast<void*>(c.workspace ? c.workspace + size_t(thread) * c.bytes : nullptr));
      },
      &context);
}

}  // namespace octavo::detail
