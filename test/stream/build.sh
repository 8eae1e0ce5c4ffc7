#!/bin/sh
# Builds the module that lets SQL run streams: test/stream/build.sh build/stream
#
# It holds the transfer loop itself, compiled from src/core/, and is loaded into
# servers that don't have the extension's library: nothing of it ships.
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
core=$root/src/core
# shellcheck disable=SC2046
${CC:-cc} -std=c11 -D_GNU_SOURCE -g -O2 -Wall -Wno-declaration-after-statement -fPIC -shared "$@" \
	-I"$root/src" -I"$includes" $("${PKG_CONFIG:-pkg-config}" --cflags libcurl libcrypto) \
	-o "$out/stream_test.so.$$" "$here/stream_test.c" "$core"/transfer*.c "$core"/stream*.c "$core/sftp.c" "$core/guard.c" "$core/networks.c" \
	$("${PKG_CONFIG:-pkg-config}" --libs libcurl libcrypto)
mv "$out/stream_test.so.$$" "$out/stream_test.so"
