/* The table of known models. Tests: tests/engine/test_model_pull.c. */
#include "engine/model_pull.h"

#include "base/fileio.h"
#include "base/mem.h"

#include <string.h>

static const struct known_model models[] = {
#define KNOWN_MODEL(...) { __VA_ARGS__ },
#define KNOWN_FILE(...)
#include "engine/known_models.def"
#undef KNOWN_MODEL
#undef KNOWN_FILE
};
static const struct known_file files[] = {
#define KNOWN_MODEL(...)
#define KNOWN_FILE(...) { __VA_ARGS__ },
#include "engine/known_models.def"
#undef KNOWN_MODEL
#undef KNOWN_FILE
};
enum { MODELS = sizeof models / sizeof *models, FILES = sizeof files / sizeof *files };

const struct known_model *known_model_at(size_t i)
{
    return i < MODELS ? &models[i] : NULL;
}

const struct known_model *known_model_find(const char *name)
{
    for (size_t i = 0; i < MODELS; i++)
        if (strcmp(models[i].name, name) == 0) return &models[i];
    return NULL;
}

const struct known_file *known_model_file(const struct known_model *m, size_t i)
{
    for (size_t j = 0; j < FILES; j++)
        if (strcmp(files[j].model, m->name) == 0 && i-- == 0) return &files[j];
    return NULL;
}

uint64_t known_model_bytes(const struct known_model *m)
{
    const struct known_file *f;
    uint64_t bytes = 0;
    for (size_t i = 0; (f = known_model_file(m, i)) != NULL; i++)
        bytes += f->bytes;
    return bytes;
}

enum err_code known_model_is_in(
    const struct known_model *m, const char *dir, bool *ret, struct err *e)
{
    const struct known_file *f;
    char sha256[HASH_SHA256_CHARS + 1];
    for (size_t i = 0; (f = known_model_file(m, i)) != NULL; i++) {
        AUTO_FREE char *path = path_join(dir, f->path);
        if (!path) return err_set(e, ERR_NOMEM, "out of memory for a path");
        if (!file_exists(path)) {
            *ret = false;
            return ERR_OK;
        }
        TRY(hash_sha256_file(path, sha256, e));
        if (strcmp(sha256, f->sha256) == 0) continue;
        *ret = false;
        return ERR_OK;
    }
    *ret = true;
    return ERR_OK;
}
