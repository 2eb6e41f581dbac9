#include "server/auth.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/config.h"

#include <sodium.h>
#include <string.h>
#include <strings.h>

enum { KEY_BYTES_MIN = 16, KEY_BYTES_MAX = 512, KEY_FILE_BYTES_MAX = 65536 };

struct auth {
    bool has_key;
    unsigned char hash[crypto_generichash_BYTES];
};

static void hash_key(struct str key, unsigned char ret[crypto_generichash_BYTES])
{
    (void)crypto_generichash(
        ret, crypto_generichash_BYTES, (const unsigned char *)key.p, key.n, NULL, 0);
}

static enum err_code set_key(struct auth *a, struct str key, const char *where, struct err *e)
{
    if (key.n < KEY_BYTES_MIN || key.n > KEY_BYTES_MAX)
        return err_set(e, ERR_INVALID, "the API key in %s has %zu bytes; %d to %d are needed",
            where, key.n, KEY_BYTES_MIN, KEY_BYTES_MAX);
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return err_set(e, ERR_INVALID,
                "the API key in %s has a byte that is no printable ASCII character", where);
    }
    hash_key(key, a->hash);
    a->has_key = true;
    return ERR_OK;
}

static enum err_code read_key_file(struct auth *a, const char *path, struct err *e)
{
    char *text = NULL;
    size_t n = 0;
    TRY(file_read(path, KEY_FILE_BYTES_MAX, &text, &n, e));
    enum err_code code = set_key(a, (struct str){ text, strcspn(text, "\r\n") }, path, e);
    sodium_memzero(text, n);
    mem_free(text);
    return code;
}

enum err_code auth_open(const struct config *cfg, struct auth **ret_auth, struct err *e)
{
    if (sodium_init() < 0) return err_set(e, ERR_INTERNAL, "libsodium cannot be used here");
    if (cfg->api_key[0] && cfg->api_key_file[0])
        return err_set(e, ERR_INVALID, "both api_key and api_key_file are set; give one");
    struct auth *a = mem_zalloc(1, sizeof *a);
    if (!a) return err_set(e, ERR_NOMEM, "no memory for the API key");
    enum err_code code = ERR_OK;
    if (cfg->api_key[0]) {
        code = set_key(a, str_from(cfg->api_key), "api_key", e);
    } else if (cfg->api_key_file[0]) {
        code = read_key_file(a, cfg->api_key_file, e);
    }
    if (code != ERR_OK) {
        auth_close(a);
        return code;
    }
    *ret_auth = a;
    return ERR_OK;
}

void auth_close(struct auth *a)
{
    if (a) sodium_memzero(a, sizeof *a);
    mem_free(a);
}

bool auth_has_key(const struct auth *a)
{
    return a && a->has_key;
}

enum err_code auth_check_listen(const struct auth *a, bool loopback, bool insecure, struct err *e)
{
    if (loopback || insecure || auth_has_key(a)) return ERR_OK;
    return err_set(e, ERR_INVALID,
        "listening beyond loopback needs an API key (api_key_file, or KINDRED_API_KEY), or "
        "--insecure to do "
        "without");
}

/* The key in "Bearer KEY"; n == 0 if the header is something else. */
static struct str bearer(struct str h)
{
    static const char scheme[] = "Bearer";
    size_t n = sizeof scheme - 1;
    if (h.n <= n || strncasecmp(h.p, scheme, n) != 0 || h.p[n] != ' ')
        return (struct str){ h.p, 0 };
    while (n < h.n && h.p[n] == ' ')
        n++;
    return (struct str){ h.p + n, h.n - n };
}

bool auth_allows(const struct auth *a, enum route_scope scope, struct str authorization,
    enum problem *ret_problem, const char **ret_detail)
{
    if (scope == SCOPE_NONE || !auth_has_key(a)) return true;
    *ret_problem = PROBLEM_UNAUTHORIZED;
    *ret_detail = "an API key is needed: Authorization: Bearer KEY";
    if (!authorization.p) return false;
    struct str key = bearer(authorization);
    unsigned char hash[crypto_generichash_BYTES];
    hash_key(key, hash);
    if (key.n > 0 && sodium_memcmp(hash, a->hash, sizeof hash) == 0) return true;
    *ret_detail = "the API key is not known";
    return false;
}
