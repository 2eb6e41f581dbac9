/* Layer: tests. May include: libcheck, jansson, server and all below.
 *
 * What the suites of learning over HTTP share: a server whose base model is so small that a run takes a second,
 * and collections with something to learn.
 *
 * Threads: one at a time.
 */
#pragma once

#include "tests/http/http_test.h"

#define LEARN_MODEL "text-small"
/* Members of a retrain request: which fields, so few steps that it takes a second. `title` says the same as the text
 * in other words; `wrong` is the title of another item. */
#define LEARN_TITLES "'pairs':{'anchor':'metadata.title','positive':'text'},'max_steps':80,'seed':1"
#define LEARN_WRONG "'pairs':{'anchor':'metadata.wrong','positive':'text'},'max_steps':80,'seed':1"

enum { LEARN_ITEMS = 900 };

/** The suite's server, with that model; `args` may be NULL. For unchecked fixtures, or inside a test. */
void learn_server_start(const char *const *args);
void learn_server_stop(void);
/** The folder of its models, into which more may be put while it runs. */
const char *learn_models(void);
/** After server_stop(&suite_server): on the data that is there. */
void learn_server_restart(void);

/** A new collection with LEARN_ITEMS items, "i0" and so on. */
void learn_fill(const char *collection);
/** n items more, from number `first`. */
void learn_add(const char *collection, size_t first, size_t n);

/** POST /admin/retrain with `members` (' stands for "), checked; the run's number. */
long long learn_retrain(const char *collection, const char *members);
/** GET the run until its status is `status`, or final, which must then be `status`. json_decref. */
json_t *learn_wait(long long run, const char *status);
/** printf into a path or a body that lives until the next but three of these calls. ' stays '. */
const char *learn_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** call() with ' for ". json_decref. */
json_t *learn_call(const char *method, const char *path, const char *body, int status);
