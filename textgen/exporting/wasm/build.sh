#!/bin/sh
# Build the kernel for browsers from kernels/sampling.c: build.sh [OUTPUT]
# This needs clang and wasm-ld: apt-get install clang lld

set -eu
here=$(dirname "$0")
exec clang --target=wasm32 -msimd128 -mbulk-memory -Os -std=gnu11 -Wall -Wextra \
    -fno-math-errno -fvisibility=hidden -nostdlib -I "$here" \
    -Wl,--no-entry -Wl,--export-dynamic -Wl,--export=__heap_base -Wl,--strip-debug \
    "$here/../../kernels/sampling.c" "$here/memory.c" -o "${1:-$here/../page/kernel.wasm}"
