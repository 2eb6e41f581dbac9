/* Layer: engine. May include: core, index, catalog, base.
 *
 * Model folders as files: where they are, what is in them, how a new one comes in. For the program's
 * commands; a server loads models by models.h and never writes one.
 *
 * A model comes in by a stage, a folder beside its place that is renamed when it is whole, loads, and
 * encodes. With it go two files: SHA256SUMS, as sha256sum -c reads it, and source.json, which says where
 * it came from and under which licence.
 *
 * Arguments are borrowed for the call. Threads: one at a time a folder.
 */
#pragma once

#include "base/err.h"
#include "base/vecmath.h"
#include "core/model/encoder.h"
#include "engine/config.h"
#include "engine/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_NAME_MAX = 64, MODEL_PATH_MAX = 160, MODEL_FOLDERS_MAX = 6 };

/* ---- where ---- */

struct model_folders {
    char *paths[MODEL_FOLDERS_MAX]; /* some may not be there */
    size_t n;                       /* at least 1 */
};
/** Where models are looked for, in this order: --models, DATA/models, beside the program (`models` of the
 * source tree it was built in, `share/kindred/models` of the prefix it was installed to), the installed
 * share folders. A new model goes into the first. NOMEM. */
MUST_USE enum err_code model_folders_find(
    const struct config *cfg, struct model_folders *ret, struct err *e);
/** Accepts a zeroed struct. */
void model_folders_done(struct model_folders *f);
/** 1 to 64 of a-z A-Z 0-9 _ . -, no dot first; INVALID says so. */
MUST_USE enum err_code model_name_check(const char *name, struct err *e);

/* ---- what is there ---- */

struct model_row {
    char name[MODEL_NAME_MAX +
        1]; /* the encoder's; of a broken one the folder's, cut if it is longer */
    char *dir;
    size_t folder;            /* in model_list.folders */
    bool broken;              /* why: the reason */
    bool hidden;              /* one of this name comes earlier */
    struct encoder_info info; /* zeroed if broken */
    uint64_t bytes;           /* of all its files */
    struct err why;
};
struct model_list {
    struct model_folders folders;
    struct model_row *rows; /* in the order in which they are looked for */
    size_t n, cap;
};
/** Load every model there is, one after the other. NOMEM. */
MUST_USE enum err_code model_list_read(
    const struct config *cfg, const struct vec_kernels *k, struct model_list *ret, struct err *e);
/** Accepts a zeroed struct. */
void model_list_done(struct model_list *l);
/** The one that a server would use; NULL: none of this name. */
const struct model_row *model_list_find(const struct model_list *l, const char *name);

struct model_file {
    char path[MODEL_PATH_MAX]; /* within the model's folder */
    uint64_t bytes;
    char sha256[HASH_SHA256_CHARS + 1]; /* "" if not asked for */
};
struct model_files {
    struct model_file *rows; /* sorted by path */
    size_t n, cap;
};
/** Every file of a model's folder, hidden ones left out; with their hashes if `hash`. NOT_FOUND, IO, LIMIT
 * (paths too long), NOMEM. */
MUST_USE enum err_code model_files_read(
    const char *dir, bool hash, struct model_files *ret, struct err *e);
/** Accepts a zeroed struct. */
void model_files_done(struct model_files *f);
/** Does a model need a file of this path? Weights as safetensors, tokenizer, configurations, licence: in the
 * folder itself or in one of a module ("1_Pooling"). Nothing that holds code or pickles. Also says that the
 * path stays inside. */
bool model_file_is_wanted(const char *path);

struct model_note {
    char source[256];  /* "": not known */
    char version[104]; /* a commit, or a package's version */
    char licence[64];  /* an SPDX identifier where it is known */
};
/** source.json; what is not there is taken from config.json, or left "". CORRUPT, NOMEM. */
MUST_USE enum err_code model_note_read(const char *dir, struct model_note *ret, struct err *e);

/* ---- is it whole ---- */

/** Load it and encode a text twice (models_canary). Errors: encoder_load's, CORRUPT. */
MUST_USE enum err_code model_try(
    const char *dir, const struct vec_kernels *k, struct encoder_info *ret_info, struct err *e);
/** The files against SHA256SUMS, then model_try. *ret_summed: is there a SHA256SUMS? CORRUPT names the first
 * file that is not what was installed, that is not there, or that came in since. */
MUST_USE enum err_code model_verify(
    const char *dir, const struct vec_kernels *k, bool *ret_summed, struct err *e);

/* ---- how one comes in ---- */

struct model_stage {
    char *models, *name; /* it becomes models/name */
    char *dir; /* where it is put together: models/.name.SUFFIX, or models/.name.tmp-PID-XXXXXX */
};
/** A folder to put a model together. With a suffix it is that one, as it was left by an earlier time. suffix
 * NULL: a new and empty one; what processes that no longer live left there a day ago or longer is removed.
 * INVALID (name), CONFLICT (a model of this name is there, and !replace), IO, FULL, NOMEM. */
MUST_USE enum err_code model_stage_open(struct model_stage *s, const char *models, const char *name,
    const char *suffix, bool replace, struct err *e);
/**
 * Try the model, add source.json and SHA256SUMS, bring it to the disk, and rename it into its place; one that was
 * there is replaced in one step and removed. config.json's "name" becomes the model's where there is one.
 * Errors: model_try's, CONFLICT, IO, FULL, NOMEM; the stage is as it was.
 */
MUST_USE enum err_code model_stage_finish(struct model_stage *s, const struct model_note *note,
    bool replace, const struct vec_kernels *k, struct err *e);
/** Remove what was not finished. Accepts a zeroed struct. */
void model_stage_drop(struct model_stage *s);
/** The same, but leave the folder for the next time. */
void model_stage_keep(struct model_stage *s);

struct model_add {
    const char *from;                           /* folder */
    const char *models;                         /* folder that it is added to */
    const char *name;                           /* NULL: config.json's, else the folder's */
    const char *query_prompt, *document_prompt; /* NULL: as they are */
    bool replace;
    const struct vec_kernels *kernels;
};
/** Copy the wanted files of a folder. Links are followed where they stay inside it (or inside a download
 * cache of which it is a snapshot). Errors: those of model_try, model_stage_open; CORRUPT (a link that leads
 * out). */
MUST_USE enum err_code model_add(
    const struct model_add *o, char ret_name[MODEL_NAME_MAX + 1], struct err *e);
/** Remove a folder with all that is in it, links not followed; as far as it goes. */
void model_folder_remove(const char *dir);
