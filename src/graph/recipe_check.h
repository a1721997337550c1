// What the int8 kernels can honour of a QuantConfig; the JSON reader and prepare() share it.
#pragma once

#include "octavo/recipe.h"

namespace octavo {

// Activations: u8 or s8, per tensor (dynamic: or s8 per row). Weights: s8, symmetric. Errors name the offending key.
Status check_config(const QuantConfig& config) noexcept;
Status check_params(const ValueParams& params) noexcept;

}  // namespace octavo
