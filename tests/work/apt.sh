#!/bin/bash
# Packages: apt and dpkg install, replace and remove in a chroot, and users come and go, as on a plain root.
# timeout: 600
. "$(dirname "$0")/lib.sh"

whole_root() { cp -a "$root/." "$1"; }

# Logs and caches tell when and where; a saved ldconfig cache has inode numbers.
LEAVE_OUT='\./(var/log/.*|var/cache/ldconfig/.*|var/cache/apt/.*|var/lib/apt/.*|var/cache/debconf/.*|root/.*)'

install() {
	run in_root "$1" sh -c 'apt-get install -q -y /var/cache/debs/few/*.deb'
	# the same versions again, over the files of the layer
	run in_root "$1" bash -c 'dpkg -i /var/cache/debs/few/{coreutils,perl-base,libc-bin,bc}_*.deb'
	in_root "$1" hello
	in_root "$1" sqlite3 :memory: 'select 6 * 7'
	run in_root "$1" dpkg --verify
	in_root "$1" dpkg --audit
	run in_root "$1" dpkg -r hello whiptail
	run in_root "$1" apt-get purge -q -y sqlite3
	run in_root "$1" ldconfig
	in_root "$1" sh -c 'dpkg --verify; dpkg -l | sha256sum; find / -xdev -name "*.dpkg-*"; ls /usr/bin | wc -l'
}

users() {
	run in_root "$1" useradd -m -u 1234 joe
	run in_root "$1" groupadd -g 1300 team
	run in_root "$1" usermod -aG team joe
	run in_root "$1" chown -R joe:team /srv /var/mail /usr/share/common-licenses
	run in_root "$1" chmod -R g+w /usr/share/common-licenses
	in_root "$1" su joe -c 'touch ~/mine && stat -c %U:%a ~/mine && id && cat /etc/shadow'
	run in_root "$1" chmod u+s /usr/bin/env
	in_root "$1" su joe -c 'stat -c %a /usr/bin/env'
	in_root "$1" sh -c 'rm -rf /usr/share/doc && mkdir /usr/share/doc && mv /usr/share/zoneinfo /usr/share/zones && ls /usr/share | wc -l'
	in_root "$1" userdel -r joe 2>/dev/null
	in_root "$1" stat -c '%n %a %u:%g' /etc/passwd /etc/shadow /var/mail /srv
}

packages() { compared whole_root install .; }
people() { compared whole_root users .; }

holds "packages are installed over those of a layer, and removed" packages 500
holds "users, owners, modes and moved trees" people 300
finish
