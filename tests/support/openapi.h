/* Layer: tests. May include: libcheck, libyaml, jansson, base.
 *
 * Answers checked against openapi.yaml: is the status documented for the route, is the content type, and
 * does the body fit the schema? Understands the part of JSON Schema that openapi.yaml uses; a keyword
 * that it does not know is a failure, so that nothing in the file goes unchecked unnoticed.
 *
 * Messages are in a buffer of the calling thread and valid until its next call here. Threads: any, once
 * loaded.
 */
#pragma once

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

struct openapi;

/** Fails the test if it is not well-formed. */
struct openapi *openapi_load(struct str yaml);
/** Accepts NULL. */
void openapi_free(struct openapi *o);

/** NULL: as documented; else what is wrong. path: as sent, with query. type: the Content-Type of the
 * answer or NULL. A path or method that is not in the file must have got a problem of 404 or 405. */
const char *openapi_check_reply(const struct openapi *o, const char *method, const char *path,
    int status, const char *type, struct str body);
/** NULL: a JSON body fits the route's request schema; else why not. */
const char *openapi_check_request(
    const struct openapi *o, const char *method, const char *path, struct str body);
/** NULL: all examples in the file fit the schemas they stand at. */
const char *openapi_check_examples(const struct openapi *o);

/** Call each for every operation, with the method in upper case and the path as in the file. */
void openapi_each(const struct openapi *o,
    void (*each)(
        void *arg, const char *method, const char *path, const char *operation_id, bool needs_key),
    void *arg);
