#!/bin/bash
# Run systemd as process 1 of its own namespaces, on a copy of this machine's files that vanishes with them.
# The arguments are folders that it shows as they are.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/upper /mnt/work /mnt/machine
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/machine
cd /mnt/machine
for folder in "$@"; do
  mkdir -p ".$folder"
  mount --bind "$folder" ".$folder"
done
mount -t proc proc proc
mount --bind /sys sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --rbind /dev dev
rm -rf etc/systemd/system
mkdir -p etc/systemd/system etc/twins opt/twins/bin old
printf '[Unit]\nDescription=Tests\n' >etc/systemd/system/tests.target
pivot_root . old
umount --lazy old
mount --make-rshared / # systemd mounts credentials in a namespace of their own, and expects to see them here
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=tests.target --log-target=console --show-status=no
