#!/bin/sh
# Turns the bare root file system around it into a dom0; runs inside the chroot.
# Arguments: the packages to install.  LAB_SUITE is in the environment.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root

# No service starts while packages are unpacked.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
printf 'force-unsafe-io\n' > /etc/dpkg/dpkg.cfg.d/lab
# Documentation and translations are never read in a lab.
cat >> /etc/dpkg/dpkg.cfg.d/lab <<'END'
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/info/*
END

# A small initrd: the virtual machine is always the same.
mkdir -p /etc/initramfs-tools/conf.d
printf 'MODULES=list\nCOMPRESS=zstd\n' > /etc/initramfs-tools/conf.d/lab
printf 'virtio_pci\nvirtio_blk\next4\n' > /etc/initramfs-tools/modules

apt-get install -y -q --no-install-recommends "$@"
apt-get clean

# The project is installed here.  Making a virtual environment takes minutes under emulation.
python3 -m venv /opt/lightvm

echo lab > /etc/hostname
cat > /etc/hosts <<'END'
127.0.0.1 localhost
127.0.1.1 lab
::1 localhost ip6-localhost
END
printf 'nameserver 10.0.2.3\n' > /etc/resolv.conf
printf '/dev/vda / ext4 noatime,noinit_itable 0 0\n' > /etc/fstab
systemd-machine-id-setup

# The network is always the same too.  A static set-up, and not networkd, because networkd would
# wake up for every vif that a test makes.
cat > /etc/systemd/system/lab-network.service <<'END'
[Unit]
Description=Network of the lab
DefaultDependencies=no
After=systemd-udevd.service sys-subsystem-net-devices-eth0.device
Wants=sys-subsystem-net-devices-eth0.device
Before=network.target ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip link set lo up
ExecStart=/sbin/ip address add 10.0.2.15/24 dev eth0
ExecStart=/sbin/ip link set eth0 up
ExecStart=/sbin/ip route add default via 10.0.2.2
[Install]
WantedBy=multi-user.target
END
# The word that the builder waits for on the serial console.
cat > /etc/systemd/system/lab-ready.service <<'END'
[Unit]
Description=Tell the serial console that the lab is up
After=ssh.service xen.service lab-network.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo "lab: services are up" > /dev/hvc0'
[Install]
WantedBy=multi-user.target
END
printf '%s\n' xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xen-netback xen-blkback \
    bridge tun loop > /etc/modules-load.d/lab.conf
# Where a first boot is slow, its network device takes longer than the 90 s that systemd waits for one;
# then dom0 is up, and nobody reaches it.
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultDeviceTimeoutSec=600\nDefaultTimeoutStartSec=600\n' \
    > /etc/systemd/system.conf.d/lab.conf
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\nRateLimitIntervalSec=0\n' \
    > /etc/systemd/journald.conf.d/lab.conf

# Cheap connections: no PAM session, no name look-up.  Nobody but the host's loopback can reach
# this server, and only with the key made for this image.
mkdir -p /etc/ssh/sshd_config.d
cat > /etc/ssh/sshd_config.d/lab.conf <<'END'
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxSessions 200
MaxStartups 100
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
END
[ "$LAB_SUITE" = bookworm ] || echo 'PerSourcePenalties no' >> /etc/ssh/sshd_config.d/lab.conf
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C lab -f /etc/ssh/ssh_host_ed25519_key

# A snapshot should hold a machine at rest: nothing that wakes up by itself, nothing unused.
for unit in apt-daily.timer apt-daily-upgrade.timer man-db.timer dpkg-db-backup.timer \
    e2scrub_all.timer fstrim.timer logrotate.timer systemd-tmpfiles-clean.timer \
    e2scrub_reap.service podman-auto-update.timer podman-auto-update.service \
    podman-restart.service podman.service podman.socket podman-clean-transient.service \
    lvm2-monitor.service lvm2-lvmpolld.socket blk-availability.service dm-event.socket \
    xendomains.service ssh.socket getty@tty1.service serial-getty@hvc0.service \
    console-getty.service systemd-logind.service systemd-networkd.service \
    systemd-timesyncd.service systemd-resolved.service systemd-pcrphase.service \
    rsync.service cron.service
do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
systemctl enable ssh.service lab-network.service lab-ready.service
systemctl set-default multi-user.target

rm -f /usr/sbin/policy-rc.d /etc/apt/apt.conf.d/00lab /etc/dpkg/dpkg.cfg.d/lab
rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt /tmp/* /var/tmp/*

dpkg-query -W -f '${Package} ${Version}\n' > /packages.list
