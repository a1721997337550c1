#!/bin/sh
# Usage: seeds.sh OUT DEMO SHARED. Fills OUT/{onnx,recipe,state,npz} with what the fuzzers start from: small models of ONNX's
# conformance suite where SHARED has it, the demo's arrays, recipes with every key.
set -eu
out=$1 demo=$2 shared=$3
rm -rf "$out"
mkdir -p "$out/onnx" "$out/recipe" "$out/state" "$out/npz"
cp "$demo"/*.npz "$out/npz"
suite=$shared/data/onnx-conformance.tar.xz
if [ -e "$suite" ]; then
  mkdir "$out/suite"
  tar -xJf "$suite" -C "$out/suite" --wildcards '*/model.onnx'
  find "$out/suite" -name model.onnx -size -16k | while read -r model; do
    cp "$model" "$out/onnx/$(basename "$(dirname "$model")").onnx"
  done
  rm -r "$out/suite"
else
  echo "the ONNX conformance suite is not here: $suite; the importer is fuzzed from nothing"
fi
cat > "$out/recipe/rules.json" << 'JSON'
{"base": "x86_static", "rules": [{"global": true, "config": {"mode": "dynamic", "activation": {"dtype": "s8", "symmetric": true,
 "per_row": true, "averaging": 0.1, "eps": 1e-5}, "weight": {"per_channel": false, "narrow": true, "reduce_range": true}}},
 {"op_type": "MatMul", "config": null}, {"node_name": "f?*", "config": {"mode": "weight_only"}},
 {"op_type": "Relu", "config": {"mode": "static", "activation": {"observer": "percentile", "percentile": 99.9}}},
 {"value": "x", "fixed": {"scale": 0.0039, "zero_point": 3}}, {"value": "re*", "shared_with": "x"},
 {"value": "fc", "derived_from": "x", "factor": 2}]}
JSON
for base in arm_static dynamic dynamic_per_row weight_only x86_static_qat; do
  echo "{\"base\": \"$base\", \"rules\": []}" > "$out/recipe/$base.json"
done
for observer in min_max moving_average histogram percentile mse kl; do
  echo "{\"rules\": [{\"global\": true, \"config\": {\"activation\": {\"observer\": \"$observer\"}}}]}" > "$out/recipe/$observer.json"
done
