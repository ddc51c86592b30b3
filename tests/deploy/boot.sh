#!/bin/sh
# boot.sh PROGRAMS PYTHON SHARE: makes a machine of this one, as `unshare` left it, and boots systemd in it.
# Its root is this machine's, under an overlay in memory: what it changes is gone when it ends.
# PROGRAMS becomes /opt/todoku, PYTHON (where the interpreter is installed) /opt/python, SHARE /srv/share.
set -eu
programs=$1 python=$2 share=$3
mount --make-rprivate /
layers=$(dirname "$share")/layers
mkdir "$layers"
mount -t tmpfs -o mode=755 tmpfs "$layers"
mkdir "$layers/upper" "$layers/work" "$layers/root"
mount -t overlay -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" overlay "$layers/root"
root=$layers/root
mkdir -p "$root/oldroot" "$root/opt/todoku" "$root/opt/python" "$root/srv/share"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for place in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$place"; done
chmod 1777 "$root/tmp"
for device in null zero full random urandom tty; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
mount --bind "$programs" "$root/opt/todoku"
mount --bind "$python" "$root/opt/python"
echo /opt/python/lib > "$root/etc/ld.so.conf.d/000-python.conf"
chroot "$root" ldconfig
mount --bind "$share" "$root/srv/share"

# none of this machine's own services, and nothing that would reach for its kernel
units=$root/etc/systemd/system
rm -rf "$units" "$root/etc/fstab" "$root/etc/todoku" "$root/var/lib/todoku"
mkdir -p "$units"
: > "$root/etc/fstab"
echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' > "$units/default.target"
for unit in systemd-udevd systemd-udev-trigger systemd-networkd systemd-resolved systemd-timesyncd \
    systemd-modules-load systemd-sysctl systemd-random-seed systemd-remount-fs systemd-binfmt \
    systemd-pstore systemd-journal-flush systemd-tmpfiles-setup systemd-tmpfiles-setup-dev modprobe@ \
    e2scrub_reap systemd-update-utmp systemd-update-utmp-runlevel keyboard-setup console-setup; do
    ln -sf /dev/null "$units/$unit.service"
done
for unit in proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount timers.target \
    swap.target cryptsetup.target; do
    ln -sf /dev/null "$units/$unit"
done

cd "$root"
pivot_root . oldroot
umount -l /oldroot
# the loopback interface goes up: SIOCSIFFLAGS with IFF_UP and IFF_RUNNING (netdevice(7))
/opt/python/bin/python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))'
# as at a real start: the credentials of a service are mounted outside its own view and must reach it
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=console
