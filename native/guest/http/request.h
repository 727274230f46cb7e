/* The head of an HTTP request (RFC 9112). Knows nothing of the network. */
#ifndef REQUEST_H
#define REQUEST_H

#include <stddef.h>

enum method { METHOD_GET, METHOD_HEAD, METHOD_OTHER };

struct request {
    enum method method;
    const char *path; /* without the query; within the bytes that were read */
    size_t path_length;
    int keeps; /* the client would keep the connection */
    int has_body;
    size_t length; /* of the head: what comes then is a body, or the next request */
};

enum outcome {
    REQUEST_WHOLE,
    REQUEST_UNFINISHED, /* good as far as it goes */
    REQUEST_BAD,
};

/* Read a request from the start of n bytes; fills `ret` when it is whole. */
enum outcome read_request(const char *bytes, size_t n, struct request *ret);

#endif
