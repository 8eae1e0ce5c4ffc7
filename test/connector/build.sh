#!/bin/sh
# Builds the connector of tests: test/connector/build.sh build/connector
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
out=$1
shift
mkdir -p "$out"
pg_config=${PG_CONFIG:-pg_config}
# the private tree's own pg_config names folders there, which has no headers
includes=$("$pg_config" --includedir-server)
includes=${includes#"$root/build/pg"}
# shellcheck disable=SC2046
${CC:-cc} -std=c11 -D_GNU_SOURCE -g -O2 -Wall -Wno-declaration-after-statement -fPIC -shared "$@" \
	-I"$root/src" -I"$includes" $("${PKG_CONFIG:-pkg-config}" --cflags libcurl) \
	-o "$out/connector_test.so.$$" "$here/connector_test.c"
mv "$out/connector_test.so.$$" "$out/connector_test.so"
