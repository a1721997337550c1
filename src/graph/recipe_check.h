// What the int8 kernels can honour of a QuantConfig; the JSON reader and prepare() share it.
#pragma once

#include "octavo/recipe.h"

namespace octavo {

// Activations: u8 or s8, per tensor. Weights: s8, symmetric. eps positive and finite. Errors name the offending key.
Status check_config(const QuantConfig& config) noexcept;

}  // namespace octavo
