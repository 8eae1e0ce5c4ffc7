#!/bin/sh
# Compiles the benchmark's own programs into the folder given.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
cc=${CC:-cc}
flags='-std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra'
# shellcheck disable=SC2086,SC2046
$cc $flags "$here/sender.c" -o "$out/sender" $(pkg-config --cflags --libs libcurl libcrypto)
# shellcheck disable=SC2086,SC2046
$cc $flags "$here/latency.c" -o "$out/latency" $(pkg-config --cflags --libs libpq) -lpthread
# shellcheck disable=SC2086
$cc $flags "$here/paced.c" -o "$out/paced"
