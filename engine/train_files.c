#include "engine/train_files.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "base/vecmath.h"
#include "engine/hash.h"
#include "engine/models.h"

#include <string.h>

enum { CARD_BYTES_MAX = 1 << 20 };
_Static_assert(CARD_HASH_CHARS == 2 * CATALOG_HASH_BYTES, "two characters a byte");

/* The folder of rq->model; a name is looked up as the server does, which loads what it finds on the way. */
static enum err_code find_model(const struct train_files_request *rq, char **ret_dir, struct err *e)
{
    AUTO_FREE char *config_path = path_join(rq->model, "config.json");
    AUTO(models_done) struct models models = { .n = 0 };
    const struct model *found;

    if (!config_path) return err_set(e, ERR_NOMEM, "out of memory");
    if (file_exists(config_path)) {
        *ret_dir = mem_strdup(rq->model);
    } else if (!rq->cfg || strchr(rq->model, '/')) {
        return err_set(e, ERR_NOT_FOUND, "no model in %s: config.json is missing", rq->model);
    } else {
        TRY(models_load(&models, rq->cfg, vec_select(VEC_BEST), e));
        found = models_find(&models, str_from(rq->model));
        if (!found) return err_set(e, ERR_NOT_FOUND, "there is no model \"%s\"", rq->model);
        *ret_dir = mem_strdup(found->dir);
    }
    return *ret_dir ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
}

static void hex(const unsigned char hash[CATALOG_HASH_BYTES], char ret[CARD_HASH_CHARS + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < CATALOG_HASH_BYTES; i++) {
        ret[2 * i] = digits[hash[i] >> 4];
        ret[2 * i + 1] = digits[hash[i] & 15];
    }
    ret[CARD_HASH_CHARS] = '\0';
}

/* Lines, the last one with or without its end. */
static size_t count_lines(const unsigned char *p, size_t n)
{
    size_t lines = n && p[n - 1] != '\n';

    for (const unsigned char *at = p, *end = p + n;
         at < end && (at = memchr(at, '\n', (size_t)(end - at))); at++)
        lines++;
    return lines;
}

static enum err_code hash_file(
    const char *path, size_t *ret_lines, unsigned char ret[CATALOG_HASH_BYTES], struct err *e)
{
    AUTO(file_map_close) struct file_map map = { .n = 0 };

    TRY(file_map_open(path, &map, e));
    hash_content(map.p, map.n, ret);
    if (ret_lines) *ret_lines = count_lines(map.p, map.n);
    return ERR_OK;
}

/* A taught file's hash is that of the hashes of its texts and its vectors. */
static enum err_code describe_file(const struct train_file *f, struct card_file *ret,
    unsigned char hash[CATALOG_HASH_BYTES], struct err *e)
{
    unsigned char both[2 * CATALOG_HASH_BYTES];

    *ret = (struct card_file){ .name = f->path, .weight = f->weight, .taught = f->vectors };
    TRY(hash_file(f->path, &ret->rows, hash, e));
    if (f->vectors) {
        memcpy(both, hash, CATALOG_HASH_BYTES);
        TRY(hash_file(f->vectors, NULL, both + CATALOG_HASH_BYTES, e));
        hash_content(both, sizeof both, hash);
    }
    hex(hash, ret->hash);
    return ERR_OK;
}

static enum err_code describe_files(const struct trainer_options *o, struct card_file *files,
    char ret_hash[CARD_HASH_CHARS + 1], struct err *e)
{
    size_t n = o->n_pairs + o->n_taught;
    unsigned char all[CATALOG_HASH_BYTES];
    AUTO_FREE unsigned char *hashes = mem_alloc(n, CATALOG_HASH_BYTES);

    if (!hashes) return err_set(e, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const struct train_file *f = i < o->n_pairs ? &o->pairs[i] : &o->taught[i - o->n_pairs];
        TRY(describe_file(f, &files[i], hashes + i * CATALOG_HASH_BYTES, e));
    }
    hash_content(hashes, n * CATALOG_HASH_BYTES, all);
    hex(all, ret_hash);
    return ERR_OK;
}

static enum err_code copy_card(const char *dir, const char *text, size_t n, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, "README.md");

    if (!path) return err_set(e, ERR_NOMEM, "out of memory");
    return file_write_atomic(path, text, n, e);
}

enum err_code train_files(
    const struct train_files_request *rq, struct train_files_report *ret, struct err *e)
{
    struct trainer_options o = rq->options;
    struct train_files_report r = { .training = { 0 } };
    size_t n = o.n_pairs + o.n_taught, card_bytes = 0;
    AUTO_FREE char *dir = NULL;
    AUTO_FREE char *card_text = NULL;
    AUTO_FREE struct card_file *files = mem_zalloc(n, sizeof *files);

    if (!files) return err_set(e, ERR_NOMEM, "out of memory");
    if (dir_exists(o.out_dir)) return err_set(e, ERR_CONFLICT, "%s is there already", o.out_dir);
    TRY(hash_start(e));
    TRY(find_model(rq, &dir, e));
    /* Whatever cannot be read is found before the hours of training, not after. */
    if (rq->card) TRY(file_read(rq->card, CARD_BYTES_MAX, &card_text, &card_bytes, e));
    TRY(describe_files(&o, files, r.data_hash, e));
    o.model_dir = dir;
    TRY(trainer_run(&o, &r.training, e));
    if (rq->card) {
        TRY(copy_card(o.out_dir, card_text, card_bytes, e));
    } else {
        const struct model_card card = { .parent = rq->model,
            .files = files,
            .n_files = n,
            .data_hash = r.data_hash,
            .options = &o,
            .training = &r.training,
            .metrics = rq->metrics };
        TRY(model_card_write(o.out_dir, &card, e));
    }
    *ret = r;
    return ERR_OK;
}
