#include "octavo/recipe.h"

#include <algorithm>
#include <cmath>

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
  DType activation;
};
// No reduce_range on either: Octavo's kernels are exact without VNNI too. Arm's weights are per channel here, unlike PT2E's
// per-tensor default: the kernels run both at the same speed, and per channel is the more accurate one.
constexpr Preset kPresets[] = {{"x86_static", DType::u8}, {"arm_static", DType::s8}};

Status check_tensor(const TensorConfig& c, const char* which) noexcept {
  if (c.dtype != DType::u8 && c.dtype != DType::s8)
    return Status::error(Code::unsupported, "%s.dtype is %s, not u8 or s8", which, name_of(c.dtype));
  if (c.narrow && c.dtype != DType::s8) return Status::error(Code::invalid_argument, "%s.narrow is for s8 only", which);
  if (!(c.eps > 0) || !std::isfinite(c.eps)) return Status::error(Code::invalid_argument, "%s.eps is not positive", which);
  return {};
}

}  // namespace

Status check_config(const QuantConfig& config) noexcept {
  if (Status s = check_tensor(config.activation, "activation"); !s.ok()) return s;
  if (config.activation.per_channel)
    return Status::error(Code::unsupported, "activation.per_channel: activations are per tensor");
  if (config.weight.dtype != DType::s8) return Status::error(Code::unsupported, "weight.dtype is u8: weights are s8");
  if (!config.weight.symmetric) return Status::error(Code::unsupported, "weight.symmetric is false: weights are symmetric");
  return check_tensor(config.weight, "weight");
}

Recipe& Recipe::set_global(std::optional<QuantConfig> config) {
  rules_.push_back({Scope::global, "", config});
  return *this;
}

Recipe& Recipe::set_op_type(std::string op_type, std::optional<QuantConfig> config) {
  rules_.push_back({Scope::op_type, std::move(op_type), config});
  return *this;
}

Recipe& Recipe::set_node_name(std::string glob, std::optional<QuantConfig> config) {
  rules_.push_back({Scope::node_name, std::move(glob), config});
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

Expected<Recipe> Recipe::preset(std::string_view name) {
  for (const Preset& preset : kPresets) {
    if (preset.name != name) continue;
    QuantConfig config;
    config.activation.dtype = preset.activation;
    return Recipe().set_global(config);
  }
  std::string known;
  for (const Preset& preset : kPresets) known.append(known.empty() ? "" : ", ").append(preset.name);
  return Status::error(Code::invalid_argument, "no recipe is named \"%.*s\"; known: %s", int(std::min<size_t>(name.size(), 80)),
                       name.data(), known.c_str());
}

std::vector<std::string> Recipe::preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : kPresets) names.emplace_back(preset.name);
  return names;
}

}  // namespace octavo
