// What to quantize and how: an ordered list of rules matcher -> QuantConfig.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "octavo/graph.h"
#include "octavo/quant.h"

namespace octavo {

// How a range is chosen from the values seen (the formulas are at Observer in quantize.h).
enum class ObserverKind : uint8_t { min_max, moving_average, histogram, percentile, mse, kl };
const char* name_of(ObserverKind kind) noexcept;  // as in JSON

struct TensorConfig {
  DType dtype = DType::u8;       // u8 or s8
  bool symmetric = false;
  bool per_channel = false;      // weights only: one scale per output channel
  bool reduce_range = false;     // 7 bits
  bool narrow = false;           // s8: [-127, 127]
  ObserverKind observer = ObserverKind::histogram;
  float eps = 1.0f / 4096;       // the least scale
  float averaging = 0.01f;       // moving_average: the weight of each new sample, in (0, 1]
  float percentile = 99.99f;     // percentile: of the values that the range keeps at each end, in (50, 100]
  bool per_row = false;          // dynamic activations only: one scale for each row (token)
  friend bool operator==(const TensorConfig&, const TensorConfig&) = default;
};

// static_range: scales and zero points of activations come from calibration. dynamic_range: they are computed at run time, of
// each tensor (u8, affine) or each of its rows (s8, symmetric; for Conv, whose padding needs one zero point, of the tensor all the
// same); for MatMul, Gemm and Conv. weight_only: activations stay float; for
// MatMul, Gemm, Conv, and Gather from a table.
enum class QuantMode : uint8_t { static_range, dynamic_range, weight_only };

struct QuantConfig {
  TensorConfig activation;
  // [-127, 127], so that the largest weight is exact: on [-128, 127] the symmetric scale max / 127.5 clips it. An eps that no
  // real channel meets: weights behind inputs of 0..255 are small. (ResNet-8: 32.5 dB SQNR against 24.0 dB with neither.)
  TensorConfig weight = {.dtype = DType::s8,
                         .symmetric = true,
                         .per_channel = true,
                         .narrow = true,
                         .observer = ObserverKind::min_max,
                         .eps = 0x1p-24f};
  QuantMode mode = QuantMode::static_range;
  // A function of one element behind a Conv, Gemm or MatMul (Gelu, Silu, HardSwish ...) is computed on the floats of sums of so many
  // products and more, which saves a rounding; behind shorter ones, where it would take longer than they do, as a table of bytes.
  // Of static ranges; 0: always on floats.
  int32_t function_depth = 512;
};

// Parameters of a statically quantized value that its own observer does not choose.
struct FixedParams {
  QParams q;
};
struct SharedParams {
  std::string with;  // name of a value: both have the parameters that fit what both observers saw
};
struct DerivedParams {
  std::string from;  // name of a value: its zero point, and factor times its scale
  float factor = 1;
};
using ValueParams = std::variant<FixedParams, SharedParams, DerivedParams>;

// A name beats an operator type beats global; among equals the later rule wins. A rule without a config keeps in float.
// Rules for values stand by themselves; the last one that matches a value wins.
class Recipe {
 public:
  // Where memory runs out, the rule is not added, and status() says so from then on; prepare() returns it.
  Recipe& set_global(std::optional<QuantConfig> config) noexcept;
  Recipe& set_op_type(std::string op_type, std::optional<QuantConfig> config) noexcept;
  Recipe& set_node_name(std::string glob, std::optional<QuantConfig> config) noexcept;  // * and ?, the whole name
  Recipe& set_value(std::string glob, ValueParams params) noexcept;                     // of the value's name
  const Status& status() const noexcept { return status_; }

  const QuantConfig* match(const Node& node) const noexcept;  // null: keep in float
  const ValueParams* match_value(std::string_view name) const noexcept;  // null: its observer chooses

  // "x86_static": u8 affine activations (histogram), s8 symmetric per-channel weights (min-max). "arm_static": the same with s8
  // activations. "dynamic": u8 affine activations whose range is found at run time; "dynamic_per_row": s8 symmetric, a range for
  // each row. "weight_only". And with "_qat" behind each name the form to train in: moving averages of the ranges (dynamic
  // ones: of the last batch alone). Each is one global rule.
  static Expected<Recipe> preset(std::string_view name) noexcept;
  static std::vector<std::string> preset_names();
  // {"base": "x86_static", "rules": [{"op_type": "Softmax", "config": null}, {"node_name": "fc*", "config": {...}},
  //                                  {"value": "probs", "fixed": {"scale": 0.00390625, "zero_point": 0}}]}
  // A rule has one matcher: "global": true, "op_type", "node_name", or "value". A config is {"mode": "static" | "dynamic" |
  // "weight_only", "activation": {...}, "weight": {...}, "function_depth": N} with the keys of TensorConfig; what it leaves out is as in
  // the base. A rule for values has "fixed", "shared_with": NAME, or "derived_from": NAME with a "factor". The base's own rule comes
  // first. Every key is checked; errors name the rule and the key. At most 10,000 rules.
  static Expected<Recipe> from_json(std::string_view text) noexcept;
  Expected<std::string> to_json() const noexcept;

 private:
  enum class Scope : uint8_t { global, op_type, node_name };
  struct Rule {
    Scope scope;
    std::string pattern;
    std::optional<QuantConfig> config;
  };
  struct ValueRule {
    std::string pattern;
    ValueParams params;
  };
  Recipe& add(Rule rule) noexcept;

  std::vector<Rule> rules_;
  std::vector<ValueRule> value_rules_;
  Status status_;
};

}  // namespace octavo
