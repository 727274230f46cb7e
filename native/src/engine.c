/* Opened handles, and the three ways to call the hypervisor. */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <xen/xen.h>
#include <xen/version.h>

static const uint32_t known_domctl[] = {ABI_DOMCTL_4_17, ABI_DOMCTL_4_18, ABI_DOMCTL_4_19,
                                        ABI_DOMCTL_4_22};
static const uint32_t known_sysctl[] = {ABI_SYSCTL_4_17, ABI_SYSCTL_4_21};

static _Thread_local const char *failed_step = "";

int lvm_fail(const char *step, int error)
{
    failed_step = step;
    return error;
}

const char *lvm_failed_step(void) { return failed_step; }

long lvm_hypercall(struct lvm_xen *xen, unsigned int number, unsigned long command, void *argument,
                   size_t size)
{
    void *buffer = xencall_alloc_buffer(xen->call, size);
    if (!buffer) {
        return -ENOMEM;
    }
    memcpy(buffer, argument, size);
    long rc = xencall2(xen->call, number, command, (uintptr_t)buffer);
    int error = errno;
    memcpy(argument, buffer, size);
    xencall_free_buffer(xen->call, buffer);
    return rc < 0 ? -error : rc;
}

static int control_call(struct lvm_xen *xen, unsigned int number, void *op, size_t size)
{
    void *buffer = xencall_alloc_buffer(xen->call, size);
    if (!buffer) {
        return -ENOMEM;
    }
    memcpy(buffer, op, size);
    int rc = xencall1(xen->call, number, (uintptr_t)buffer);
    int error = errno;
    memcpy(op, buffer, size);
    xencall_free_buffer(xen->call, buffer);
    return rc < 0 ? -error : 0;
}

int lvm_domctl(struct lvm_xen *xen, struct abi_domctl *op)
{
    op->interface_version = xen->versions.domctl;
    return control_call(xen, __HYPERVISOR_domctl, op, sizeof(*op));
}

int lvm_sysctl(struct lvm_xen *xen, struct abi_sysctl *op)
{
    op->interface_version = xen->versions.sysctl;
    return control_call(xen, __HYPERVISOR_sysctl, op, sizeof(*op));
}

void *lvm_map(struct lvm_xen *xen, uint32_t domid, uint64_t gfn, size_t n)
{
    xen_pfn_t *gfns = calloc(n, sizeof(*gfns));
    int *errors = calloc(n, sizeof(*errors));
    void *mapped = NULL;
    if (gfns && errors) {
        for (size_t i = 0; i < n; i++) {
            gfns[i] = gfn + i;
        }
        mapped = xenforeignmemory_map(xen->memory, domid, PROT_READ | PROT_WRITE, n, gfns, errors);
        for (size_t i = 0; mapped && i < n; i++) {
            if (errors[i]) {
                xenforeignmemory_unmap(xen->memory, mapped, n);
                errno = -errors[i];
                mapped = NULL;
            }
        }
    } else {
        errno = ENOMEM;
    }
    free(gfns);
    free(errors);
    return mapped;
}

/* A wrong interface version answers EACCES before anything else is looked at. */
static int probe_versions(struct lvm_xen *xen)
{
    int rc = -EPROTONOSUPPORT;
    for (size_t i = 0; i < sizeof(known_domctl) / sizeof(*known_domctl); i++) {
        struct abi_domctl op = {.cmd = ABI_DOMCTL_GETDOMAININFO, .domain = 0};
        xen->versions.domctl = known_domctl[i];
        rc = lvm_domctl(xen, &op);
        if (rc != -EACCES) {
            break;
        }
    }
    if (rc) {
        return lvm_fail("probe domctl version", rc == -EACCES ? -EPROTONOSUPPORT : rc);
    }
    for (size_t i = 0; i < sizeof(known_sysctl) / sizeof(*known_sysctl); i++) {
        struct abi_sysctl op = {.cmd = ABI_SYSCTL_PHYSINFO};
        xen->versions.sysctl = known_sysctl[i];
        rc = lvm_sysctl(xen, &op);
        if (rc != -EACCES) {
            break;
        }
    }
    if (rc) {
        return lvm_fail("probe sysctl version", rc == -EACCES ? -EPROTONOSUPPORT : rc);
    }
    long version = lvm_hypercall(xen, __HYPERVISOR_xen_version, XENVER_version, &(char){0}, 1);
    if (version < 0) {
        return lvm_fail("xen_version", (int)version);
    }
    xen->versions.xen_major = (uint32_t)version >> 16;
    xen->versions.xen_minor = (uint32_t)version & 0xffff;
    long extra = lvm_hypercall(xen, __HYPERVISOR_xen_version, XENVER_extraversion,
                               xen->versions.xen_extra, sizeof(xen->versions.xen_extra));
    if (extra < 0) {
        return lvm_fail("xen_version", (int)extra);
    }
    xen->versions.xen_extra[sizeof(xen->versions.xen_extra) - 1] = '\0';
    return 0;
}

int lvm_open(struct lvm_xen **ret_xen)
{
    struct lvm_xen *xen = calloc(1, sizeof(*xen));
    if (!xen) {
        return lvm_fail("open", -ENOMEM);
    }
    int rc = lvm_fail("open privcmd", -ENOSYS);
    xen->call = xencall_open(NULL, 0);
    if (!xen->call) {
        goto out;
    }
    xen->memory = xenforeignmemory_open(NULL, 0);
    xen->device_model = xendevicemodel_open(NULL, 0);
    xen->evtchn = xenevtchn_open(NULL, 0);
    if (!xen->memory || !xen->device_model || !xen->evtchn) {
        rc = lvm_fail("open handles", errno ? -errno : -ENOSYS);
        goto out;
    }
    int fd = xenevtchn_fd(xen->evtchn);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        rc = lvm_fail("open evtchn", -errno);
        goto out;
    }
    rc = probe_versions(xen);
    if (rc) {
        goto out;
    }
    xen->hot = xencall_alloc_buffer(xen->call, sizeof(*xen->hot));
    if (!xen->hot) {
        rc = lvm_fail("open", -ENOMEM);
        goto out;
    }
    *ret_xen = xen;
    return 0;
out:
    lvm_close(xen);
    return rc;
}

void lvm_close(struct lvm_xen *xen)
{
    if (xen->hot) {
        xencall_free_buffer(xen->call, xen->hot);
    }
    if (xen->evtchn) {
        xenevtchn_close(xen->evtchn);
    }
    if (xen->device_model) {
        xendevicemodel_close(xen->device_model);
    }
    if (xen->memory) {
        xenforeignmemory_close(xen->memory);
    }
    if (xen->call) {
        xencall_close(xen->call);
    }
    free(xen);
}

const struct lvm_moments *lvm_moments(const struct lvm_xen *xen) { return &xen->moments; }

void lvm_get_versions(const struct lvm_xen *xen, struct lvm_versions *ret_versions)
{
    *ret_versions = xen->versions;
}

int lvm_get_host(struct lvm_xen *xen, struct lvm_host *ret_host)
{
    struct abi_sysctl op = {.cmd = ABI_SYSCTL_PHYSINFO};
    int rc = lvm_sysctl(xen, &op);
    if (rc) {
        return lvm_fail("physinfo", rc);
    }
    const struct abi_physinfo *info = &op.u.physinfo;
    *ret_host = (struct lvm_host){
        .total_kib = info->total_pages * 4,
        .free_kib = info->free_pages * 4,
        .scrub_kib = info->scrub_pages * 4,
        .cpus = info->nr_cpus,
        .hap = (info->capabilities & ABI_PHYSCAP_HAP) != 0,
    };
    return 0;
}
