#!/bin/bash
# Random operations on plyfs, on a plain directory and on the kernel's overlayfs, compared after each. Seeds are fixed
# so that a check is the same each time; OPS, SEED and SEEDS override. With PLY_LONG set there are ten times as many.
set -u
here=$(dirname "$(readlink -f "$0")")
PLYFS=$(readlink -f "${PLYFS:-$here/../../build/plyfs}")
plydiff=${BUILD:-$here/../../build}/tests/plydiff
[ -x "$PLYFS" ] && [ -x "$plydiff" ] || {
	echo "skip: $PLYFS and $plydiff are not both there"
	exit 77
}

# The layers need a file system with trusted xattrs, ACLs and holes, which a tmpfs is not in all respects.
dir=${TMPDIR:-/var/tmp}
[ "$(stat -f -c %T "$dir")" != tmpfs ] || dir=/var/tmp

seeds=${SEEDS:-15}
[ -z "${PLY_LONG:-}" ] || seeds=$((seeds * 10))

# run FIRST-SEED SEEDS OPTIONS [ARGUMENT]...
run() {
	local seed=$1 seeds=$2 options=$3
	shift 3
	# Device nodes and set-id programs are part of the test; the mount must let them be used.
	"$plydiff" --mount-opts "dev,suid$options" --mounter "$PLYFS" --dir "$dir" --seed "$seed" --seeds "$seeds" --ops "${OPS:-1000}" "$@"
}

run "${SEED:-1}" "$seeds" "" "$@" || exit
[ $# = 0 ] || exit 0
# Directories of layers are renamed by marks; once more by copying.
run "${SEED:-100}" $(((seeds + 3) / 4)) ,redirect_dir=copy || exit

# The kernel with all of its formats, as a judge, and as one who goes on with what plyfs wrote, and the reverse: the index
# of hard links, directories renamed by marks, files that are metadata only. What plyfs counts without an index only it goes on with.
kernel=index=on,redirect_dir=on,metacopy=on
run "${SEED:-200}" $(((seeds + 3) / 4)) ,metacopy=on --ovl-opts $kernel --hardlinks same-mount --marks kernel || exit
run "${SEED:-300}" $(((seeds + 6) / 7)) "" --ovl-opts $kernel --hardlinks same-mount --marks kernel || exit
run "${SEED:-607}" $(((seeds + 6) / 7)) "" --ovl-opts $kernel --hardlinks same-mount --marks kernel --no-swap || exit
run "${SEED:-400}" $(((seeds + 6) / 7)) ,metacopy=on --ovl-opts $kernel --reader-opts redirect_dir=on,metacopy=on || exit
# The same when uppers become layers: marks that lead from layer to layer.
run "${SEED:-500}" $(((seeds + 4) / 5)) ,metacopy=on --stack --marks kernel --ovl-opts $kernel --reader-opts redirect_dir=on,metacopy=on
