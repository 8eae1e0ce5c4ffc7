#!/bin/sh
# Makes a private, relocated copy of the PostgreSQL installation in the folder
# given, so that installing the extension never touches the system's own.
# PostgreSQL finds its libraries and extensions relative to its binaries.
set -eu
dest=$1
pg_config=${PG_CONFIG:-pg_config}
bindir=$($pg_config --bindir)
pkglibdir=$($pg_config --pkglibdir)
sharedir=$($pg_config --sharedir)
[ -x "$dest$bindir/postgres" ] && [ "$dest$bindir/postgres" -nt "$bindir/postgres" ] && exit 0
# aside first, so that an interrupted copy is never taken for a whole one
rm -rf "$dest" "$dest.part"
for dir in "$bindir" "$pkglibdir" "$sharedir"; do
	mkdir -p "$dest.part$dir"
	cp -RL "$dir/." "$dest.part$dir/"
done
touch "$dest.part$bindir/postgres"
mv "$dest.part" "$dest"
