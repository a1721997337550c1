// Convolution, depthwise convolution and pooling plans, NHWC. 1-D convolution is ih = kh = 1. reference.h defines every bit
// of the output. Errors are those of gemm.h: each text names the argument and its limit. Nothing outside the named pixels'
// channels is read or written; buffers may have any alignment, workspaces are aligned to 64 bytes.
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

// Where the kernel's taps fall. Every size is at least 1 and every pad at least 0; the padded input is at least as large as the
// kernel's span. Padding is real zero: the zero point of quantized inputs.
struct Window {
  int64_t ih = 1, iw = 1;                  // input image
  int64_t kh = 1, kw = 1;                  // kernel
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  // out = floor((in + pads - dilation*(kernel-1) - 1) / stride) + 1
  int64_t oh() const noexcept { return (ih + pad_top + pad_bottom - dilation_h * (kh - 1) - 1) / stride_h + 1; }
  int64_t ow() const noexcept { return (iw + pad_left + pad_right - dilation_w * (kw - 1) - 1) / stride_w + 1; }
};

struct ConvDesc {
  Window window;
  int64_t ic = 0, oc = 0, groups = 1;      // all channels, over all groups
  DType a = DType::u8;                     // u8, s8 (weights s8) or f32 (weights f32)
  const void* w = nullptr;                 // [oc][ic/groups][kh][kw] (ONNX), read during create() only
  // Instead of w: what packed() of a plan gave whose weights, kernel layout and algorithm are the same (the image may have another
  // size). Not for DepthwisePlan, whose weights are few.
  const PackedWeights* packed = nullptr;
  Numerics numerics;
  const KernelInfo* kernel = nullptr;      // null: the best one for `isa`
  Isa isa = Isa::scalar;                   // used if use_isa is set; else active_isa()
  bool use_isa = false;
  Choice choice;                           // of what else the policy decides
};

// Pixel strides let input, output and residual be channel slices of wider tensors (concat without a copy).
// Rows and images are dense in pixels: row stride = width * pixel stride.
struct ConvArgs {
  int64_t batch = 0;                       // images
  const void* a = nullptr;                 // [batch][ih][iw] pixels of ic channels
  ptrdiff_t a_pixel_stride_bytes = 0;      // 0: dense
  void* c = nullptr;                       // [batch][oh][ow] pixels of oc channels
  ptrdiff_t c_pixel_stride_bytes = 0;      // 0: dense
  const void* residual = nullptr;          // as c
  ptrdiff_t residual_pixel_stride_bytes = 0;
};

// Immutable; copies share the packed weights; any number of threads may run() one plan at once, each with its own workspace.
class ConvPlan {
 public:
  // Packs the weights. `overflow` as in GemmPlan, with k = ic/groups * kh * kw. Never throws.
  static Expected<ConvPlan> create(const ConvDesc&) noexcept;
  // run() splits into this many tiles; any partition of [0, tiles(batch)) over threads gives the same bytes.
  int64_t tiles(int64_t batch) const noexcept;
  size_t workspace_bytes() const noexcept;  // for each concurrent run(); 64-byte aligned; 0 = none needed
  // Computes tiles [tile_begin, tile_end). Allocates nothing, locks nothing.
  Status run(const ConvArgs&, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept;
  // All tiles on the caller's threads. `workspace` holds parallel.threads times workspace_bytes().
  Status run(const ConvArgs&, void* workspace, const Parallel& parallel) const noexcept;

  const KernelInfo& kernel() const noexcept;
  PackedWeights packed() const noexcept;    // shared with this plan
  size_t packed_bytes() const noexcept;
  int64_t macs() const noexcept;            // of one image, unpadded: oh*ow*oc*(ic/groups)*kh*kw
  std::string describe() const;             // kernel, algorithm, blocking, memory, each with its reason. May throw std::bad_alloc

 private:
  struct Impl;
  explicit ConvPlan(std::shared_ptr<const Impl>) noexcept;
  std::shared_ptr<const Impl> impl_;
};

// groups == ic: each output channel sees one input channel, oc / ic of them the same one. Same descriptor, arguments and promises
// as ConvPlan; weights [oc][1][kh][kw].
class DepthwisePlan {
 public:
  static Expected<DepthwisePlan> create(const ConvDesc&) noexcept;
  int64_t tiles(int64_t batch) const noexcept;
  size_t workspace_bytes() const noexcept;
  Status run(const ConvArgs&, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept;
  Status run(const ConvArgs&, void* workspace, const Parallel& parallel) const noexcept;

  const KernelInfo& kernel() const noexcept;
  size_t packed_bytes() const noexcept;
  int64_t macs() const noexcept;
  std::string describe() const;             // kernel, algorithm, blocking, memory, each with its reason. May throw std::bad_alloc

 private:
  struct Impl;
  explicit DepthwisePlan(std::shared_ptr<const Impl>) noexcept;
  std::shared_ptr<const Impl> impl_;
};

enum class PoolKind : uint8_t { max, average };

struct PoolDesc {
  PoolKind kind = PoolKind::max;
  Window window;                           // padding is never counted by max
  int64_t channels = 0;
  DType dtype = DType::f32;                // u8, s8 or f32, of input and output
  bool count_include_pad = false;          // average: divide by kh*kw, not by the number of real pixels
  QParams in_q, out_q;                     // u8, s8. max needs in_q == out_q
  Isa isa = Isa::scalar;                   // used if use_isa is set; else active_isa()
  bool use_isa = false;
};

// Arguments and promises as ConvPlan's; no residual. A window without any real pixel is an error.
// max: over the real pixels under the window. average: f32: sum in the order y, z, then one division;
// u8, s8: acc = sum(q - in_zp) in int32; q = rne(clamp(float(acc) * m)) + out_zp, m = s_in / (count * s_out) in double,
// rounded once.
class PoolPlan {
 public:
  static Expected<PoolPlan> create(const PoolDesc&) noexcept;
  int64_t tiles(int64_t batch) const noexcept;
  size_t workspace_bytes() const noexcept;
  Status run(const ConvArgs&, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept;
  Status run(const ConvArgs&, void* workspace, const Parallel& parallel) const noexcept;
  std::string describe() const;  // routine, tiles and their reasons. May throw std::bad_alloc

 private:
  struct Impl;
  explicit PoolPlan(std::shared_ptr<const Impl>) noexcept;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace octavo
