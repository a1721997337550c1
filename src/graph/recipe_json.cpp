// Recipe <-> JSON. Strict: an unknown key, a wrong type or a config that no kernel honours is an error that names rule and key.
#include <new>
#include <nlohmann/json.hpp>

#include "octavo/recipe.h"
#include "recipe_check.h"

namespace octavo {
namespace {

using Json = nlohmann::json;

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

void read(const Json& json, const std::string& where, ObserverKind& out) {
  if (json == "min_max")
    out = ObserverKind::min_max;
  else if (json == "histogram")
    out = ObserverKind::histogram;
  else
    fail("%s: not \"min_max\" or \"histogram\"", where);
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
    if (key == "activation")
      read(value, path, config.activation);
    else if (key == "weight")
      read(value, path, config.weight);
    else
      fail("%s: unknown key", path);
  }
  if (Status s = check_config(config); !s.ok()) fail("%s: config.%s", where, s.text());
  return config;
}

void read_rule(const Json& json, const std::string& where, const QuantConfig& base, Recipe& recipe) {
  const Json* config = nullptr;
  std::string scope, pattern;
  for (const auto& [key, value] : object(json, where).items()) {
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
  if (scope.empty()) fail("%s: has no matcher (global, op_type or node_name)", where);
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
          {"observer", c.observer == ObserverKind::min_max ? "min_max" : "histogram"},
          {"eps", c.eps}};
}

}  // namespace

Expected<Recipe> Recipe::from_json(std::string_view text) {
  try {
    return read_recipe(Json::parse(text));
  } catch (const Bad& bad) {
    return bad.status;
  } catch (const Json::exception& e) {
    return Status::error(Code::invalid_argument, "recipe: %s", e.what());
  } catch (const std::bad_alloc&) {
    return Status::error(Code::out_of_memory, "recipe: out of memory");
  }
}

std::string Recipe::to_json() const {
  Json rules = Json::array();
  for (const Rule& rule : rules_) {
    Json json;
    if (rule.scope == Scope::global)
      json["global"] = true;
    else
      json[rule.scope == Scope::op_type ? "op_type" : "node_name"] = rule.pattern;
    json["config"] = nullptr;
    if (rule.config) json["config"] = {{"activation", write(rule.config->activation)}, {"weight", write(rule.config->weight)}};
    rules.push_back(std::move(json));
  }
  return Json{{"rules", std::move(rules)}}.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace octavo
