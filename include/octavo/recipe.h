// What to quantize and how: an ordered list of rules matcher -> QuantConfig.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/graph.h"
#include "octavo/quant.h"

namespace octavo {

enum class ObserverKind : uint8_t { min_max, histogram };

struct TensorConfig {
  DType dtype = DType::u8;       // u8 or s8
  bool symmetric = false;
  bool per_channel = false;      // weights only: one scale per output channel
  bool reduce_range = false;     // 7 bits
  bool narrow = false;           // s8: [-127, 127]
  ObserverKind observer = ObserverKind::histogram;
  float eps = 1.0f / 4096;
  friend bool operator==(const TensorConfig&, const TensorConfig&) = default;
};

struct QuantConfig {
  TensorConfig activation;
  // [-127, 127], so that the largest weight is exact: on [-128, 127] the symmetric scale max / 127.5 clips it. An eps that no
  // real channel meets: weights behind inputs of 0..255 are small. (ResNet-8: 32.5 dB SQNR against 24.0 dB with neither.)
  TensorConfig weight = {DType::s8, true, true, false, true, ObserverKind::min_max, 0x1p-24f};
};

// A name beats an operator type beats global; among equals the later rule wins. A rule without a config keeps in float.
class Recipe {
 public:
  Recipe& set_global(std::optional<QuantConfig> config);
  Recipe& set_op_type(std::string op_type, std::optional<QuantConfig> config);
  Recipe& set_node_name(std::string glob, std::optional<QuantConfig> config);  // * and ?, the whole name

  const QuantConfig* match(const Node& node) const noexcept;  // null: keep in float

  // "x86_static": u8 affine activations (histogram), s8 symmetric per-channel weights (min-max).
  // "arm_static": the same with s8 activations. Each is one global rule.
  static Expected<Recipe> preset(std::string_view name);
  static std::vector<std::string> preset_names();
  // {"base": "x86_static", "rules": [{"op_type": "Softmax", "config": null}, {"node_name": "fc*", "config": {...}}]}
  // A rule has one matcher: "global": true, "op_type" or "node_name". A config is {"activation": {...}, "weight": {...}} with
  // the keys of TensorConfig; what it leaves out is as in the base. The base's own rule comes first.
  // Every key is checked; errors name the rule and the key.
  static Expected<Recipe> from_json(std::string_view text);
  std::string to_json() const;

 private:
  enum class Scope : uint8_t { global, op_type, node_name };
  struct Rule {
    Scope scope;
    std::string pattern;
    std::optional<QuantConfig> config;
  };
  std::vector<Rule> rules_;
};

}  // namespace octavo
