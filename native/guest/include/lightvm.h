/*
 * The contract between LightVM and a guest, and a small library to use it. Needs no other header and no Xen headers.
 * docs/device-page.md explains the pages. Everything is little-endian.
 */
#ifndef LIGHTVM_H
#define LIGHTVM_H

#include <stddef.h>
#include <stdint.h>

/* Device page: read-only. Its address is that of the first boot module. */
#define LIGHTVM_DEVICE_MAGIC 0x444d564cu
#define LIGHTVM_DEVICE_VERSION 1u

/* By which instruction Xen is called; 0: by the page that Xen fills. */
#define LIGHTVM_HYPERCALL_VMCALL 1u
#define LIGHTVM_HYPERCALL_VMMCALL 2u

struct lightvm_device_page {
    uint32_t magic;
    uint16_t version;
    uint16_t header_size;
    uint32_t nr_entries;
    uint32_t entry_size;
    uint8_t uuid[16];
    uint64_t memory_kib;
    uint32_t vcpus;
    uint32_t metadata_gfn;
    uint32_t metadata_size;
    uint32_t first_free_ref;
    uint32_t shared_info_gfn;
    uint32_t grant_table_gfn;
    char name[64];
    uint32_t hypercall; /* LIGHTVM_HYPERCALL_* */
    uint32_t reserved2[31];
};

enum lightvm_entry_type {
    LIGHTVM_ENTRY_NONE = 0,
    LIGHTVM_ENTRY_CONSOLE = 1,
    LIGHTVM_ENTRY_CONTROL = 2,
    LIGHTVM_ENTRY_VIF = 3,
    LIGHTVM_ENTRY_VBD = 4,
};

struct lightvm_device_entry {
    uint32_t type;
    uint32_t index;
    uint32_t evtchn;
    uint32_t gfn;
    uint32_t reserved[28];
};

#define LIGHTVM_VIFS_MAX 8u

/* How to set a vif up; what is zero, the guest may find out by itself. Addresses in network order. */
struct lightvm_vif_config {
    uint8_t mac[6];
    uint16_t mtu;
    uint8_t ipv4[4];
    uint8_t ipv4_gateway[4];
    uint8_t ipv4_dns[2][4];
    uint8_t ipv4_prefix;
    uint8_t ipv6_prefix;
    uint8_t reserved[6];
    uint8_t ipv6[16];
    uint8_t ipv6_gateway[16];
};

struct lightvm_vif_entry {
    uint32_t type;
    uint32_t index;
    uint32_t evtchn;
    uint32_t tx_gfn;
    uint32_t rx_gfn;
    uint32_t tx_ref;
    uint32_t rx_ref;
    uint32_t reserved1;
    struct lightvm_vif_config config;
    uint32_t reserved2[8];
};

#define LIGHTVM_VBDS_MAX 8u

/* A disk. Its sectors have 512 bytes, whatever sector_size says; that is what accesses are best aligned to. */
struct lightvm_vbd_config {
    uint64_t sectors;
    uint32_t sector_size;
    uint32_t flags;
};
#define LIGHTVM_VBD_READ_ONLY 1u
#define LIGHTVM_VBD_FLUSH 2u
#define LIGHTVM_VBD_DISCARD 4u

struct lightvm_vbd_entry {
    uint32_t type;
    uint32_t index;
    uint32_t evtchn;
    uint32_t gfn;
    uint32_t ref;
    uint32_t reserved1;
    struct lightvm_vbd_config config;
    uint32_t reserved2[22];
};

/* Control page: the guest's word to the toolstack. Notify its event channel after each change of state. */
#define LIGHTVM_CONTROL_MAGIC 0x434d564cu

struct lightvm_control_page {
    uint32_t magic;
    uint32_t version;
    uint32_t ready;
    uint32_t exiting;
    uint32_t exit_reason;
    uint32_t exit_status;
    uint32_t heartbeat;
    uint32_t request;
    uint32_t acknowledged;
    uint32_t watched;
    uint32_t reserved[54];
};

/* What the toolstack may ask for, in the low bits of `request`. */
enum lightvm_request_code {
    LIGHTVM_REQUEST_POWEROFF = 1,
    LIGHTVM_REQUEST_REBOOT = 2,
    LIGHTVM_REQUEST_SUSPEND = 3,
};
#define LIGHTVM_REQUEST_MASK 0xffu

struct lightvm_console_ring {
    uint8_t in[1024];
    uint8_t out[2048];
    uint32_t in_cons, in_prod;
    uint32_t out_cons, out_prod;
};

/* How a guest ends: Xen's shutdown codes (public/sched.h). */
enum lightvm_exit_reason {
    LIGHTVM_EXIT_POWEROFF = 0,
    LIGHTVM_EXIT_REBOOT = 1,
    LIGHTVM_EXIT_SUSPEND = 2,
    LIGHTVM_EXIT_CRASH = 3,
};

/* Set before main is called; NULL under a toolstack that gives no device page. */
extern const struct lightvm_device_page *lightvm_device_page;
extern struct lightvm_control_page *lightvm_control;
extern struct lightvm_console_ring *lightvm_console;

/*
 * The guest's program is a main, as C has it: `int main(void)` or `int main(int argc, char **argv)`. What it returns becomes
 * its exit status. argv[0] is the domain's name, the others are the words of the command line, at most 64 of them: blanks
 * separate words, double quotes keep blanks together.
 */

/* What the creator of the domain gave along, up to a page of bytes; NULL and 0 where there is nothing. */
const char *lightvm_metadata(size_t *ret_size);

/* Say that the guest is ready for use. */
void lightvm_ready(void);
/* Report reason and status, and stop. */
_Noreturn void lightvm_exit(enum lightvm_exit_reason reason, int status);
/* Stop without a report, as a guest does that knows nothing of the control page. */
_Noreturn void lightvm_shutdown(enum lightvm_exit_reason reason);
/* Sleep until the toolstack wants the guest to end, and obey. */
_Noreturn void lightvm_sleep(void);
/* Sleep for ever, deaf to everything. */
_Noreturn void lightvm_block(void);

/* What the toolstack asks for and has not been acknowledged: LIGHTVM_REQUEST_*, or 0. An event of the control port tells. */
uint32_t lightvm_request(void);
void lightvm_acknowledge(void);
/* Where something is asked for: acknowledge it, and end with that reason. For guests with nothing to put in order. */
void lightvm_obey(void);
uint32_t lightvm_control_port(void);
/* A sign of life, for `lightvm info`. */
void lightvm_beat(void);
/* Tell the other side of an event channel. */
void lightvm_notify(uint32_t port);

/* Write to the console; sleeps while the ring is full. */
void lightvm_write(const char *bytes, size_t n);
void lightvm_print(const char *text);
/* How much can be written without sleeping. */
size_t lightvm_console_room(void);
/* Take what has come in on the console, at most n bytes; returns how many, 0 where there is nothing. */
size_t lightvm_read(char *bytes, size_t n);
/* The port of the console's events: something came in, or there is room. */
uint32_t lightvm_console_port(void);
/* Notify a channel by itself. */
void lightvm_console_kick(void);
void lightvm_control_kick(void);

/* Clear an event before looking at what it announces. */
void lightvm_clear_event(uint32_t port);
/* Sleep until an event is pending on one of at most 16 ports, or until a moment of lightvm_now_ns (0: for ever). */
void lightvm_wait_events(const uint32_t *ports, uint32_t n, uint64_t until_ns);

/*
 * Events by interrupt instead: call `handle` for events of a port, and sleep until there was an interrupt. Handlers are
 * called in lightvm_halt and nowhere else, so they share what they like with the rest of the guest.
 */
typedef void lightvm_handler(void *data);
void lightvm_on_event(uint32_t port, lightvm_handler *handle, void *data);
void lightvm_halt(void);

/* Time since the host started, and since the epoch. */
uint64_t lightvm_now_ns(void);
uint32_t lightvm_now_ms(void);
uint64_t lightvm_wall_seconds(void);
/* The quotient must fit: what libgcc would do, which is not linked. */
uint64_t lightvm_divide(uint64_t n, uint32_t by);

/* Pages beyond the image, handed out once, or NULL; their content is not defined. */
void *lightvm_pages(uint32_t n);
uint32_t lightvm_pages_left(void);
/* Let a domain use a page, or n pages in a row; returns the first of so many references in a row, or 0 where there is no room. */
uint32_t lightvm_grant(uint16_t domid, void *page);
uint32_t lightvm_grant_pages(uint16_t domid, void *pages, uint32_t n);

/* The entry of a device in the device page, or NULL. */
const void *lightvm_device(enum lightvm_entry_type type, uint32_t index);

/* Network devices: frames as they are on the wire, checksums and all. */
struct lightvm_vif;
/* Start with vif `index`; NULL where there is none, or no memory. The back-end learns of it by the first flush. */
struct lightvm_vif *lightvm_vif_open(uint32_t index);
const struct lightvm_vif_config *lightvm_vif_config(const struct lightvm_vif *vif);
uint32_t lightvm_vif_port(const struct lightvm_vif *vif);
/* A page to write a frame into, or NULL while all are on their way; then send so many bytes of it. */
void *lightvm_vif_tx_buffer(struct lightvm_vif *vif);
void lightvm_vif_send(struct lightvm_vif *vif, uint32_t length);
/* The next frame that has come, or NULL; release it before the next. */
const void *lightvm_vif_receive(struct lightvm_vif *vif, uint32_t *ret_length);
void lightvm_vif_release(struct lightvm_vif *vif);
/* Tell the back-end what was sent and released. */
void lightvm_vif_flush(struct lightvm_vif *vif);
/*
 * Before sleeping: flush, and have an event for the next frame, and for the next free buffer where there is none. Returns 0
 * where a frame has come meanwhile.
 */
int lightvm_vif_idle(struct lightvm_vif *vif);

/*
 * Disks. Each call returns when all of it is done: 0, or one of the errors below. What was written is durable after the
 * next flush.
 */
enum { LIGHTVM_VBD_FAILED = -1, LIGHTVM_VBD_OUT_OF_RANGE = -2, LIGHTVM_VBD_IS_READ_ONLY = -3 };
struct lightvm_vbd;
/* Start with vbd `index`; NULL where there is none, or no memory. */
struct lightvm_vbd *lightvm_vbd_open(uint32_t index);
const struct lightvm_vbd_config *lightvm_vbd_config(const struct lightvm_vbd *vbd);
int lightvm_vbd_read(struct lightvm_vbd *vbd, uint64_t sector, void *bytes, uint32_t n);
int lightvm_vbd_write(struct lightvm_vbd *vbd, uint64_t sector, const void *bytes, uint32_t n);
/* Without a look at range and flags: the back-end has to refuse what must not be. */
int lightvm_vbd_write_anyway(struct lightvm_vbd *vbd, uint64_t sector, const void *bytes,
                             uint32_t n);
int lightvm_vbd_flush(struct lightvm_vbd *vbd);
/* Say that the content of these sectors is of no use any more; may fail where the host cannot use that. */
int lightvm_vbd_discard(struct lightvm_vbd *vbd, uint64_t sector, uint64_t n);

/* Value of the first argument `key=value`, or NULL; `key` ends in '='. */
const char *lightvm_option(char **argv, const char *key);
/* Whether `word` is among the arguments. */
int lightvm_word(char **argv, const char *word);
/* Decimal digits with a minus sign or none, up to the first other character. */
int lightvm_number(const char *text);

#endif
