// Weights and biases as integers.
#pragma once

#include <vector>

#include "observer.h"
#include "octavo/graph.h"

namespace octavo {

// The scale of each output channel (along axis), or one for all where the config is per tensor, by the config's observer;
// config.eps for a channel of zeros. A bias has the scale x_scale * scale[j]; where it would then exceed 2^30, which leaves
// the accumulators as much room, the channel's scale is enlarged until it does not.
Expected<std::vector<float>> weight_scales(const Tensor& weight, int64_t axis, const TensorConfig& config, const Tensor* bias,
                                           float x_scale);

// q = clamp(rne(w / scale[j])), s8.
Tensor quantize_weights(const Tensor& weight, int64_t axis, const std::vector<float>& scales, QRange range);

// The transpose of an s8 matrix.
Tensor transpose(const Tensor& matrix);

// q[j] = rne(bias[j] / scale[j]), s32.
Tensor quantize_bias(const Tensor& bias, const std::vector<float>& scales);

}  // namespace octavo
