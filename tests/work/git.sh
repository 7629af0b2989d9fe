#!/bin/bash
# git: in a repository that a layer brings, and in a clone of it.
# timeout: 600
. "$(dirname "$0")/lib.sh"
need git

# Three commits of some 1,500 files, with an older branch to merge.
repository() {
	mkdir "$1/srv" && cp -r "$root"/usr/lib/python3.* "$1/srv/origin" && cd "$1/srv/origin" || return 1
	git init -q -b main && git config pack.threads 1 && git config gc.auto 0 && git add . && git commit -q -m one && git tag one || return 1
	git switch -q -c side && echo side >>LICENSE.txt && git commit -q -am side && git switch -q main || return 1
	git rm -q -r email json && git mv logging logged && echo new >new && git add new && git commit -q -m two && git tag two
}

# The index and the packs tell times, inodes and the order of things; what they hold is compared by name.
LEAVE_OUT='.*/\.git(/.*)?'

objects() { git cat-file --batch-all-objects --batch-check | sha256sum; }

in_layer() {
	cd "$1/srv/origin" || exit 1
	git status --porcelain
	run git checkout -q one
	git status --porcelain
	find . -name '*.py' -path './[cgh]*' -exec sed -i '1i # edited' {} +
	git status --porcelain | sha256sum
	run git stash
	git status --porcelain
	run git checkout -q main
	run git stash pop
	run git commit -q -am edited
	run git merge -q --no-edit side
	git log --format=%H
	run git gc -q --prune=now
	run git fsck --strict
	objects
	run git reset -q --hard two
	git status --porcelain
	git clean -ndx
}

in_clone() {
	cd "$1/srv" || exit 1
	run git clone -q --no-local origin clone
	cd clone || exit 1
	git status --porcelain
	run git checkout -q one
	run git checkout -q -
	run git worktree add -q ../tree one
	run git -C ../tree commit -q --allow-empty -m empty
	run git worktree remove ../tree
	run git repack -adq
	run git fsck
	git log --all --format=%H
	objects
	run git clone -q . ../local # by hard links
	git -C ../local status --porcelain
}

layer() { compared repository in_layer; }
clone() { compared repository in_clone; }

holds "status, checkout, stash, merge, gc and fsck in a repository of a layer" layer 300
holds "clones, work trees and repack" clone 300
finish
