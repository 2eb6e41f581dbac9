/* Layer: tests. May include: none.
 *
 * Requests that must be refused, and how. They run against a server with the collections `words` (texts; item
 * `cat`) and `vecs` (own vectors of 3 dimensions; item `a`).
 */
#pragma once

#include <stddef.h>

struct bad_case {
    const char *method, *path;
    const char *type; /* Content-Type; NULL: application/json if there is a body */
    const char *body; /* ' stands for "; NULL: none */
    int status;
    const char *code;  /* problem code; of /v1 the type */
    const char *field; /* JSON pointer, of /v1 the param; NULL: none */
};
extern const struct bad_case cases_bad[];
extern const size_t n_cases_bad;
