# What `tools/lab install` does in dom0 after the files are in /opt/lightvm; add hooks here.
# Runs on every install, so each line must be harmless when repeated.
set -e

# The commands, found before LVM2's own lvm.
for name in lightvm lvm lightvmd; do
    [ ! -e "/opt/lightvm/bin/$name" ] || ln -sf "/opt/lightvm/bin/$name" "/usr/local/bin/$name"
done

# Units that came with the wheel.  A reload takes seconds under emulation, so only when one changed.
changed=
for unit in /opt/lightvm/lib/systemd/system/*; do
    [ -e "$unit" ] || continue
    goal="/etc/systemd/system/${unit##*/}"
    cmp -s "$unit" "$goal" || { cp "$unit" "$goal" && changed=yes; }
done
[ -z "$changed" ] || systemctl daemon-reload

# A daemon that runs gets the new code.
systemctl try-restart lightvmd.service 2>/dev/null || true
