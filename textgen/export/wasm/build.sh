#!/bin/sh
# Build the kernel for browsers from kernels/sampling.c: build.sh [OUTPUT]
# This needs clang and wasm-ld: apt-get install clang lld

set -eu
cd "$(dirname "$0")"
exec clang --target=wasm32 -msimd128 -mbulk-memory -Os -std=gnu11 -Wall -Wextra \
    -fno-math-errno -fvisibility=hidden -nostdlib -I. \
    -Wl,--no-entry -Wl,--export-dynamic -Wl,--export=__heap_base -Wl,--strip-debug \
    ../../kernels/sampling.c memory.c -o "${1:-../page/kernel.wasm}"
