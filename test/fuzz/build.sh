#!/bin/sh
# Builds the fuzzer into the folder given, with whatever flags of the compiler
# follow: test/fuzz/build.sh build/fuzz -fsanitize=address,undefined
#
# Each source is compiled together with the file of src/ that it includes. What
# that file needs of a server beyond server.c belongs to functions that nobody
# calls here, and is dropped with them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
out=$1
shift
mkdir -p "$out"
pg_config=${PG_CONFIG:-pg_config}
# the private tree's own pg_config names folders there, which has no headers
includes=$("$pg_config" --includedir-server)
libraries=$("$pg_config" --pkglibdir)
includes=${includes#"$root/build/pg"}
libraries=${libraries#"$root/build/pg"}
objects=
for source in "$here"/*.c; do
	object=$out/$(basename "$source" .c).o
	# shellcheck disable=SC2046
	${CC:-cc} -std=c11 -D_GNU_SOURCE -g -O1 -Wall -Wno-unused-function -Wno-declaration-after-statement \
		-ffunction-sections -fdata-sections -fno-omit-frame-pointer "$@" \
		-I"$root/src" -I"$includes" $("${PKG_CONFIG:-pkg-config}" --cflags libcurl libcrypto libmicrohttpd libxml-2.0 sndfile) \
		-c "$source" -o "$object"
	objects="$objects $object"
done
# shellcheck disable=SC2046,SC2086
${CC:-cc} "$@" -o "$out/fuzz" $objects -Wl,--gc-sections \
	-L"$libraries" -lpgcommon -lpgport -lm $("${PKG_CONFIG:-pkg-config}" --libs libcurl libcrypto libxml-2.0 sndfile)
