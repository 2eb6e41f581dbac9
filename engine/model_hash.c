/* Catalogs and model cards hold these hashes: they must come out the same for ever. The hash of one file is that
 * of its bytes, as it was before there were models of several.
 *
 * Architectures without modules never read modules.json. Where it is there and not to be read, the folder's own
 * model.safetensors stands for the model; an architecture that does read it has refused the folder before. */
#include "engine/model_hash.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"
#include "base/thread.h"
#include "core/model/weights.h"
#include "engine/hash.h"

#include <string.h>
#include <sys/stat.h>

static const char single[] = "model.safetensors";

struct names {
    char **paths;
    size_t n;
};

static void names_done(struct names *l)
{
    weights_list_free(l->paths, l->n);
}

static enum err_code list_files(const char *dir, struct names *ret, struct err *e)
{
    struct err why = ERR_INIT;
    enum err_code code = weights_list(dir, &ret->paths, &ret->n, &why);
    if (code == ERR_OK) return ERR_OK;
    AUTO_FREE char *path = path_join(dir, single);
    if (code == ERR_NOMEM || !path || !file_exists(path)) {
        if (e) *e = why;
        return code;
    }
    ret->paths = mem_zalloc(1, sizeof *ret->paths);
    if (ret->paths) ret->paths[0] = mem_strdup(single);
    ret->n = 1;
    return ret->paths && ret->paths[0] ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for a path");
}

static enum err_code hash_file(
    const char *dir, const char *name, unsigned char ret[CATALOG_HASH_BYTES], struct err *e)
{
    AUTO_FREE char *path = path_join(dir, name);
    AUTO(file_map_close) struct file_map map = { .n = 0 };
    if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
    TRY(file_map_open(path, &map, e));
    hash_content(map.p, map.n, ret);
    return ERR_OK;
}

static enum err_code hash_all(
    const char *dir, const struct names *l, unsigned char ret[CATALOG_HASH_BYTES], struct err *e)
{
    struct buf all = BUF_INIT(0);
    enum err_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < l->n; i++) {
        unsigned char one[CATALOG_HASH_BYTES];
        code = hash_file(dir, l->paths[i], one, e);
        if (code != ERR_OK) break;
        (void)buf_append(&all, l->paths[i], strlen(l->paths[i]) + 1);
        (void)buf_append(&all, one, sizeof one);
    }
    if (code == ERR_OK) code = buf_check(&all, e);
    if (code == ERR_OK) hash_content(all.p, all.n, ret);
    buf_done(&all);
    return code;
}

enum err_code model_hash(const char *dir, char ret[MODEL_HASH_CHARS + 1], struct err *e)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[CATALOG_HASH_BYTES];
    AUTO(names_done) struct names l = { .n = 0 };
    TRY(list_files(dir, &l, e));
    if (l.n == 1 && strcmp(l.paths[0], single) == 0)
        TRY(hash_file(dir, single, hash, e));
    else
        TRY(hash_all(dir, &l, hash, e));
    for (size_t i = 0; i < sizeof hash; i++) {
        ret[2 * i] = digits[hash[i] >> 4];
        ret[2 * i + 1] = digits[hash[i] & 15];
    }
    ret[MODEL_HASH_CHARS] = '\0';
    return ERR_OK;
}

int64_t model_written_ms(const char *dir)
{
    AUTO(names_done) struct names l = { .n = 0 };
    int64_t newest = 0;
    if (list_files(dir, &l, NULL) != ERR_OK) return 0;
    for (size_t i = 0; i < l.n; i++) {
        AUTO_FREE char *path = path_join(dir, l.paths[i]);
        struct stat st;
        if (!path || stat(path, &st) != 0) continue;
        int64_t ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / NS_PER_MS;
        if (ms > newest) newest = ms;
    }
    return newest;
}
