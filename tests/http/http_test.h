/* Layer: tests. May include: libcheck, jansson, server and all below.
 *
 * What the suites of tests/http share: one server a suite, and requests whose answers are checked against
 * openapi.yaml, all of them.
 *
 * Threads: one at a time, unless said otherwise.
 */
#pragma once

#include "tests/support/http_client.h"
#include "tests/support/openapi.h"
#include "tests/support/server_proc.h"
#include "tests/support/test.h"

#include <jansson.h>

/** The suite's server. Start and stop it by unchecked fixtures of the test case:
 * tcase_add_unchecked_fixture(tc, suite_server_start, suite_server_stop); */
extern struct server_proc suite_server;
void suite_server_start(void);
void suite_server_stop(void);
/** With the flags in suite_server_args (NULL-ended). */
extern const char *const *suite_server_args;

/** The description that the server is built with. */
const struct openapi *suite_openapi(void);

/** Fail the test if an answer is not as openapi.yaml says. */
void check_documented(const char *method, const char *path, const struct http_reply *r);

/** Send a request over a connection of its own, check the answer and its status, and return its body as JSON
 * (json_decref; NULL if it has none or it is no JSON). body: JSON text or NULL. */
json_t *call(const char *method, const char *path, const char *body, int status);
/** As call, with single quotes in `body` standing for double ones; the result is dropped. */
void expect(const char *method, const char *path, const char *body, int status);
/** The body with any content type. */
json_t *call_raw(
    const char *method, const char *path, const char *type, struct str body, int status);

/** Member by JSON pointer ("/hits/0/id"); fails the test if it is not there. Borrowed. */
const json_t *at(const json_t *v, const char *pointer);
const char *text_at(const json_t *v, const char *pointer);
long long int_at(const json_t *v, const char *pointer);
double num_at(const json_t *v, const char *pointer);

/** Copy of `s` with ' turned into "; free(). */
char *dquote(const char *s);
