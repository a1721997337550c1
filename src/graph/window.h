// Kernel geometry attributes of Conv and the pools, checked.
#pragma once

#include "net.h"

namespace octavo::net {

// The Window of a Conv or pool node on an input [n, c, (h,) w]; `kernel` is the spatial kernel shape. 1-D becomes ih = kh = 1.
// The bottom and right padding is adjusted so that the window gives the inferred output shape (ceil_mode, auto_pad).
// Errors name the node.
Expected<Window> window_of(const Node& node, const Shape& input, const Shape& output, const Shape& kernel);

// The same for ConvTranspose; output_shape becomes pads.
Expected<TransposedWindow> transposed_window_of(const Node& node, const Shape& input, const Shape& output, const Shape& kernel);

}  // namespace octavo::net
