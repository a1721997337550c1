// Recipe <-> JSON. Strict: an unknown key, a wrong type or a config that no kernel honours is an error that names rule and key.
#include <algorithm>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>

#include "octavo/recipe.h"
#include "recipe_check.h"

namespace octavo {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxRules = 10000;

// A parse failure; carries the whole Status across the recursive descent and never leaves this file.
struct Bad {
  Status status;
};

template <class... Args>
[[noreturn]] void fail(const char* format, const std::string& where, Args... args) {
  throw Bad{Status::error(Code::invalid_argument, format, where.c_str(), args...)};
}

const Json& object(const Json& json, const std::string& where) {
  if (!json.is_object()) fail("%s: not an object", where);
  return json;
}

void read(const Json& json, const std::string& where, bool& out) {
  if (!json.is_boolean()) fail("%s: not true or false", where);
  out = json.get<bool>();
}

void read(const Json& json, const std::string& where, float& out) {
  if (!json.is_number()) fail("%s: not a number", where);
  out = json.get<float>();
}

void read(const Json& json, const std::string& where, std::string& out) {
  if (!json.is_string()) fail("%s: not a string", where);
  out = json.get<std::string>();
}

void read(const Json& json, const std::string& where, DType& out) {
  if (json == "u8")
    out = DType::u8;
  else if (json == "s8")
    out = DType::s8;
  else
    fail("%s: not \"u8\" or \"s8\"", where);
}

constexpr ObserverKind kObservers[] = {ObserverKind::min_max,    ObserverKind::moving_average, ObserverKind::histogram,
                                       ObserverKind::percentile, ObserverKind::mse,            ObserverKind::kl};
constexpr std::pair<const char*, QuantMode> kModes[] = {
    {"static", QuantMode::static_range}, {"dynamic", QuantMode::dynamic_range}, {"weight_only", QuantMode::weight_only}};

void read(const Json& json, const std::string& where, ObserverKind& out) {
  for (const ObserverKind kind : kObservers)
    if (json == name_of(kind)) {
      out = kind;
      return;
    }
  fail("%s: not \"min_max\", \"moving_average\", \"histogram\", \"percentile\", \"mse\" or \"kl\"", where);
}

void read(const Json& json, const std::string& where, QuantMode& out) {
  for (const auto& [name, mode] : kModes)
    if (json == name) {
      out = mode;
      return;
    }
  fail("%s: not \"static\", \"dynamic\" or \"weight_only\"", where);
}

void read(const Json& json, const std::string& where, int32_t& out) {
  if (!json.is_number_integer() || json > std::numeric_limits<int32_t>::max() || json < std::numeric_limits<int32_t>::min())
    fail("%s: not a 32-bit integer", where);
  out = json.get<int32_t>();
}

void read(const Json& json, const std::string& where, TensorConfig& out) {
  for (const auto& [key, value] : object(json, where).items()) {
    const std::string path = where + "." + key;
    if (key == "dtype")
      read(value, path, out.dtype);
    else if (key == "symmetric")
      read(value, path, out.symmetric);
    else if (key == "per_channel")
      read(value, path, out.per_channel);
    else if (key == "reduce_range")
      read(value, path, out.reduce_range);
    else if (key == "narrow")
      read(value, path, out.narrow);
    else if (key == "observer")
      read(value, path, out.observer);
    else if (key == "eps")
      read(value, path, out.eps);
    else if (key == "averaging")
      read(value, path, out.averaging);
    else if (key == "percentile")
      read(value, path, out.percentile);
    else if (key == "per_row")
      read(value, path, out.per_row);
    else
      fail("%s: unknown key", path);
  }
}

// Keys that the rule leaves out keep the base's values.
std::optional<QuantConfig> read_config(const Json& json, const std::string& where, const QuantConfig& base) {
  if (json.is_null()) return std::nullopt;
  QuantConfig config = base;
  for (const auto& [key, value] : object(json, where + ": config").items()) {
    const std::string path = where + ": config." + key;
    if (key == "mode")
      read(value, path, config.mode);
    else if (key == "activation")
      read(value, path, config.activation);
    else if (key == "weight")
      read(value, path, config.weight);
    else if (key == "function_depth")
      read(value, path, config.function_depth);
    else
      fail("%s: unknown key", path);
  }
  if (Status s = check_config(config); !s.ok()) fail("%s: config.%s", where, s.text());
  return config;
}

ValueParams read_fixed(const Json& json, const std::string& where) {
  FixedParams fixed;
  for (const auto& [key, value] : object(json, where).items()) {
    const std::string path = where + "." + key;
    if (key == "scale")
      read(value, path, fixed.q.scale);
    else if (key == "zero_point")
      read(value, path, fixed.q.zero_point);
    else
      fail("%s: unknown key", path);
  }
  if (!json.contains("scale")) fail("%s: has no key scale", where);
  return fixed;
}

void read_value_rule(const Json& json, const std::string& where, Recipe& recipe) {
  std::string pattern;
  std::optional<ValueParams> params;
  DerivedParams derived;
  for (const auto& [key, value] : json.items()) {
    const std::string path = where + ": " + key;
    if (key == "value") {
      read(value, path, pattern);
    } else if (key == "factor") {
      read(value, path, derived.factor);
      if (!json.contains("derived_from")) fail("%s: goes with derived_from only", path);
    } else if (key == "fixed" || key == "shared_with" || key == "derived_from") {
      if (params) fail("%s: a rule for values has one of fixed, shared_with and derived_from", path);
      SharedParams shared;
      if (key == "fixed")
        params = read_fixed(value, path);
      else if (key == "shared_with")
        read(value, path, shared.with), params = shared;
      else
        read(value, path, derived.from), params = derived;
    } else {
      fail("%s: unknown key", path);
    }
  }
  if (!params) fail("%s: has none of fixed, shared_with and derived_from", where);
  if (auto* d = std::get_if<DerivedParams>(&*params)) *d = derived;
  if (Status s = check_params(*params); !s.ok()) fail("%s: %s", where, s.text());
  recipe.set_value(pattern, *params);
}

void read_rule(const Json& json, const std::string& where, const QuantConfig& base, Recipe& recipe) {
  if (object(json, where).contains("value")) return read_value_rule(json, where, recipe);
  const Json* config = nullptr;
  std::string scope, pattern;
  for (const auto& [key, value] : json.items()) {
    const std::string path = where + ": " + key;
    if (key == "config") {
      config = &value;
      continue;
    }
    if (key != "global" && key != "op_type" && key != "node_name") fail("%s: unknown key", path);
    if (!scope.empty()) fail("%s: besides %s; a rule has one matcher", path, scope.c_str());
    scope = key;
    bool all = true;
    if (key == "global")
      read(value, path, all);
    else
      read(value, path, pattern);
    if (!all) fail("%s: can only be true", path);
  }
  if (scope.empty()) fail("%s: has no matcher (global, op_type, node_name or value)", where);
  if (!config) fail("%s: has no key config", where);
  std::optional<QuantConfig> parsed = read_config(*config, where, base);
  if (scope == "global")
    recipe.set_global(parsed);
  else if (scope == "op_type")
    recipe.set_op_type(pattern, parsed);
  else
    recipe.set_node_name(pattern, parsed);
}

Recipe read_recipe(const Json& json) {
  Recipe recipe;
  for (const auto& [key, value] : object(json, "recipe").items())
    if (key != "base" && key != "rules") fail("recipe: unknown key %s", key);
  QuantConfig base;
  if (auto it = json.find("base"); it != json.end()) {
    std::string name;
    read(*it, "base", name);
    Expected<Recipe> preset = Recipe::preset(name);
    if (!preset) fail("%s: %s", "base", preset.status().text());
    recipe = *preset;
    base = *recipe.match(Node());  // a preset is one global rule with a config
  }
  if (auto it = json.find("rules"); it != json.end()) {
    if (!it->is_array()) fail("%s: not an array", "rules");
    if (it->size() > kMaxRules) fail("%s: %zu of them, at most %zu", "rules", it->size(), kMaxRules);
    for (size_t i = 0; i < it->size(); ++i) read_rule((*it)[i], "rule " + std::to_string(i), base, recipe);
  }
  return recipe;
}

Json write(const TensorConfig& c) {
  return {{"dtype", name_of(c.dtype)},
          {"symmetric", c.symmetric},
          {"per_channel", c.per_channel},
          {"reduce_range", c.reduce_range},
          {"narrow", c.narrow},
          {"observer", name_of(c.observer)},
          {"eps", c.eps},
          {"averaging", c.averaging},
          {"percentile", c.percentile},
          {"per_row", c.per_row}};
}

Json write(const QuantConfig& c) {
  const auto* mode = std::find_if(std::begin(kModes), std::end(kModes), [&](const auto& m) { return m.second == c.mode; });
  return {{"mode", mode->first},
          {"activation", write(c.activation)},
          {"weight", write(c.weight)},
          {"function_depth", c.function_depth}};
}

Json write(const std::string& pattern, const ValueParams& params) {
  Json json = {{"value", pattern}};
  if (const auto* fixed = std::get_if<FixedParams>(&params))
    json["fixed"] = {{"scale", fixed->q.scale}, {"zero_point", fixed->q.zero_point}};
  if (const auto* shared = std::get_if<SharedParams>(&params)) json["shared_with"] = shared->with;
  if (const auto* derived = std::get_if<DerivedParams>(&params)) {
    json["derived_from"] = derived->from;
    json["factor"] = derived->factor;
  }
  return json;
}

}  // namespace

Expected<Recipe> Recipe::from_json(std::string_view text) noexcept {
  try {
    Recipe recipe = read_recipe(Json::parse(text));
    if (!recipe.status().ok()) return recipe.status();
    return recipe;
  } catch (const Bad& bad) {
    return bad.status;
  } catch (const Json::exception& e) {
    return Status::error(Code::invalid_argument, "recipe: %s", e.what());
  } catch (const std::bad_alloc&) {
    return Status::error(Code::out_of_memory, "recipe: out of memory");
  }
}

Expected<std::string> Recipe::to_json() const noexcept {
  try {
    Json rules = Json::array();
    for (const Rule& rule : rules_) {
      Json json;
      if (rule.scope == Scope::global)
        json["global"] = true;
      else
        json[rule.scope == Scope::op_type ? "op_type" : "node_name"] = rule.pattern;
      json["config"] = rule.config ? write(*rule.config) : Json();
      rules.push_back(std::move(json));
    }
    for (const ValueRule& rule : value_rules_) rules.push_back(write(rule.pattern, rule.params));
    return Json{{"rules", std::move(rules)}}.dump(2, ' ', false, Json::error_handler_t::replace);
  } catch (const std::bad_alloc&) {
    return Status::error(Code::out_of_memory, "recipe: out of memory");
  }
}

}  // namespace octavo
