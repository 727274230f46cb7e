/*
 * The engine: everything LightVM asks of Xen, in C.
 *
 * Functions return 0 or a count on success and -errno on failure; outputs (`ret_`) are set only on success.
 * An engine (struct lvm_xen) may be used by several threads at once, except where a function says "owner thread":
 * those are for the one thread that runs the event loop. A domain (struct lvm_domain) is used by one thread at a
 * time. Handles are dead after fork.
 */
#ifndef LVM_H
#define LVM_H

#include <stddef.h>
#include <stdint.h>

#include "lvm_layout.h"

/* Opened handles: hypercalls, foreign memory, event channels, device model. */
struct lvm_xen;

/* A domain that is kept mapped: a shell, or a running guest with its console and control page. */
struct lvm_domain;

struct lvm_versions {
    uint32_t domctl; /* interface version as probed */
    uint32_t sysctl;
    uint32_t xen_major;
    uint32_t xen_minor;
    char xen_extra[16];
};

/* When the last of these calls came to that, in nanoseconds of CLOCK_MONOTONIC. Owner thread. */
struct lvm_moments {
    int64_t loaded;  /* lvm_load: all is in place */
    int64_t asked;   /* lvm_unpause: before the hypercall */
    int64_t running; /* lvm_unpause: after it */
    int64_t heard;   /* lvm_control_spin: its last look, at the guest's word or at the clock */
};

struct lvm_host {
    uint64_t total_kib;
    uint64_t free_kib; /* allocatable now; pages still to be scrubbed are not counted */
    uint64_t scrub_kib;
    uint32_t cpus;
    uint32_t hap; /* 1 where hardware assisted paging is available */
};

/* What a shell is made of. Everything else is bound when it is finished. */
struct lvm_shape {
    uint64_t memory_kib; /* guest RAM, a multiple of 4, at least 1024 */
    uint64_t window_kib; /* RAM from address 0 kept mapped for the image copy, at most memory_kib */
    uint64_t pool_kib;   /* HAP pool, a multiple of 4 */
    uint32_t vcpus;
    uint32_t max_evtchn; /* highest event channel port */
    uint32_t max_grant_frames;
    uint32_t cpupool; /* number of the cpupool to run in; 0 is Pool-0 */
    uint32_t nr_vifs; /* at most LVM_VIFS_MAX */
    uint32_t nr_vbds; /* at most LVM_VBDS_MAX */
    uint32_t
        xenstore; /* 1: for a guest that is not ours: XenStore, ACPI tables, MTRRs; neither vifs nor vbds */
    uint8_t uuid[16]; /* Xen's domain handle: by it a domain is known to be ours */
};

/* Bytes to be placed in guest memory: `filesz` bytes of `data`, then zeros up to `memsz`. */
struct lvm_segment {
    uint64_t paddr;
    uint64_t memsz;
    uint64_t filesz;
    const uint8_t *data;
};

/* What is late-bound: all that finish copies into a shell. */
struct lvm_boot {
    uint64_t entry; /* PVH entry point, below 4 GiB */
    uint32_t nr_segments;
    uint32_t nr_modules; /* how many of the last segments are boot modules */
    const struct lvm_segment *segments;
    const char *cmdline;           /* need not end in NUL */
    uint64_t cmdline_len;          /* less than LVM_CMDLINE_SIZE */
    uint32_t announce_device_page; /* 1: the device page is the first module */
    uint32_t watched;              /* 1: lvm_control_spin follows, so that ready needs no event */
    const char *name;              /* need not end in NUL */
    uint64_t name_len;             /* less than LVM_NAME_SIZE */
    const uint8_t *metadata;
    uint64_t metadata_len; /* at most LVM_PAGE_SIZE */
    uint64_t nr_vifs;      /* at most as many as the shell has */
    const struct lvm_vif_config *vifs;
    uint64_t nr_vbds;
    const struct lvm_vbd_config *vbds;
};

/* How the vCPUs of a domain are to be scheduled. */
struct lvm_scheduling {
    const uint8_t *bitmaps; /* one after the other, of each vCPU: the processors where it may run */
    uint32_t bitmap_bytes;
    uint32_t nr_vcpus; /* vCPUs that have a bitmap, from the first on; 0: they stay as they are */
    uint16_t weight;   /* relative to other domains; 0: as it is */
    uint16_t cap;      /* percent of one processor, 0: no limit; or LVM_CAP_AS_IS */
};
#define LVM_CAP_AS_IS 0xffffu

struct lvm_domain_info {
    uint32_t domid;
    uint32_t flags; /* LVM_DOMAIN_* */
    uint32_t shutdown_code;
    uint32_t vcpus;
    uint64_t memory_kib;
    uint64_t cpu_ns;
    uint8_t uuid[16];
};
#define LVM_DOMAIN_DYING 1u
#define LVM_DOMAIN_HVM 2u
#define LVM_DOMAIN_SHUTDOWN 4u
#define LVM_DOMAIN_PAUSED 8u

/* A domain as it should be. */
struct lvm_watched {
    uint32_t domid;
    uint32_t paused;
    uint8_t uuid[16];
};

/* What a domain's guest has said in its control page; each word was read once. */
struct lvm_control {
    uint32_t ready;
    uint32_t exiting;
    uint32_t exit_reason;
    uint32_t exit_status;
    uint32_t heartbeat;
    uint32_t acknowledged;
};

/*
 * Open everything and probe the interface versions.
 * -ENOSYS: no Xen, or not a control domain. -EPROTONOSUPPORT: an interface version that this code does not know.
 */
int lvm_open(struct lvm_xen **ret_xen);
void lvm_close(struct lvm_xen *xen);
const struct lvm_moments *lvm_moments(const struct lvm_xen *xen);
void lvm_get_versions(const struct lvm_xen *xen, struct lvm_versions *ret_versions);
/* The name of the step at which the last failed call of this thread stopped; a constant string, never NULL. */
const char *lvm_failed_step(void);
int lvm_get_host(struct lvm_xen *xen, struct lvm_host *ret_host);

/*
 * Make a shell: a paused PVH domain with memory, special pages, event channels and initial vCPU context.
 * All or nothing. -ENOMEM: Xen has no room. -EINVAL: shape out of range.
 */
int lvm_prepare(struct lvm_xen *xen, const struct lvm_shape *shape, struct lvm_domain **ret_domain);

/*
 * Take hold again of a domain that an earlier process made: map its special pages, bind its channels.
 * Ports are those lvm_console_port and lvm_control_port said then. The domain has no window.
 */
int lvm_adopt(struct lvm_xen *xen, uint32_t domid, uint32_t console_port, uint32_t control_port,
              struct lvm_domain **ret_domain);

/*
 * Copy image, modules, command line and entry point into a shell. No hypercall where all segments lie in the window.
 * -ERANGE: a segment or entry lies outside the low RAM or on the boot page. -E2BIG: command line or module list too
 * long. A shell whose load failed is to be destroyed.
 */
int lvm_load(struct lvm_domain *domain, const struct lvm_boot *boot);

/*
 * Say where and how much the vCPUs may run. A hypercall for each vCPU and one or two more.
 * -EINVAL: no such processor. -EOPNOTSUPP: the host's scheduler knows no weight and cap.
 */
int lvm_schedule(struct lvm_domain *domain, const struct lvm_scheduling *scheduling);

/* Let the vCPUs run. One hypercall. Owner thread. */
int lvm_unpause(struct lvm_domain *domain);
/* Stop the vCPUs. Returns when none runs. Owner thread. */
int lvm_pause(struct lvm_domain *domain);

/* Unmap the window, when the image is in. May be called more than once. */
void lvm_close_window(struct lvm_domain *domain);
/* Unmap everything, unbind the channels, free the handle. The domain itself stays. */
void lvm_release(struct lvm_domain *domain);

/* Destroy a domain. -ESRCH: there is none. May take long; release the handle before, or its memory stays. */
int lvm_destroy(struct lvm_xen *xen, uint32_t domid);

uint32_t lvm_domid(const struct lvm_domain *domain);
/* Ports in the guest's numbering, for adoption; and in ours, as lvm_take_events reports them. */
uint32_t lvm_console_port(const struct lvm_domain *domain);
uint32_t lvm_control_port(const struct lvm_domain *domain);
/* The guest's port of its vif or vbd `i`, for the back-end to bind; 0 where it has none, or was adopted. */
uint32_t lvm_vif_port(const struct lvm_domain *domain, uint32_t i);
uint32_t lvm_vbd_port(const struct lvm_domain *domain, uint32_t i);
/* The guest's port of its connection to xenstored; 0 where it has none, or was adopted. */
uint32_t lvm_store_port(const struct lvm_domain *domain);
uint32_t lvm_console_local(const struct lvm_domain *domain);
uint32_t lvm_control_local(const struct lvm_domain *domain);

/* Up to `max` domains with a domid of at least `first`, in order. Returns how many. */
int lvm_list(struct lvm_xen *xen, uint32_t first, struct lvm_domain_info *ret_infos, uint32_t max);
/*
 * Of the `n` watched domains, which it puts in order of domid, write to ret_changed those that have ended: gone, dying,
 * or shut down; and those that are paused, and should not be, or the other way round. Gone ones have LVM_DOMAIN_DYING
 * and shutdown_code LVM_CODE_GONE. Returns how many.
 */
int lvm_find_changed(struct lvm_xen *xen, struct lvm_watched *watched, uint32_t n,
                     struct lvm_domain_info *ret_changed);
#define LVM_CODE_GONE 0xffffffffu

/* The descriptor that is readable when an event is pending. It is non-blocking. */
int lvm_events_fd(const struct lvm_xen *xen);
/* Take up to `max` pending local ports. They stay masked until unmasked below. Owner thread. */
int lvm_take_events(struct lvm_xen *xen, uint32_t *ret_ports, uint32_t max);
int lvm_unmask(struct lvm_xen *xen, uint32_t local_port);

/*
 * Move console output into `buffer` (at least LVM_CONSOLE_OUT_SIZE bytes) and tell the guest. Returns the count.
 * -EPROTO: the guest's ring indices are impossible; what was there is skipped.
 */
int lvm_console_take(struct lvm_domain *domain, uint8_t *buffer);
/*
 * Put up to `n` bytes into the ring of console input and tell the guest. Returns how many found room; -EPROTO: the guest's
 * ring index is impossible, and nothing was put.
 */
int lvm_console_put(struct lvm_domain *domain, const uint8_t *bytes, uint32_t n);
void lvm_control_read(const struct lvm_domain *domain, struct lvm_control *ret_control);
/* Ask the guest for something: `request` is LVM_REQUEST_* with higher bits that no request to it had before. */
int lvm_control_request(struct lvm_domain *domain, uint32_t request);
/*
 * Look at the control page until the guest is ready or exiting, at most `microseconds`. Returns 1, or 0 when the time
 * was up: from then on ready comes with an event again. A guest that is quick is heard here sooner than through its
 * event, and without a system call.
 */
int lvm_control_spin(struct lvm_domain *domain, uint32_t microseconds);

/*
 * Bytes of JSON that are ready but for some moments. Blanks are offsets into `data`, 0 where there is none: of times of
 * day, in seconds with six decimals, and of durations in microseconds, with leading blanks.
 */
struct lvm_form {
    uint8_t *data;
    uint32_t size;
    uint32_t created, ready;
    uint32_t load_us, journal_us, unpause_us, ready_us, total_us;
};
#define LVM_TIME_WIDTH 17u
#define LVM_DURATION_WIDTH 10u

/* A create that is ready but for somebody who asks for it: a shell, and all that is to be made of it and said of that. */
struct lvm_ticket {
    struct lvm_domain *domain;
    struct lvm_boot boot; /* `watched` */
    const char *path;     /* where the image was read, and what file that was */
    uint64_t device, inode;
    int64_t size, modified_ns;
    struct lvm_form record; /* for the journal */
    struct lvm_form reply;
};

/* What became of a ticket; moments are in nanoseconds of CLOCK_MONOTONIC. */
struct lvm_outcome {
    int32_t stage;       /* LVM_SPOILT, LVM_RUNNING or LVM_ANSWERED */
    int32_t error;       /* LVM_SPOILT: why */
    uint32_t journalled; /* so many bytes of record were written */
    uint32_t exiting;    /* LVM_ANSWERED: whether it has said that it ends, too */
    int64_t begun;
    int64_t loaded, asked, running, heard; /* as in lvm_moments */
};

/*
 * The words of a call without its NUL, and tickets for those who say them, in the order in which they are to be taken.
 * Several may have one line of tickets: then they have the same number, below LVM_LINES.
 */
struct lvm_series {
    const uint8_t *call;
    uint64_t size;
    const struct lvm_ticket *const *tickets;
    uint32_t nr;
    uint32_t line;
};
#define LVM_LINES 16

struct lvm_desk {
    int32_t epoll; /* watches everybody whom the owner thread has to hear; data.fd says who it is */
    int32_t client;  /* its next call is waited for; a non-blocking socket */
    int32_t wait_ms; /* for it, and then for a guest that is not ready within `spin_us` */
    uint32_t spin_us;
    int64_t offset_ns; /* from CLOCK_MONOTONIC to the time of day */
    uint8_t *journal;  /* where the next record goes; room for that of each ticket */
    uint8_t *buffer;   /* what the client says */
    uint32_t buffer_size;
    uint32_t nr_series;
    const struct lvm_series *series;
    uint32_t taken[LVM_LINES]; /* so many of each line */
    /* What came of it. */
    uint32_t alone;              /* whether nobody else has, as far as was looked */
    int32_t received;            /* bytes in `buffer`, 0 where the client has gone, or -errno */
    uint32_t number, ticket;     /* from LVM_SPOILT on: of which series, and which of its tickets */
    int32_t sent;                /* LVM_ANSWERED: so many bytes of the reply, or -errno */
    uint32_t late;               /* LVM_ANSWERED: whether it was not ready within `spin_us` */
    int32_t next;                /* after lvm_answer: what the next call came to, or -1 */
    struct lvm_outcome outcome;  /* from LVM_SPOILT on */
    struct lvm_outcome answered; /* after lvm_answer: that of the create that it has looked at */
};

#define LVM_NOBODY 0   /* nobody has anything */
#define LVM_OTHERS 1   /* only somebody else has something */
#define LVM_SAID 2     /* the client says what there is no offer for */
#define LVM_SPOILT 3   /* its offer was taken, and failed: the shell is to be destroyed */
#define LVM_RUNNING 4  /* its domain runs, but is not ready yet; nothing was sent */
#define LVM_ANSWERED 5 /* its domain is ready, the reply was written */

/*
 * Wait for one client, at most `wait_ms`, and where it asks for what is on offer, begin that: load, journal, unpause.
 * Returns LVM_NOBODY to LVM_RUNNING. Owner thread.
 */
int lvm_attend(struct lvm_desk *desk);

/*
 * After LVM_RUNNING, with all as it was left but `journal`, and lines that may have become longer: look at the guest, and
 * reply. Whoever has something to do that needs no more than a guest's boot does it in between. Returns LVM_RUNNING or
 * LVM_ANSWERED. Owner thread.
 *
 * Where that was a reply in time and in whole, to one who was alone, there is another ticket in that line, and `journal`
 * is not NULL, then the next call is taken where it is there already, or else waited for as by lvm_attend, whose result is
 * in `next`. In a row of such calls nobody looks whether others have come.
 */
int lvm_answer(struct lvm_desk *desk);

/* One client of a crowd whose call was taken. */
struct lvm_served {
    int32_t client;
    uint32_t number, ticket;    /* of which series, and which of its tickets */
    int32_t sent;               /* LVM_ANSWERED: so many bytes of the reply, or -errno */
    struct lvm_outcome outcome; /* LVM_SPOILT: the call was read, and is not carried out */
};
#define LVM_CROWD_MAX 32

struct lvm_crowd {
    int32_t epoll; /* as in lvm_desk, and so are the next two */
    uint32_t spin_us;
    int64_t offset_ns;
    uint8_t *journal; /* where the records go, one behind the other; room for LVM_CROWD_MAX */
    uint8_t *buffer;  /* for what clients say */
    uint64_t buffer_size;
    const uint8_t
        *resting; /* by descriptor: 1 for a client of whom nothing was read that is not answered */
    const struct lvm_series *series;
    uint32_t nr_resting;
    uint32_t nr_series;
    /* What came of it. */
    uint32_t nr_served;
    struct lvm_served served[LVM_CROWD_MAX];
};

/*
 * Do for all clients at rest that have called what lvm_attend does for one: load, journal and unpause what they ask for,
 * up to the first that fails. Whoever says anything else is not read. Returns nr_served. Owner thread.
 */
uint32_t lvm_serve(struct lvm_crowd *crowd);

/* After lvm_serve, with all as that has left it: look at the guests, and reply. Owner thread. */
void lvm_answer_all(struct lvm_crowd *crowd);

/* Tickets of one image, for somebody who wants several domains. */
struct lvm_batch {
    uint8_t *journal; /* where the records go, one behind the other */
    int64_t offset_ns;
    uint32_t spin_us; /* for each guest, until one is late */
    uint32_t nr;
    const struct lvm_ticket *const *tickets;
    struct lvm_outcome *outcomes; /* what comes of each */
    uint32_t begun;               /* by lvm_begin_batch */
    uint8_t *joined;              /* one reply made of all of theirs, or NULL */
    const uint32_t *places;       /* where in it each of theirs would begin */
};

/*
 * Load, journal and unpause one after the other, up to the first that fails. Returns how many were begun; none where the
 * image is another file by now. Owner thread.
 */
uint32_t lvm_begin_batch(struct lvm_batch *batch);

/*
 * After lvm_begin_batch, with all as that has left it, but for `joined` and `places`: look at the guests; where LVM_MANY
 * or more were begun, after the event of the last of them, or so many times `spin_us`. The replies of those that are ready
 * (LVM_ANSWERED) are filled in where they are joined; nothing is sent. Returns how many are ready. Owner thread.
 */
#define LVM_MANY 8
uint32_t lvm_end_batch(struct lvm_batch *batch);

#endif
