/* lvm list */
#include "look.h"
#include "output.h"
#include "words.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct lvm_option options[] = {
    LVM_SOCKET_OPTION,
    {.name = "-q", .value = LVM_FLAG},
    {.name = "--quiet", .value = LVM_FLAG},
    {.name = "--format", .value = LVM_CHOICE, .choices = {"table"}},
    {0},
};

static const struct {
    const char *title;
    bool right;
} columns[] = {
    {"NAME", false}, {"DOMID", true},   {"STATE", false}, {"MEM", true},
    {"VCPUS", true}, {"FLAVOR", false}, {"AGE", true},    {"IMAGE", false},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* A text of the reply, or one made here: a title, a quantity. */
struct cell {
    struct lvm_span text;
    char made[LVM_QUANTITY_BYTES];
};

static size_t cell_width(const struct cell *cell)
{
    return cell->text.at ? lvm_text_width(cell->text) : strlen(cell->made);
}

static void make_header(struct cell *cells)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        cells[i].text = (struct lvm_span){0};
        strcpy(cells[i].made, columns[i].title);
    }
}

static int make_row(const struct lvm_domain *domain, double now, struct cell *cells)
{
    const struct lvm_span texts[COLUMNS] = {[0] = domain->name,
                                            [2] = domain->state,
                                            [5] = domain->flavor,
                                            [7] = domain->image};
    for (size_t i = 0; i < COLUMNS; i++) {
        cells[i].text = texts[i];
    }
    lvm_format_number(domain->domid.value, cells[1].made);
    lvm_format_size(domain->memory_kib.value, cells[3].made);
    lvm_format_number(domain->vcpus.value, cells[4].made);
    return lvm_format_age(now - domain->created.value, cells[6].made);
}

static void print_row(struct lvm_output *output, const struct cell *cells, const size_t *widths)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        size_t blanks = widths[i] - cell_width(&cells[i]);
        lvm_put_blanks(output, (i > 0 ? 2 : 0) + (columns[i].right ? blanks : 0));
        if (cells[i].text.at) {
            lvm_put_text(output, cells[i].text);
        } else {
            lvm_put(output, cells[i].made);
        }
        lvm_put_blanks(output, columns[i].right ? 0 : blanks);
    }
    lvm_end_row(output);
}

static void widen(const struct cell *cells, size_t *widths)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        size_t width = cell_width(&cells[i]);
        widths[i] = width > widths[i] ? width : widths[i];
    }
}

/* Goes through the domains twice, since a column is as wide as the widest of all. */
static int print_table(struct lvm_output *output, struct lvm_span domains)
{
    struct lvm_domain domain;
    struct cell cells[COLUMNS];
    size_t widths[COLUMNS] = {0};
    struct timespec clock;
    clock_gettime(CLOCK_REALTIME, &clock);
    double now = (double)clock.tv_sec + (double)clock.tv_nsec / 1e9;

    make_header(cells);
    widen(cells, widths);
    struct lvm_items items = lvm_items(domains);
    while (lvm_next_item(&items, &lvm_domain_shape, &domain)) {
        if (make_row(&domain, now, cells)) {
            return LVM_HAND_OVER;
        }
        widen(cells, widths);
    }
    make_header(cells);
    print_row(output, cells, widths);
    items = lvm_items(domains);
    while (lvm_next_item(&items, &lvm_domain_shape, &domain)) {
        make_row(&domain, now, cells);
        print_row(output, cells, widths);
    }
    return lvm_flush(output);
}

static int print_names(struct lvm_output *output, struct lvm_span domains)
{
    struct lvm_items items = lvm_items(domains);
    for (struct lvm_domain domain; lvm_next_item(&items, &lvm_domain_shape, &domain);) {
        lvm_put_text(output, domain.name);
        lvm_end_line(output);
    }
    return lvm_flush(output);
}

int lvm_list(int argc, char **argv)
{
    struct lvm_words words;
    if (!lvm_read_words(options, argc, argv, &words) || words.arguments != 0) {
        return LVM_HAND_OVER;
    }
    struct lvm_connection connection = {.path = lvm_socket_path(&words)};
    struct lvm_call call;
    struct lvm_list_reply reply;
    lvm_begin_call(&call, "List", false);
    lvm_write(&call, "{\"all\":false}");
    int rc = lvm_look(&connection, &call, "List", &lvm_list_reply_shape, &reply);
    if (rc) {
        return rc;
    }
    struct lvm_output output = {.fd = STDOUT_FILENO};
    bool quiet = lvm_given(&words, "-q") || lvm_given(&words, "--quiet");
    return quiet ? print_names(&output, reply.list) : print_table(&output, reply.list);
}
