/* Is a model what was installed, and does it encode? */
#include "engine/model_store.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "engine/models_internal.h"

#include <stdio.h>
#include <string.h>

enum { SUMS_BYTES_MAX = 1 << 20 };

enum err_code model_try(
    const char *dir, const struct vec_kernels *k, struct encoder_info *ret_info, struct err *e)
{
    struct encoder *enc = NULL;
    TRY(encoder_load(dir, k, &enc, e));
    struct encoder_info info = *encoder_info(enc);
    const struct model m = { .encoder = enc, .info = &info };
    enum err_code code = models_canary(&m, e);
    encoder_free(enc);
    if (code == ERR_OK) *ret_info = info;
    return code;
}

/* ---- SHA256SUMS ---- */

static struct model_file *find_file(struct model_files *f, struct str path)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_is(path, f->rows[i].path)) return &f->rows[i];
    return NULL;
}

/* "HASH  path", as sha256sum writes it; a hash that was met is struck out. */
static enum err_code check_line(struct model_files *f, struct str line, struct err *e)
{
    enum { GAP = 2 };
    if (line.n <= HASH_SHA256_CHARS + GAP || line.p[HASH_SHA256_CHARS] != ' ')
        return err_set(e, ERR_CORRUPT, "SHA256SUMS: a line is no checksum: \"%.*s\"",
            (int)(line.n < 40 ? line.n : 40), line.p);
    const struct str path = { line.p + HASH_SHA256_CHARS + GAP, line.n - HASH_SHA256_CHARS - GAP };
    struct model_file *file = find_file(f, path);
    if (!file) return err_set(e, ERR_CORRUPT, "%.*s is not there", STR_ARG(path));
    if (memcmp(file->sha256, line.p, HASH_SHA256_CHARS) != 0)
        return err_set(e, ERR_CORRUPT,
            "%s is not what was installed: SHA-256 %.12s… expected, %.12s… found", file->path,
            line.p, file->sha256);
    file->sha256[0] = '\0';
    return ERR_OK;
}

static enum err_code check_sums(struct model_files *f, const char *path, struct err *e)
{
    AUTO_FREE char *text = NULL;
    size_t n;
    TRY(file_read(path, SUMS_BYTES_MAX, &text, &n, e));
    for (const char *p = text, *end = text + n; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const struct str line = { p, (size_t)((newline ? newline : end) - p) };
        if (line.n) TRY(check_line(f, line, e));
        p = newline ? newline + 1 : end;
    }
    for (size_t i = 0; i < f->n; i++)
        if (f->rows[i].sha256[0] && model_file_is_wanted(f->rows[i].path))
            return err_set(
                e, ERR_CORRUPT, "%s came in after the model was installed", f->rows[i].path);
    return ERR_OK;
}

enum err_code model__check_sums(const char *dir, struct err *e)
{
    AUTO_FREE char *sums = path_join(dir, "SHA256SUMS");
    AUTO(model_files_done) struct model_files files = { .n = 0 };
    if (!sums) return err_set(e, ERR_NOMEM, "out of memory while checking a model");
    if (!file_exists(sums)) return err_set(e, ERR_NOT_FOUND, "there is no %s", sums);
    TRY(model_files_read(dir, true, &files, e));
    return check_sums(&files, sums, e);
}

enum err_code model_verify(
    const char *dir, const struct vec_kernels *k, bool *ret_summed, struct err *e)
{
    struct encoder_info info;
    AUTO_FREE char *sums = path_join(dir, "SHA256SUMS");
    if (!sums) return err_set(e, ERR_NOMEM, "out of memory while checking a model");
    bool summed = file_exists(sums);
    if (summed) TRY(model__check_sums(dir, e));
    TRY(model_try(dir, k, &info, e));
    *ret_summed = summed;
    return ERR_OK;
}
