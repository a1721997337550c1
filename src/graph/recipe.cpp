#include "octavo/recipe.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "recipe_check.h"

namespace octavo {
namespace {

// `*` matches any run of characters, `?` any one. Only the last star is ever retried, so the time is O(pattern * text).
bool glob_match(std::string_view pattern, std::string_view text) noexcept {
  size_t p = 0, t = 0, star = std::string_view::npos, retry = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

struct Preset {
  std::string_view name;
  QuantMode mode;
  DType activation;
  bool per_row = false;
};
// No reduce_range on any: Octavo's kernels are exact without VNNI too. Arm's weights are per channel here, unlike PT2E's
// per-tensor default: the kernels run both at the same speed, and per channel is the more accurate one.
constexpr Preset kPresets[] = {{"x86_static", QuantMode::static_range, DType::u8},
                               {"arm_static", QuantMode::static_range, DType::s8},
                               {"dynamic", QuantMode::dynamic_range, DType::u8},
                               {"dynamic_per_row", QuantMode::dynamic_range, DType::s8, true},
                               {"weight_only", QuantMode::weight_only, DType::u8}};
constexpr std::string_view kQat = "_qat";

QuantConfig config_of(const Preset& preset, bool qat) noexcept {
  QuantConfig config;
  config.mode = preset.mode;
  config.activation.dtype = preset.activation;
  config.activation.per_row = config.activation.symmetric = config.activation.narrow = preset.per_row;
  if (!qat) return config;
  config.activation.observer = ObserverKind::moving_average;
  if (preset.mode == QuantMode::dynamic_range) config.activation.averaging = 1;
  return config;
}

Status check_tensor(const TensorConfig& c, const char* which) noexcept {
  const auto bad = [&](const char* what) { return Status::error(Code::invalid_argument, "%s.%s", which, what); };
  if (c.dtype != DType::u8 && c.dtype != DType::s8)
    return Status::error(Code::unsupported, "%s.dtype is %s, not u8 or s8", which, name_of(c.dtype));
  if (c.narrow && c.dtype != DType::s8) return bad("narrow is for s8 only");
  if (!(c.eps > 0) || !std::isfinite(c.eps)) return bad("eps is not positive");
  if (!(c.averaging > 0) || !(c.averaging <= 1)) return bad("averaging is not in (0, 1]");
  if (!(c.percentile > 50) || !(c.percentile <= 100)) return bad("percentile is not in (50, 100]");
  return {};
}

// What ONNX's DynamicQuantizeLinear, and the operators that stand for a row-wise one, can say.
Status check_dynamic(const TensorConfig& c) noexcept {
  if (c.per_row && (c.dtype != DType::s8 || !c.symmetric))
    return Status::error(Code::unsupported, "activation.per_row: rows are s8 and symmetric");
  if (!c.per_row && (c.dtype != DType::u8 || c.symmetric))
    return Status::error(Code::unsupported, "activation.dtype: a dynamic range of a whole tensor is u8 and affine");
  if (c.reduce_range) return Status::error(Code::unsupported, "activation.reduce_range is for static ranges only");
  return {};
}

}  // namespace

const char* name_of(ObserverKind kind) noexcept {
  switch (kind) {
    case ObserverKind::min_max:
      return "min_max";
    case ObserverKind::moving_average:
      return "moving_average";
    case ObserverKind::histogram:
      return "histogram";
    case ObserverKind::percentile:
      return "percentile";
    case ObserverKind::mse:
      return "mse";
    case ObserverKind::kl:
      return "kl";
  }
  return "";
}

Status check_config(const QuantConfig& config) noexcept {
  if (Status s = check_tensor(config.activation, "activation"); !s.ok()) return s;
  if (config.activation.per_channel)
    return Status::error(Code::unsupported, "activation.per_channel: activations are per tensor");
  if (config.mode == QuantMode::dynamic_range) {
    if (Status s = check_dynamic(config.activation); !s.ok()) return s;
  } else if (config.activation.per_row) {
    return Status::error(Code::unsupported, "activation.per_row is for dynamic ranges only");
  }
  if (config.function_depth < 0)
    return Status::error(Code::invalid_argument, "function_depth is %d: at least 0", config.function_depth);
  if (config.weight.dtype != DType::s8) return Status::error(Code::unsupported, "weight.dtype is u8: weights are s8");
  if (!config.weight.symmetric) return Status::error(Code::unsupported, "weight.symmetric is false: weights are symmetric");
  if (config.weight.per_row) return Status::error(Code::unsupported, "weight.per_row: weights are per tensor or per channel");
  if (config.weight.observer == ObserverKind::moving_average)
    return Status::error(Code::unsupported, "weight.observer: weights are no samples to average over");
  return check_tensor(config.weight, "weight");
}

Status check_params(const ValueParams& params) noexcept {
  if (const auto* fixed = std::get_if<FixedParams>(&params)) {
    if (!(fixed->q.scale > 0) || !std::isfinite(fixed->q.scale))
      return Status::error(Code::invalid_argument, "fixed.scale is not positive");
    if (fixed->q.zero_point < -128 || fixed->q.zero_point > 255)
      return Status::error(Code::invalid_argument, "fixed.zero_point is not in [-128, 255]");
  }
  if (const auto* derived = std::get_if<DerivedParams>(&params))
    if (!(derived->factor > 0) || !std::isfinite(derived->factor))
      return Status::error(Code::invalid_argument, "factor is not positive");
  return {};
}

Recipe& Recipe::add(Rule rule) noexcept {
  try {
    rules_.push_back(std::move(rule));
  } catch (const std::bad_alloc&) {
    status_ = Status::error(Code::out_of_memory, "recipe: no memory for a rule");
  }
  return *this;
}

Recipe& Recipe::set_global(std::optional<QuantConfig> config) noexcept { return add({Scope::global, {}, config}); }

Recipe& Recipe::set_op_type(std::string op_type, std::optional<QuantConfig> config) noexcept {
  return add({Scope::op_type, std::move(op_type), config});
}

Recipe& Recipe::set_node_name(std::string glob, std::optional<QuantConfig> config) noexcept {
  return add({Scope::node_name, std::move(glob), config});
}

Recipe& Recipe::set_value(std::string glob, ValueParams params) noexcept {
  try {
    value_rules_.push_back({std::move(glob), std::move(params)});
  } catch (const std::bad_alloc&) {
    status_ = Status::error(Code::out_of_memory, "recipe: no memory for a rule");
  }
  return *this;
}

const QuantConfig* Recipe::match(const Node& node) const noexcept {
  const Rule* best = nullptr;
  for (const Rule& rule : rules_) {
    const bool matches = rule.scope == Scope::global || (rule.scope == Scope::op_type && rule.pattern == node.op_type) ||
                         (rule.scope == Scope::node_name && glob_match(rule.pattern, node.name));
    if (matches && (!best || rule.scope >= best->scope)) best = &rule;
  }
  return best && best->config ? &*best->config : nullptr;
}

const ValueParams* Recipe::match_value(std::string_view name) const noexcept {
  for (auto rule = value_rules_.rbegin(); rule != value_rules_.rend(); ++rule)
    if (glob_match(rule->pattern, name)) return &rule->params;
  return nullptr;
}

Expected<Recipe> Recipe::preset(std::string_view name) noexcept try {
  const bool qat = name.ends_with(kQat);
  const std::string_view plain = name.substr(0, name.size() - (qat ? kQat.size() : 0));
  for (const Preset& preset : kPresets) {
    if (preset.name != plain) continue;
    Recipe recipe;
    recipe.set_global(config_of(preset, qat));
    if (!recipe.status().ok()) return recipe.status();
    return recipe;
  }
  std::string known;
  for (const Preset& preset : kPresets) known.append(known.empty() ? "" : ", ").append(preset.name);
  return Status::error(Code::invalid_argument, "no recipe is named \"%.*s\"; known: %s, and each with _qat",
                       int(std::min<size_t>(name.size(), 80)), name.data(), known.c_str());
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "recipe: out of memory");
}

std::vector<std::string> Recipe::preset_names() {
  std::vector<std::string> names;
  for (const std::string_view ending : {std::string_view(), kQat})
    for (const Preset& preset : kPresets) names.push_back(std::string(preset.name).append(ending));
  return names;
}

}  // namespace octavo
