/* The web server's reader of requests: what it takes, what it refuses, and that nothing leads it out of its bytes. */
#include "harness.h"

#include "../guest/http/request.c"

static struct request request;

static enum outcome read_text(const char *text)
{
    return read_request(text, strlen(text), &request);
}

static int path_is(const char *path)
{
    return request.path_length == strlen(path) && memcmp(request.path, path, strlen(path)) == 0;
}

#define HOST "Host: a\r\n"

static void a_request_is_read(void)
{
    const char *text = "GET /a/b?c=d HTTP/1.1\r\n" HOST "Accept: */*\r\n\r\nGET";
    CHECK(read_text(text) == REQUEST_WHOLE);
    CHECK(request.method == METHOD_GET && path_is("/a/b") && request.keeps && !request.has_body);
    CHECK(request.length == strlen(text) - 3);
    CHECK(read_text("HEAD / HTTP/1.1\r\n" HOST "\r\n") == REQUEST_WHOLE);
    CHECK(request.method == METHOD_HEAD && path_is("/"));
    CHECK(read_text("get / HTTP/1.1\r\n" HOST "\r\n") == REQUEST_WHOLE);
    CHECK(request.method == METHOD_OTHER);
    CHECK(read_text("OPTIONS * HTTP/1.1\r\n" HOST "\r\n") == REQUEST_WHOLE);
}

static void a_request_to_a_proxy_has_a_path_too(void)
{
    CHECK(read_text("GET http://x:80/y HTTP/1.1\r\n" HOST "\r\n") == REQUEST_WHOLE);
    CHECK(path_is("/y"));
    CHECK(read_text("GET http://x HTTP/1.1\r\n" HOST "\r\n") == REQUEST_BAD);
}

static void generosity_has_bounds(void)
{
    CHECK(read_text("\r\n\nGET / HTTP/1.0\n\n") == REQUEST_WHOLE);
    CHECK(read_text("GET / HTTP/1.1\r\n" HOST " folded\r\n\r\n") == REQUEST_BAD);
    CHECK(read_text("GET / HTTP/1.1\r\nHost : a\r\n\r\n") == REQUEST_BAD);
    CHECK(read_text("GET / HTTP/1.1\r\n" HOST "a\rb: c\r\n\r\n") == REQUEST_BAD);
    CHECK(read_text("GET / HTTP/1.1\r\n" HOST "nothing\r\n\r\n") == REQUEST_BAD);
    CHECK(read_text("GET / HTTP/1.1\r\n" HOST ": c\r\n\r\n") == REQUEST_BAD);
}

static void a_bad_request_line_is_refused_at_once(void)
{
    CHECK(read_text("GET\r\n") == REQUEST_BAD);
    CHECK(read_text("GET /\r\n") == REQUEST_BAD);
    CHECK(read_text("GET  / HTTP/1.1\r\n") == REQUEST_BAD);
    CHECK(read_text("GET / HTTP/1.1 \r\n") == REQUEST_BAD);
    CHECK(read_text("GET / HTTP/2.0\r\n") == REQUEST_BAD);
    CHECK(read_text("GET x HTTP/1.1\r\n") == REQUEST_BAD);
    CHECK(read_text("GET * HTTP/1.1\r\n") == REQUEST_BAD);
    CHECK(read_text("G(T / HTTP/1.1\r\n") == REQUEST_BAD);
    CHECK(read_text(" / HTTP/1.1\r\n") == REQUEST_BAD);
    CHECK(read_text("\x16\x03\x01\n") == REQUEST_BAD);
    CHECK(read_request("GET /\0 HTTP/1.1\r\n", 17, &request) == REQUEST_BAD);
}

static void hosts_are_one(void)
{
    CHECK(read_text("GET / HTTP/1.1\r\n\r\n") == REQUEST_BAD);
    CHECK(read_text("GET / HTTP/1.1\r\n" HOST HOST "\r\n") == REQUEST_BAD);
    CHECK(read_text("GET / HTTP/1.1\r\nhOST:\r\n\r\n") == REQUEST_WHOLE);
    CHECK(read_text("GET / HTTP/1.0\r\n\r\n") == REQUEST_WHOLE);
}

static int keeps(const char *version, const char *field)
{
    char text[200];
    snprintf(text, sizeof(text), "GET / %s\r\n" HOST "%s\r\n", version, field);
    CHECK(read_text(text) == REQUEST_WHOLE);
    return request.keeps;
}

static void connections_are_kept_as_the_client_would(void)
{
    CHECK(keeps("HTTP/1.1", "") && !keeps("HTTP/1.0", ""));
    CHECK(!keeps("HTTP/1.1", "Connection: close\r\n"));
    CHECK(!keeps("HTTP/1.1", "connection:foo ,\tCLOSE , bar\r\n"));
    CHECK(keeps("HTTP/1.1", "Connection: closed\r\n"));
    CHECK(keeps("HTTP/1.1", "Connection: keep-alive, clos\r\n"));
    CHECK(!keeps("HTTP/1.0", "Connection: keep-alive\r\n"));
}

static int has_body(const char *field)
{
    char text[200];
    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "%s\r\n\r\n", field);
    return read_text(text) == REQUEST_WHOLE ? request.has_body : -1;
}

static void bodies_are_seen(void)
{
    CHECK(has_body("Content-Length: 0") == 0 && has_body("Content-Length: 00") == 0);
    CHECK(has_body("Content-Length: 10") == 1);
    CHECK(has_body("content-LENGTH: 99999999999999999999999") == 1);
    CHECK(has_body("Transfer-Encoding: chunked") == 1);
    CHECK(has_body("Content-Length: -1") == -1 && has_body("Content-Length:") == -1);
    CHECK(has_body("Content-Length: 1, 1") == -1);
}

/* Fuzzing: what is said of the start of a request must not change by what comes after. */

static enum outcome read_exactly(const char *bytes, size_t n, struct request *ret)
{
    char *copy = malloc(n ? n : 1); /* no byte more, so that the sanitizer sees a step beyond */
    memcpy(copy, bytes, n);
    enum outcome outcome = read_request(copy, n, ret);
    if (outcome == REQUEST_WHOLE) {
        CHECK(ret->length > 0 && ret->length <= n);
        CHECK(ret->path >= copy && ret->path + ret->path_length <= copy + ret->length);
    }
    free(copy);
    return outcome;
}

static void check_prefixes(const char *bytes, size_t n)
{
    struct request whole = {0}, part = {0};
    enum outcome outcome = read_exactly(bytes, n, &whole);
    size_t k = (size_t)rand() % (n + 1);
    enum outcome earlier = read_exactly(bytes, k, &part);
    switch (outcome) {
    case REQUEST_WHOLE:
        CHECK(earlier == (k < whole.length ? REQUEST_UNFINISHED : REQUEST_WHOLE));
        CHECK(earlier != REQUEST_WHOLE || part.length == whole.length);
        break;
    case REQUEST_UNFINISHED:
        CHECK(earlier == REQUEST_UNFINISHED);
        break;
    case REQUEST_BAD:
        CHECK(earlier != REQUEST_WHOLE);
        break;
    }
}

static void random_bytes_are_survived(void)
{
    static const char alphabet[] = "\r\n\n: \tGET/HAD?,htp1.0*\0\x80z";
    char bytes[64];
    srand(3);
    for (int round = 0; round < 150000; round++) {
        size_t n = (size_t)rand() % sizeof(bytes);
        for (size_t i = 0; i < n; i++) {
            bytes[i] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
        }
        check_prefixes(bytes, n);
    }
}

static void damaged_requests_are_survived(void)
{
    static const char good[] =
        "HEAD /path?query HTTP/1.1\r\nHost: a.example\r\nConnection: x, close\r\n"
        "Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\nmore";
    char bytes[sizeof(good)];
    srand(4);
    for (int round = 0; round < 150000; round++) {
        memcpy(bytes, good, sizeof(good));
        for (int i = rand() % 4; i > 0; i--) {
            bytes[(size_t)rand() % sizeof(good)] =
                (char)(rand() % 3 ? "\r\n :,/"[rand() % 6] : rand());
        }
        check_prefixes(bytes, (size_t)rand() % (sizeof(good) + 1));
    }
}

int main(void)
{
    RUN(a_request_is_read);
    RUN(a_request_to_a_proxy_has_a_path_too);
    RUN(generosity_has_bounds);
    RUN(a_bad_request_line_is_refused_at_once);
    RUN(hosts_are_one);
    RUN(connections_are_kept_as_the_client_would);
    RUN(bodies_are_seen);
    RUN(random_bytes_are_survived);
    RUN(damaged_requests_are_survived);
    return 0;
}
