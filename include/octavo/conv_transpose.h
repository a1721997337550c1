// Transposed convolution plans, NHWC: the gradient of a convolution with respect to its input, as decoders and up-sampling use it.
// 1-D is ih = kh = 1. reference.h defines every bit of the output. Errors are those of gemm.h: each text names the argument and its
// limit. Nothing outside the named pixels' channels is read or written; buffers may have any alignment, workspaces are aligned to 64
// bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "octavo/conv.h"

namespace octavo {

// Input pixel i and tap k meet at output pixel i * stride + k * dilation - pad. Sizes, strides and dilations are at least 1, the rest
// at least 0; the output has a pixel at least.
struct TransposedWindow {
  int64_t ih = 1, iw = 1;  // input image
  int64_t kh = 1, kw = 1;  // kernel
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;  // cut off the output
  int64_t output_pad_h = 0, output_pad_w = 0;                        // added to it below and at the right
  // out = (in - 1) * stride + dilation * (kernel - 1) + 1 + output_pad - pads
  int64_t oh() const noexcept { return (ih - 1) * stride_h + dilation_h * (kh - 1) + 1 + output_pad_h - pad_top - pad_bottom; }
  int64_t ow() const noexcept { return (iw - 1) * stride_w + dilation_w * (kw - 1) + 1 + output_pad_w - pad_left - pad_right; }
};

struct ConvTransposeDesc {
  TransposedWindow window;
  int64_t ic = 0, oc = 0, groups = 1;  // all channels, over all groups
  DType a = DType::u8;                 // u8, s8 (weights s8) or f32 (weights f32)
  const void* w = nullptr;             // [ic][oc/groups][kh][kw] (ONNX), read during create() only
  Numerics numerics;
  Isa isa = Isa::scalar;               // used if use_isa is set; else active_isa()
  bool use_isa = false;
};

// Output pixels whose rows and columns leave the same rest by the strides see the same taps: each such phase is a convolution of
// stride 1 over the input by a part of the kernel, a ConvPlan or DepthwisePlan whose output pixels lie strides apart. No product is
// wasted, no sum leaves a register (as it would between a matrix product and a pass that adds columns up), and bias, residual and
// clamp are those of any plan.
//
// Immutable; copies share the packed weights; any number of threads may run() one plan at once, each with its own workspace.
class ConvTransposePlan {
 public:
  // `overflow` as in ConvPlan, with k = ic/groups and the taps of a phase. `unsupported`: more than 1,024 phases. Never throws.
  static Expected<ConvTransposePlan> create(const ConvTransposeDesc&) noexcept;
  // ConvArgs as for ConvPlan: a holds ih x iw pixels of ic channels, c and residual oh x ow of oc.
  int64_t tiles(int64_t batch) const noexcept;
  size_t workspace_bytes() const noexcept;
  Status run(const ConvArgs&, int64_t tile_begin, int64_t tile_end, void* workspace) const noexcept;
  Status run(const ConvArgs&, void* workspace, const Parallel& parallel) const noexcept;

  const KernelInfo& kernel() const noexcept;  // of the phase with the most products
  size_t packed_bytes() const noexcept;
  int64_t macs() const noexcept;              // of one image: ih*iw*ic*(oc/groups)*kh*kw
  std::string describe() const;               // phases, kernel, memory. May throw std::bad_alloc

 private:
  struct Impl;
  explicit ConvTransposePlan(std::shared_ptr<const Impl>) noexcept;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace octavo
