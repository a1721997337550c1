// Recipe: which rule wins, globs, presets, and JSON that is checked key by key.
#include <gtest/gtest.h>

#include "octavo/recipe.h"

namespace octavo {
namespace {

Node node(const char* name, const char* op_type) {
  Node n;
  n.name = name;
  n.op_type = op_type;
  return n;
}

QuantConfig with_eps(float eps) {
  QuantConfig config;
  config.activation.eps = eps;
  return config;
}

float matched_eps(const Recipe& recipe, const char* name, const char* op_type) {
  const QuantConfig* config = recipe.match(node(name, op_type));
  return config ? config->activation.eps : 0;
}

TEST(Recipe, EmptyKeepsEverythingInFloat) { EXPECT_EQ(Recipe().match(node("a", "Conv")), nullptr); }

TEST(Recipe, NameBeatsTypeBeatsGlobalWhateverTheOrder) {
  Recipe recipe;
  recipe.set_node_name("conv1", with_eps(3)).set_op_type("Conv", with_eps(2)).set_global(with_eps(1));
  EXPECT_EQ(matched_eps(recipe, "conv1", "Conv"), 3);
  EXPECT_EQ(matched_eps(recipe, "conv2", "Conv"), 2);
  EXPECT_EQ(matched_eps(recipe, "fc", "Gemm"), 1);
}

TEST(Recipe, LaterRuleWinsAmongEquals) {
  Recipe recipe;
  recipe.set_node_name("*", with_eps(1))
      .set_node_name("conv*", with_eps(2))
      .set_op_type("Gemm", with_eps(3))
      .set_op_type("Gemm", {});
  EXPECT_EQ(matched_eps(recipe, "conv1", "Conv"), 2);
  EXPECT_EQ(matched_eps(recipe, "fc", "Gemm"), 1);
  recipe.set_node_name("conv1", std::nullopt);
  EXPECT_EQ(recipe.match(node("conv1", "Conv")), nullptr);
}

TEST(Recipe, NoneBeatsAConfigOfLowerScope) {
  Recipe recipe = *Recipe::preset("x86_static");
  recipe.set_op_type("Softmax", std::nullopt);
  EXPECT_EQ(recipe.match(node("s", "Softmax")), nullptr);
  EXPECT_NE(recipe.match(node("c", "Conv")), nullptr);
}

TEST(Recipe, GlobMatchesTheWholeName) {
  const struct {
    const char *glob, *name;
    bool matches;
  } cases[] = {
      {"conv", "conv", true},
      {"conv", "conv1", false},
      {"conv", "aconv", false},
      {"conv?", "conv1", true},
      {"conv?", "conv", false},
      {"*", "", true},
      {"", "", true},
      {"", "a", false},
      {"*/conv*", "a/b/conv", true},
      {"*/conv*", "conv", false},
      {"a*b*c", "a__b_b_c", true},
      {"a*b*c", "a__b_b_", false},
      {"**?", "x", true},
      {"?*?", "x", false},
      {"[a]", "a", false},
      {"[a]", "[a]", true},
  };
  for (const auto& c : cases) {
    Recipe recipe;
    recipe.set_node_name(c.glob, QuantConfig());
    EXPECT_EQ(recipe.match(node(c.name, "Conv")) != nullptr, c.matches) << c.glob << " on " << c.name;
  }
}

TEST(Recipe, GlobOfManyStarsIsNotExponential) {
  std::string glob, name(20000, 'a');
  for (int i = 0; i < 1000; ++i) glob += "*a";
  Recipe recipe;
  recipe.set_node_name(glob + "b", QuantConfig());
  EXPECT_EQ(recipe.match(node(name.c_str(), "Conv")), nullptr);  // an exponential matcher would not return
  EXPECT_NE(recipe.match(node((name + "b").c_str(), "Conv")), nullptr);
}

TEST(Recipe, Presets) {
  const std::vector<std::string> plain = {"x86_static", "arm_static", "dynamic", "dynamic_per_row", "weight_only"};
  std::vector<std::string> all = plain;
  for (const std::string& name : plain) all.push_back(name + "_qat");
  EXPECT_EQ(Recipe::preset_names(), all);
  for (const std::string& name : all) {
    Expected<Recipe> recipe = Recipe::preset(name);
    ASSERT_TRUE(recipe) << name;
    const QuantConfig* config = recipe->match(node("c", "Conv"));
    ASSERT_NE(config, nullptr);
    const bool qat = name.ends_with("_qat"), per_row = name.starts_with("dynamic_per_row");
    EXPECT_EQ(config->mode, name.starts_with("dynamic")       ? QuantMode::dynamic_range
                            : name.starts_with("weight_only") ? QuantMode::weight_only
                                                              : QuantMode::static_range);
    EXPECT_EQ(config->activation.dtype, name.starts_with("arm") || per_row ? DType::s8 : DType::u8);
    EXPECT_EQ(config->activation.observer, qat ? ObserverKind::moving_average : ObserverKind::histogram);
    EXPECT_EQ(config->activation.averaging, qat && name.starts_with("dynamic") ? 1.0f : 0.01f);
    EXPECT_EQ(config->activation.symmetric, per_row);
    EXPECT_EQ(config->activation.per_row, per_row);
    EXPECT_FALSE(config->activation.per_channel || config->activation.reduce_range);
    EXPECT_EQ(config->weight.dtype, DType::s8);
    EXPECT_TRUE(config->weight.symmetric && config->weight.per_channel);
    EXPECT_TRUE(config->weight.narrow);
    EXPECT_EQ(config->weight.observer, ObserverKind::min_max);
    EXPECT_EQ(config->activation.eps, 1.0f / 4096);
  }
  const Status s = Recipe::preset("x87").status();
  EXPECT_EQ(s.code(), Code::invalid_argument);
  EXPECT_STREQ(s.text(),
               "no recipe is named \"x87\"; known: x86_static, arm_static, dynamic, dynamic_per_row, weight_only, and each with "
               "_qat");
}

TEST(RecipeJson, BaseThenRules) {
  Expected<Recipe> recipe = Recipe::from_json(R"({"base": "arm_static", "rules": [
      {"op_type": "Gemm", "config": null},
      {"node_name": "fc*", "config": {"activation": {"observer": "min_max"}, "weight": {"per_channel": false, "eps": 1e-6}}}]})");
  ASSERT_TRUE(recipe) << recipe.status().text();
  EXPECT_NE(recipe->match(node("c", "Conv")), nullptr);
  EXPECT_EQ(recipe->match(node("g", "Gemm")), nullptr);
  const QuantConfig* fc = recipe->match(node("fc1", "Gemm"));
  ASSERT_NE(fc, nullptr);
  EXPECT_EQ(fc->activation.dtype, DType::s8);  // from the base
  EXPECT_EQ(fc->activation.observer, ObserverKind::min_max);
  EXPECT_FALSE(fc->weight.per_channel);
  EXPECT_EQ(fc->weight.eps, 1e-6f);
}

TEST(RecipeJson, RoundTrips) {
  QuantConfig odd;
  odd.activation = {DType::s8, true, false, true, true, ObserverKind::kl, 0.1f, 0.5f, 99.5f};
  odd.mode = QuantMode::weight_only;
  odd.weight.per_channel = false;
  odd.function_depth = 7;
  Recipe recipe = *Recipe::preset("x86_static");
  recipe.set_op_type("Add", std::nullopt).set_node_name("a \"quoted\" *", odd).set_global(std::nullopt);
  recipe.set_value("p?", FixedParams{{0.00390625f, 3}}).set_value("s", SharedParams{"t"}).set_value("d", DerivedParams{"e", 2});
  const std::string json = *recipe.to_json();
  Expected<Recipe> again = Recipe::from_json(json);
  ASSERT_TRUE(again) << again.status().text();
  EXPECT_EQ(*again->to_json(), json);
  EXPECT_EQ(again->match(node("x", "Conv")), nullptr);
  const QuantConfig* config = again->match(node("a \"quoted\" node", "Conv"));
  ASSERT_NE(config, nullptr);
  EXPECT_EQ(config->activation.eps, 0.1f);
  EXPECT_TRUE(config->activation.symmetric && config->activation.reduce_range && config->activation.narrow);
  EXPECT_EQ(config->activation, odd.activation);
  EXPECT_EQ(config->mode, QuantMode::weight_only);
  EXPECT_EQ(config->function_depth, 7);
  ASSERT_NE(again->match_value("p1"), nullptr);
  EXPECT_EQ(std::get<FixedParams>(*again->match_value("p1")).q, (QParams{0.00390625f, 3}));
  EXPECT_EQ(std::get<SharedParams>(*again->match_value("s")).with, "t");
  EXPECT_EQ(std::get<DerivedParams>(*again->match_value("d")).from, "e");
  EXPECT_EQ(std::get<DerivedParams>(*again->match_value("d")).factor, 2);
  EXPECT_EQ(again->match_value("q"), nullptr);
}

TEST(RecipeJson, ErrorsNameTheRuleAndTheKey) {
  const struct {
    const char *json, *error;
  } cases[] = {
      {"[]", "recipe: not an object"},
      {R"({"bases": "x86_static"})", "recipe: unknown key bases"},
      {R"({"base": 1})", "base: not a string"},
      {R"({"base": "x"})", "base: no recipe is named \"x\"; known: x86_static, arm_static, dynamic, dynamic_per_row, weight_only, and each with _qat"},
      {R"({"rules": {}})", "rules: not an array"},
      {R"({"rules": [7]})", "rule 0: not an object"},
      {R"({"rules": [{"config": null}]})", "rule 0: has no matcher (global, op_type, node_name or value)"},
      {R"({"rules": [{"op_type": "Conv"}]})", "rule 0: has no key config"},
      {R"({"rules": [{"global": true, "config": null}, {"op_typ": "Conv", "config": null}]})", "rule 1: op_typ: unknown key"},
      {R"({"rules": [{"global": false, "config": null}]})", "rule 0: global: can only be true"},
      {R"({"rules": [{"node_name": 3, "config": null}]})", "rule 0: node_name: not a string"},
      {R"({"rules": [{"node_name": "a", "op_type": "b", "config": null}]})",
       "rule 0: op_type: besides node_name; a rule has one matcher"},
      {R"({"rules": [{"global": true, "config": 1}]})", "rule 0: config: not an object"},
      {R"({"rules": [{"global": true, "config": {"function_depth": -1}}]})", "rule 0: config.function_depth is -1: at least 0"},
      {R"({"rules": [{"global": true, "config": {"function_depth": 0.5}}]})",
       "rule 0: config.function_depth: not a 32-bit integer"},
      {R"({"rules": [{"global": true, "config": {"act": {}}}]})", "rule 0: config.act: unknown key"},
      {R"({"rules": [{"global": true, "config": {"weight": []}}]})", "rule 0: config.weight: not an object"},
      {R"({"rules": [{"global": true, "config": {"weight": {"bits": 8}}}]})", "rule 0: config.weight.bits: unknown key"},
      {R"({"rules": [{"global": true, "config": {"weight": {"dtype": "s4"}}}]})",
       "rule 0: config.weight.dtype: not \"u8\" or \"s8\""},
      {R"({"rules": [{"global": true, "config": {"weight": {"dtype": "u8"}}}]})",
       "rule 0: config.weight.dtype is u8: weights are s8"},
      {R"({"rules": [{"global": true, "config": {"weight": {"symmetric": false}}}]})",
       "rule 0: config.weight.symmetric is false: weights are symmetric"},
      {R"({"rules": [{"global": true, "config": {"activation": {"per_channel": true}}}]})",
       "rule 0: config.activation.per_channel: activations are per tensor"},
      {R"({"rules": [{"global": true, "config": {"activation": {"narrow": true}}}]})",
       "rule 0: config.activation.narrow is for s8 only"},
      {R"({"rules": [{"global": true, "config": {"activation": {"eps": 0}}}]})", "rule 0: config.activation.eps is not positive"},
      {R"({"rules": [{"global": true, "config": {"activation": {"eps": "1"}}}]})", "rule 0: config.activation.eps: not a number"},
      {R"({"rules": [{"global": true, "config": {"activation": {"observer": "l3"}}}]})",
       "rule 0: config.activation.observer: not \"min_max\", \"moving_average\", \"histogram\", \"percentile\", \"mse\" or \"kl\""},
      {R"({"rules": [{"global": true, "config": {"activation": {"averaging": 0}}}]})",
       "rule 0: config.activation.averaging is not in (0, 1]"},
      {R"({"rules": [{"global": true, "config": {"activation": {"percentile": 50}}}]})",
       "rule 0: config.activation.percentile is not in (50, 100]"},
      {R"({"rules": [{"global": true, "config": {"mode": "fast"}}]})",
       "rule 0: config.mode: not \"static\", \"dynamic\" or \"weight_only\""},
      {R"({"rules": [{"global": true, "config": {"mode": "dynamic", "activation": {"per_row": true}}}]})",
       "rule 0: config.activation.per_row: rows are s8 and symmetric"},
      {R"({"rules": [{"global": true, "config": {"mode": "dynamic", "activation": {"dtype": "s8"}}}]})",
       "rule 0: config.activation.dtype: a dynamic range of a whole tensor is u8 and affine"},
      {R"({"rules": [{"global": true, "config": {"activation": {"per_row": true}}}]})",
       "rule 0: config.activation.per_row is for dynamic ranges only"},
      {R"({"rules": [{"global": true, "config": {"weight": {"observer": "moving_average"}}}]})",
       "rule 0: config.weight.observer: weights are no samples to average over"},
      {R"({"rules": [{"value": "v"}]})", "rule 0: has none of fixed, shared_with and derived_from"},
      {R"({"rules": [{"value": "v", "config": null}]})", "rule 0: config: unknown key"},
      {R"({"rules": [{"value": "v", "fixed": {"zero_point": 0}}]})", "rule 0: fixed: has no key scale"},
      {R"({"rules": [{"value": "v", "fixed": {"scale": -1}}]})", "rule 0: fixed.scale is not positive"},
      {R"({"rules": [{"value": "v", "fixed": {"scale": 1, "zero_point": 300}}]})",
       "rule 0: fixed.zero_point is not in [-128, 255]"},
      {R"({"rules": [{"value": "v", "fixed": {"scale": 1, "zero_point": 0.5}}]})",
       "rule 0: fixed.zero_point: not a 32-bit integer"},
      {R"({"rules": [{"value": "v", "fixed": {"scale": 1}, "shared_with": "w"}]})",
       "rule 0: shared_with: a rule for values has one of fixed, shared_with and derived_from"},
      {R"({"rules": [{"value": "v", "shared_with": "w", "factor": 2}]})", "rule 0: factor: goes with derived_from only"},
      {R"({"rules": [{"value": "v", "derived_from": "w", "factor": 0}]})", "rule 0: factor is not positive"},
      {R"({"rules": [{"global": true, "config": {"activation": {"symmetric": 1}}}]})",
       "rule 0: config.activation.symmetric: not true or false"},
  };
  for (const auto& c : cases) {
    Expected<Recipe> recipe = Recipe::from_json(c.json);
    ASSERT_FALSE(recipe) << c.json;
    EXPECT_EQ(recipe.status().code(), Code::invalid_argument);
    EXPECT_STREQ(recipe.status().text(), c.error);
  }
}

TEST(RecipeJson, MalformedTextIsAnError) {
  for (std::string text : {"", "{", "{\"rules\": [}", "{}{}", "\xff", "nul"}) {
    Expected<Recipe> recipe = Recipe::from_json(text);
    ASSERT_FALSE(recipe) << text;
    EXPECT_EQ(recipe.status().code(), Code::invalid_argument);
  }
  EXPECT_FALSE(Recipe::from_json(std::string(100000, '[')));  // deep nesting ends in an error, not in a stack overflow
}

}  // namespace
}  // namespace octavo
