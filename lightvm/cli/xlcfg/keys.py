"""What becomes of each key of xl.cfg(5); ``docs/xl-cfg.md`` is the same for people, and a test compares both."""

from __future__ import annotations

from lightvm.cli.xlcfg.syntax import Value

HONOURED = frozenset(
    [
        "name",
        "type",
        "builder",
        "kernel",
        "ramdisk",
        "cmdline",
        "root",
        "extra",
        "memory",
        "maxmem",
        "vcpus",
        "maxvcpus",
        "cpus",
        "cpu_weight",
        "cap",
        "on_poweroff",
        "on_reboot",
        "on_crash",
        "vif",
        "disk",
    ]
)
"""What a request has a word for."""

ONLY: dict[str, tuple[Value, ...]] = {
    "acpi": ("0", "1"),
    "apic": ("1",),
    "bootloader": ("",),
    "channel": ([],),
    "dm_restrict": ("0",),
    "driver_domain": ("0",),
    "dtdev": ([],),
    "e820_host": ("0",),
    "hap": ("1",),
    "localtime": ("0",),
    "max_grant_version": ("1", "2"),
    "nestedhvm": ("0",),
    "nographic": ("0", "1"),
    "nomigrate": ("0", "1"),
    "nx": ("1",),
    "oos": ("0", "1"),
    "p9": ([],),
    "pae": ("1",),
    "pci": ([],),
    "pool": ("Pool-0",),
    "pvshim": ("0",),
    "rtc_timeoffset": ("0",),
    "sdl": ("0",),
    "usbctrl": ([],),
    "usbdev": ([],),
    "vfb": ([],),
    "vnc": ("0",),
    "vtpm": ([],),
}
"""Keys that may say what is so anyway, and nothing else."""

_LATER = "is not supported"
_HVM = "is for HVM guests, which need a device model; only PVH guests are supported"
_PV = "is for PV guests; only PVH guests are supported"
_UUID = "cannot be chosen: the daemon knows its domains by theirs"
_ARM = "is for ARM"

REFUSED: dict[str, str] = {
    key: reason
    for keys, reason in (
        (
            "cpus_soft cpuid device_tree extratime hvm_pirq iomem ioports irqs "
            "init_seclabel latency llc_colors max_event_channels max_grant_frames max_maptrack_frames msr_relaxed "
            "on_soft_reset on_watchdog passthrough pci_msitranslate pci_permissive pci_power_mgmt pci_seize period "
            "pvcalls rdm seclabel slice tsc_mode vdispl vif2 vkb vkb_device vmtrace_buf_kb vnuma vpmu vsnd "
            "xend_suspend_evtchn_compat xenstore_feature_mask xenstore_quota",
            _LATER,
        ),
        ("uuid", _UUID),
        (
            "bootloader_args bootloader_restrict bootloader_user pvshim_cmdline pvshim_extra pvshim_path",
            _PV,
        ),
        ("gic_version nr_spis tee sve virtio vuart trap_unmapped_accesses", _ARM),
        (
            "acpi_firmware acpi_laptop_slate acpi_s3 acpi_s4 altp2m altp2mhvm bios bios_path_override boot "
            "device_model device_model_args device_model_args_hvm device_model_args_pv device_model_override "
            "device_model_stubdomain_override device_model_stubdomain_seclabel device_model_user device_model_version "
            "display firmware firmware_override gfx_passthru hdtype hpet keymap mca_caps mmio_hole ms_vm_genid opengl "
            "rdm_mem_boundary serial shadow_memory smbios smbios_firmware soundhw spice spice_clipboard_sharing "
            "spice_image_compression spice_streaming_video spiceagent_mouse spicedisable_ticketing spicehost "
            "spicepasswd spiceport spicetls_port spiceusbredirection spicevdagent stdvga stubdomain_cmdline "
            "stubdomain_kernel stubdomain_memory stubdomain_ramdisk timer_mode usb usbdevice usbversion vendor_device "
            "vga videoram viridian vncdisplay vnclisten vncpasswd vncunused vncviewer vpt_align xauthority "
            "xen_platform_pci",
            _HVM,
        ),
    )
    for key in keys.split()
}
"""Keys of xl's that no request has a word for, and why."""
