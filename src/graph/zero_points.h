// 8-bit weights with zero points of their own as the s8 weights around 0 that plans take.
#pragma once

#include "net.h"

namespace octavo::net {

// Bytes less their zero points lie in [-255, 255]: the s8 tensors whose sum they are. One where they fit, as around 0 (s8) or
// 128 (u8) they always do; else two; three for 255 = 127 + 127 + 1. zero: one, or one for each index along axis; empty: 0.
std::vector<Tensor> less_zero_points(const Tensor& w, const std::vector<int64_t>& zero, int64_t axis);

// The product of x and a sum of weights is a product of twice (or three times) the depth: every channel of x so many times, side
// by side, and the parts of the weights in turn along their axis of input channels. In groups, whose channels are few and have
// kernels of their own (depthwise), it is every row of the image and of the window instead, unless the window's rows are dilated.
// The other way, a product less the zero point times the sums of x, needs a sum for each row of a result, which no plan's
// epilogue takes; and padding would need sums of its own. What comes out here is an operator like any other, with all that is
// fused into one. (Products whose ranges are found at run time make floats of their sums in a second pass, and take the sums of
// rows off there: dynamic_product.h.) Sets weights and geometry of `linear`, which has all else, and returns what it reads in the
// place of x.
int take_parts(Net& net, int x, const std::vector<Tensor>& parts, int64_t order, Linear& linear);

// Where a product takes zero points off itself: s8 weights, and what is left of zero points beside them; none where parts would
// be one.
struct ByteWeights {
  Tensor w;
  std::vector<int32_t> zero;
};
ByteWeights with_zero_points(const Tensor& w, const std::vector<int64_t>& zero, int64_t axis);

}  // namespace octavo::net
