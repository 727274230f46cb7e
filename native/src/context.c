/* The first context of the boot vCPU: 32-bit flat protected mode without paging, at the trampoline. */
#include "engine.h"

#include <errno.h>
#include <string.h>

#include <xen/xen.h>
#include <xen/hvm/save.h>

#define BOOT_PADDR (LVM_BOOT_GFN * LVM_PAGE_SIZE)
#define CR0_PE_ET 0x11u
#define LIMIT_4G 0xffffffffu
#define CODE_32 0xc9bu /* present, ring 0, accessed code; 4 KiB granularity, 32-bit */
#define DATA_32 0xc93u
#define TSS_32 0x8bu

#define MTRR_WRITE_BACK 6u
#define MTRR_ENABLED (1u << 11)

struct first_context {
    struct hvm_save_descriptor header_descriptor;
    HVM_SAVE_TYPE(HEADER) header;
    struct hvm_save_descriptor cpu_descriptor;
    HVM_SAVE_TYPE(CPU) cpu;
    struct hvm_save_descriptor end_descriptor;
    HVM_SAVE_TYPE(END) end;
};

struct mtrr_context {
    struct hvm_save_descriptor header_descriptor;
    HVM_SAVE_TYPE(HEADER) header;
    struct hvm_save_descriptor mtrr_descriptor;
    HVM_SAVE_TYPE(MTRR) mtrr;
    struct hvm_save_descriptor end_descriptor;
    HVM_SAVE_TYPE(END) end;
};

#define HEADER_BYTES (sizeof(struct hvm_save_descriptor) + HVM_SAVE_LENGTH(HEADER))

/*
 * A context must start with the header that this hypervisor writes. It is read once, from the first domain, and is
 * the same for all. Two threads may both do so: they write the same bytes, and the size last.
 */
static int read_header(struct lvm_xen *xen, uint32_t domid)
{
    struct abi_domctl op = {.cmd = ABI_DOMCTL_GETHVMCONTEXT, .domain = (uint16_t)domid};
    int rc = lvm_domctl(xen, &op); /* without a buffer: asks for the size */
    if (rc) {
        return lvm_fail("gethvmcontext", rc);
    }
    uint32_t size = op.u.hvmcontext.size;
    if (size < HEADER_BYTES || size > (1u << 24) || HEADER_BYTES > sizeof(xen->context_header)) {
        return lvm_fail("gethvmcontext", -EPROTO);
    }
    uint8_t *buffer = xencall_alloc_buffer(xen->call, size);
    if (!buffer) {
        return lvm_fail("gethvmcontext", -ENOMEM);
    }
    op.u.hvmcontext.size = size;
    op.u.hvmcontext.buffer = (uintptr_t)buffer;
    rc = lvm_domctl(xen, &op);
    if (!rc) {
        memcpy(xen->context_header, buffer, HEADER_BYTES);
        __atomic_store_n(&xen->context_header_size, HEADER_BYTES, __ATOMIC_RELEASE);
    }
    xencall_free_buffer(xen->call, buffer);
    return rc ? lvm_fail("gethvmcontext", rc) : 0;
}

static void fill_cpu(HVM_SAVE_TYPE(CPU) * cpu)
{
    cpu->cs_limit = cpu->ds_limit = cpu->es_limit = cpu->ss_limit = LIMIT_4G;
    cpu->cs_arbytes = CODE_32;
    cpu->ds_arbytes = cpu->es_arbytes = cpu->ss_arbytes = DATA_32;
    cpu->tr_limit = 0x67;
    cpu->tr_arbytes = TSS_32;
    cpu->cr0 = CR0_PE_ET;
    cpu->rip = BOOT_PADDR + LVM_BOOT_TRAMPOLINE;
    cpu->rbx = BOOT_PADDR + LVM_BOOT_START_INFO; /* PVH: physical address of the start info */
    cpu->rflags = 2;
    cpu->dr6 = 0xffff0ff0;
    cpu->dr7 = 0x400;
}

static int set_context(struct lvm_domain *domain, void *context, uint32_t size)
{
    struct abi_domctl op = {.cmd = ABI_DOMCTL_SETHVMCONTEXT, .domain = (uint16_t)domain->domid};
    op.u.hvmcontext.size = size;
    op.u.hvmcontext.buffer = (uintptr_t)context;
    int rc = lvm_domctl(domain->xen, &op);
    return rc ? lvm_fail("sethvmcontext", rc) : 0;
}

/* What Xen's own MTRRs are after reset, but enabled, with write-back as the type of all memory. */
static void fill_mtrr(HVM_SAVE_TYPE(MTRR) * mtrr)
{
    mtrr->msr_pat_cr = 0x0007040600070406ull;
    mtrr->msr_mtrr_cap = 0x508; /* write-combining, fixed ranges, eight variable ones */
    mtrr->msr_mtrr_def_type = MTRR_ENABLED | MTRR_WRITE_BACK;
}

static int set_mtrrs(struct lvm_domain *domain, uint32_t vcpus)
{
    struct mtrr_context *context = xencall_alloc_buffer(domain->xen->call, sizeof(*context));
    if (!context) {
        return lvm_fail("sethvmcontext", -ENOMEM);
    }
    memset(context, 0, sizeof(*context));
    memcpy(context, domain->xen->context_header, HEADER_BYTES);
    context->mtrr_descriptor.typecode = HVM_SAVE_CODE(MTRR);
    context->mtrr_descriptor.length = HVM_SAVE_LENGTH(MTRR);
    fill_mtrr(&context->mtrr);
    context->end_descriptor.typecode = HVM_SAVE_CODE(END);
    context->end_descriptor.length = HVM_SAVE_LENGTH(END);
    int rc = 0;
    for (uint32_t vcpu = 0; !rc && vcpu < vcpus; vcpu++) {
        context->mtrr_descriptor.instance = (uint16_t)vcpu;
        rc = set_context(domain, context, sizeof(*context));
    }
    xencall_free_buffer(domain->xen->call, context);
    return rc;
}

int lvm_set_first_context(struct lvm_domain *domain, const struct lvm_shape *shape)
{
    struct lvm_xen *xen = domain->xen;
    if (!__atomic_load_n(&xen->context_header_size, __ATOMIC_ACQUIRE)) {
        int rc = read_header(xen, domain->domid);
        if (rc) {
            return rc;
        }
    }
    struct first_context *context = xencall_alloc_buffer(xen->call, sizeof(*context));
    if (!context) {
        return lvm_fail("sethvmcontext", -ENOMEM);
    }
    memset(context, 0, sizeof(*context));
    memcpy(context, xen->context_header, HEADER_BYTES);
    context->cpu_descriptor.typecode = HVM_SAVE_CODE(CPU);
    context->cpu_descriptor.length = HVM_SAVE_LENGTH(CPU);
    fill_cpu(&context->cpu);
    context->end_descriptor.typecode = HVM_SAVE_CODE(END);
    context->end_descriptor.length = HVM_SAVE_LENGTH(END);

    /* This comes last: it takes all vCPUs down that it says nothing of. */
    int rc = shape->xenstore ? set_mtrrs(domain, shape->vcpus) : 0;
    if (!rc) {
        rc = set_context(domain, context, sizeof(*context));
    }
    xencall_free_buffer(xen->call, context);
    return rc;
}
