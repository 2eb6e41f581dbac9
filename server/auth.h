/* Layer: server. May include: engine, base.
 *
 * Who may do what. For now one key with scope admin, from the configuration,
 * or none. Only its BLAKE2b hash is kept; comparison takes the same time
 * whatever was sent.
 *
 * Threads: auth_open before the others start; checks from any.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "server/problem.h"
#include "server/router.h"

#include <stdbool.h>

struct auth;
struct config;

/** Read the key of cfg (api_key or the first line of api_key_file; both is an error). INVALID: empty or shorter
 * than 16 bytes, or with spaces; NOT_FOUND, IO. */
MUST_USE enum err_code auth_open(const struct config *cfg, struct auth **ret_auth, struct err *e);
/** Accepts NULL. */
void auth_close(struct auth *a);
bool auth_has_key(const struct auth *a);
/** Without a key: may we listen there? INVALID with a sentence that says what to do. */
MUST_USE enum err_code auth_check_listen(
    const struct auth *a, bool loopback, bool insecure, struct err *e);
/** authorization: the header, p == NULL without. False: *ret_problem is UNAUTHORIZED or FORBIDDEN and
 * *ret_detail a constant sentence. */
bool auth_allows(const struct auth *a, enum route_scope scope, struct str authorization,
    enum problem *ret_problem, const char **ret_detail);
