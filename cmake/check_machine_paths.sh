#!/bin/sh
# Usage: check_machine_paths.sh SOURCE_DIR | --self-test
# No file of the project may name a folder of the machine it was written on; binary files are searched too.
set -eu

check() {
  if [ -e "$1/.git" ] && command -v git > /dev/null; then
    files() { git -c safe.directory="*" -C "$1" ls-files -z; }
  else
    files() { (cd "$1" && find . -type f -not -path './build*' -not -path './out/*' -print0); }
  fi
  if files "$1" | (cd "$1" && xargs -0 grep -naoE '(^|[^A-Za-z0-9_.$})])/(work|root|home|Users|tmp|mnt)/[A-Za-z0-9_./-]*'); then
    echo "machine_paths: the files above name a folder of one machine"
    return 1
  fi
}

self_test() {
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  echo 'build/release is fine' > "$tree/a.txt"
  check "$tree" > /dev/null || { echo "self-test: a clean tree was refused"; exit 1; }
  for folder in work root home; do
    printf 'x\0see /%s/me/model.onnx' "$folder" > "$tree/a.bin"
    if check "$tree" > /dev/null; then echo "self-test: /$folder not caught"; exit 1; fi
  done
}

if [ "$1" = --self-test ]; then self_test; else check "$1"; fi
