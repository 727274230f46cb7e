#!/bin/sh
# Turns the bare root file system around it into a guest that a boot loader boots; runs inside the chroot.
# What is no part of the guest is left in /guests.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root

printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
printf 'force-unsafe-io\n' > /etc/dpkg/dpkg.cfg.d/lab

apt-get install -y -q --no-install-recommends \
    linux-image-amd64 initramfs-tools zstd systemd-sysv dbus udev openssh-server iproute2

. /etc/os-release
mkdir -p /guests /tmp/boot
cd /tmp/boot
apt-get download -q grub-xen-host "debian-installer-$VERSION_ID-netboot-amd64"
for package in *.deb; do dpkg-deb -x "$package" .; done
cp usr/lib/grub-xen/grub-i386-xen_pvh.bin /guests/grub
cp "usr/lib/debian-installer/images/$VERSION_ID/amd64/text/debian-installer/amd64/linux" \
    "usr/lib/debian-installer/images/$VERSION_ID/amd64/text/debian-installer/amd64/initrd.gz" /guests/
cd /

mkdir -p /boot/grub
cat > /boot/grub/grub.cfg <<'END'
linux /vmlinuz root=/dev/xvda rw console=hvc0
initrd /initrd.img
boot
END
echo guest > /etc/hostname
printf '/dev/xvda / ext4 noatime 0 1\n' > /etc/fstab
printf 'UseDNS no\n' > /etc/ssh/sshd_config.d/guest.conf
systemd-machine-id-setup
systemctl enable systemd-networkd.service ssh.service
systemctl set-default multi-user.target

apt-get clean
rm -f /usr/sbin/policy-rc.d /etc/apt/apt.conf.d/00lab /etc/dpkg/dpkg.cfg.d/lab
rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt /tmp/* /var/tmp/*
