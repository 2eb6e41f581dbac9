/* BLAKE2b-256 as libsodium's crypto_generichash has it, without a key: the same content has the same hash
 * on every machine, so a catalog can be moved. An empty input has a hash like any other. */
#include "engine/hash.h"

#include "base/fileio.h"

#include <sodium.h>

_Static_assert(CATALOG_HASH_BYTES >= crypto_generichash_BYTES_MIN &&
        CATALOG_HASH_BYTES <= crypto_generichash_BYTES_MAX,
    "BLAKE2b gives 16 to 64 bytes");

enum err_code hash_start(struct err *e)
{
    if (sodium_init() < 0) return err_set(e, ERR_INTERNAL, "libsodium does not start");
    return ERR_OK;
}

void hash_content(const void *p, size_t n, unsigned char ret[CATALOG_HASH_BYTES])
{
    static const unsigned char nothing;
    int rc = crypto_generichash(ret, CATALOG_HASH_BYTES, p ? p : &nothing, n, NULL, 0);
    ASSERT_BUG(rc == 0); /* fails only for lengths that the assertion above excludes */
}

enum err_code hash_sha256_file(const char *path, char ret[HASH_SHA256_CHARS + 1], struct err *e)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    struct file_map map = { 0 };
    TRY(file_map_open(path, &map, e));
    (void)crypto_hash_sha256(hash, map.p, map.n);
    file_map_close(&map);
    (void)sodium_bin2hex(ret, HASH_SHA256_CHARS + 1, hash, sizeof hash);
    return ERR_OK;
}

uint64_t hash_seed(void)
{
    uint64_t seed;
    randombytes_buf(&seed, sizeof seed);
    return seed;
}
